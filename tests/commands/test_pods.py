"""`kedro cloudtrain reap`, `stop` and `jobs`: the pods of a project are listed and ended, and no other's."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support.account import Account

from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry, PodLedger
from kedro_cloudtrain.backends.runpod.pod_names import pod_name, pod_prefix
from kedro_cloudtrain.jobs.owner import project_id

JOB = "train_mass-0123456789ab"


def pod_of(account: Account, job: str = JOB, attempt: str = "deadbeef") -> str:
    """Name a pod of the account's project."""
    return pod_name(pod_prefix(project_id(account.project.path)), job, attempt)


def ledger_of(account: Account) -> PodLedger:
    """Open the ledger that the commands read, as another client does."""
    return PodLedger(account.cloud.api.account, Path(account.environment["XDG_CACHE_HOME"]) / "kedro-cloudtrain/pods")


@pytest.mark.measured
def test_reap_ends_what_a_gone_client_has_left_and_asks_before_any_other(account: Account) -> None:
    names = {owner: pod_of(account, f"{owner}-0123456789ab") for owner in ("gone", "alive", "submitted", "late", "elsewhere", "taken")}
    namesake = pod_name("cloudtrain-shop-0a1b2c--", JOB, "deadbeef")
    pods = {owner: account.add_pod(name, minutes=30) for owner, name in {**names, "namesake": namesake}.items()}
    other, foreign = account.add_pod("cloudtrain-shop-2--job-0123456789ab-12345678"), account.add_pod("cloudtrain-by-hand")
    gone, alive = ledger_of(account), ledger_of(account)
    lasts = {"asked_at": time.time() - 1800, "lifetime_s": 7200.0}
    gone.open(LedgerEntry(name=names["gone"], pod=pods["gone"], **lasts))
    gone.open(LedgerEntry(name=names["submitted"], pod=pods["submitted"], detached=True, **lasts))
    gone.open(LedgerEntry(name=names["late"], pod=pods["late"], detached=True, asked_at=time.time() - 1800, lifetime_s=60))
    gone.open(LedgerEntry(name=names["taken"], pod=pods["taken"], shared=True, **lasts))
    gone.close()
    alive.open(LedgerEntry(name=names["alive"], pod=pods["alive"], **lasts))
    status, output = account.run("reap", "--dry-run")
    assert status == 0
    assert "2 pods would be ended; it would ask about 5 others" in output
    for shown in (names["gone"], pods["gone"], "30 min", "0.43", "0.22", "at work", "left it running", "not on this", "another project"):
        assert shown in output, shown
    assert set(pods.values()) < account.living
    status, output = account.run("reap")
    assert status == 0, output
    assert f"Ended {names['gone']} ({pods['gone']}), 30 min old, $0.22." in output
    assert "5 pods left, which somebody may still need. End them too: kedro cloudtrain reap --yes" in output
    assert not {pods["gone"], pods["late"]} & account.living
    assert {pods[owner] for owner in ("alive", "submitted", "elsewhere", "taken", "namesake")} < account.living
    assert account.run("reap", "--yes")[0] == 0
    assert not set(pods.values()) & account.living
    assert "There is no pod of shop" in account.run("reap")[1]
    assert alive.entries().keys() == {names["alive"]}  # Its client takes it out itself.
    assert other in account.living
    assert account.run("reap", "--all-projects", "--yes")[0] == 0
    assert other not in account.living
    assert foreign in account.living


@pytest.mark.measured
def test_a_pod_that_cannot_be_ended_is_named_and_fails_the_command(account: Account) -> None:
    name = pod_of(account)
    account.add_pod(name)
    account.refuse("DELETE", 403, "key may not write")
    status, output = account.run("reap", "--yes")
    assert status == 1
    assert f"Not ended: {name}" in output
    assert "1 of 1 pod may still run and cost money" in output


def test_stop_ends_one_job_by_name_beginning_or_node_and_leaves_the_reason_for_its_client(account: Account) -> None:
    other = account.add_pod(pod_of(account, "train_mass_2-0123456789ab", "12345678"))
    for name in (JOB, "train_mass", "train_mass-01"):
        pod = account.add_pod(pod_of(account))
        status, output = account.run("stop", name)
        assert status == 0, output
        assert pod not in account.living
        assert other in account.living
    result = json.loads((account.bucket / ".cloudtrain/jobs" / JOB / "result.json").read_text())
    assert (result["state"], result["attempt"]) == ("failed", "deadbeef")
    assert "ended by `kedro cloudtrain stop`" in result["error"]["message"]
    status, output = account.run("stop", "train_mess")
    assert status == 1
    assert "'train_mess' is not running" in output
    assert account.run("stop")[0] == 2
    assert account.run("stop", "--all")[0] == 0
    assert not account.living


@pytest.mark.measured
def test_stop_leaves_the_result_of_a_job_that_is_done(account: Account) -> None:
    account.add_pod(pod_of(account))
    result = account.bucket / ".cloudtrain/jobs" / JOB / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text('{"state": "succeeded", "attempt": "deadbeef"}')
    assert account.run("stop", JOB)[0] == 0
    assert json.loads(result.read_text())["state"] == "succeeded"


@pytest.mark.measured
def test_jobs_lists_the_pods_of_this_computers_jobs_and_of_others(account: Account) -> None:
    folder = Path(account.environment["XDG_CACHE_HOME"]) / f"kedro-cloudtrain/{account.volume_id}/.cloudtrain/jobs/{JOB}"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"model_type": "xgboost_regression"}')
    (folder / "machine.json").write_text("{}")
    account.add_pod(pod_of(account), minutes=90, usd=2.0)
    account.add_pod(pod_of(account, "train_price-ba9876543210", "12345678"), minutes=6)
    status, output = account.run("jobs")
    assert status == 0
    line = next(line for line in output.splitlines() if line.strip().startswith(JOB))
    assert "running, 1 h 30 min, $3.00" in line
    ours, _, others = output.partition("whose jobs this computer does not have")
    assert "train_price-ba9876543210" in others
    assert JOB not in others
    assert JOB in ours
    ended = account.cloud.runpod.put(pod_of(account, "old-0123456789ab", "12345678"), minutes=60, usd_per_hour=1.5)
    ended.end()
    (folder / "machine.json").write_text(json.dumps({"pod": ended.id}))
    account.cloud.runpod.bills = True
    account.cloud.runpod.end_pods()
    assert "$1.50 billed" in account.run("jobs")[1]
    status, output = account.run("jobs", RUNPOD_API_KEY="rpa_other")
    assert status == 0
    assert "Pods are not shown: RunPod does not accept the API key" in output
    assert JOB in output
