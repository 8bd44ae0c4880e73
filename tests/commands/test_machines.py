"""The commands around pods and what `plan` checks, in a real project, against servers on loopback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from runpod_stand_in import API_KEY
from runpod_stand_in.offers import gpu
from support.cloud import SECRETS, Cloud
from support.kedro_project import Project

JOB = "train_mass-0123456789ab"
POD = f"cloudtrain-shop--{JOB}-deadbeef"


@dataclass
class Account:
    """A project, an account and a volume."""

    project: Project
    cloud: Cloud
    environment: dict[str, str]

    @property
    def bucket(self) -> Path:
        return self.cloud.bucket

    @property
    def volume_id(self) -> str:
        return self.cloud.volume_id

    @property
    def living(self) -> set[str]:
        return {pod.id for pod in self.cloud.runpod.living}

    @property
    def created(self) -> list:
        return self.cloud.runpod.requests("POST /v2/pods")

    def add_pod(self, name: str, minutes: float = 30, usd: float = 0.43) -> str:
        return self.cloud.runpod.put(name, minutes, usd_per_hour=usd).id

    def refuse(self, method: str, status: int, detail: str) -> None:
        for path in ("/v2/pods", "/v2/pods/*", "/v2/network-volumes/*", "/v2/catalog/*"):
            self.cloud.runpod.faults.answer(f"{method} {path}", status, detail, times=99)

    def move_volume(self, data_center: str) -> None:
        self.cloud.runpod.offers.add_volume(self.volume_id, data_center)

    def run(self, *args: str, env: str = "runpod", **more: str) -> tuple[int, str]:
        """Type `kedro cloudtrain …`; give its exit status and all that it said, which holds no secret."""
        done = self.project.kedro("cloudtrain", *args, f"--env={env}", **{**self.environment, **more})
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert not [secret for secret in SECRETS if secret in said]
        return done.returncode, said

    def plan(self, *args: str) -> tuple[int, dict]:
        done = self.project.kedro("cloudtrain", "plan", "--json", "--env=runpod", *args, **self.environment)
        return done.returncode, json.loads(done.stdout[done.stdout.index("\n{") :])


@pytest.fixture
def account(project: Project, cloud: Cloud, tmp_path: Path) -> Account:
    project.write("conf/runpod/globals.yml", f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n")
    settings(project, "defaults: {gpu: [NVIDIA L4, NVIDIA A40], timeout_s: 7200, max_cost_usd: 2}\nrun: {max_cost_usd: 5}")
    sold_out = gpu("NVIDIA RTX A5000", 24, 0.27, EU_RO_1="NONE")
    cloud.runpod.offers.gpus = [sold_out if one.id == sold_out.id else one for one in cloud.runpod.offers.gpus]
    return Account(project, cloud, {**cloud.environment, "HOME": str(tmp_path / "home")})


def settings(project: Project, text: str) -> None:
    project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\nvolume: ${{globals:volume}}\n{text}\n")


def test_gpus_are_listed_cheapest_first_with_the_stock_of_the_volumes_data_center(account: Account) -> None:
    status, said = account.run("gpus")
    assert status == 0
    rows = [line.split("  ")[0].strip() for line in said.splitlines() if line.strip().startswith("NVIDIA")]
    assert rows == ["NVIDIA RTX A5000", "NVIDIA A40", "NVIDIA L4", "NVIDIA H100 80GB HBM3"]
    assert "stock in EU-RO-1" in said
    assert "US-KS-2 low" in said
    assert "not offered" in next(line for line in said.splitlines() if "H100" in line)
    done = account.project.kedro("cloudtrain", "gpus", "--json", "--data-center", "US-KS-2", **account.environment)
    found = {one["id"]: one for one in json.loads(done.stdout[done.stdout.index("\n[\n") :])}
    assert found["NVIDIA L4"]["stock"] == "LOW"
    assert found["NVIDIA L4"]["cuda_versions"] == ["12.8", "12.9"]
    assert found["NVIDIA A40"]["stock"] is None


def test_doctor_finds_all_well_and_changes_nothing(account: Account) -> None:
    before = sorted(account.bucket.rglob("*"))
    status, said = account.run("doctor")
    assert status == 0, said
    assert "problem" not in said
    for line in (
        "API key",
        "from RUNPOD_API_KEY, accepted",
        "may read and write",
        f"{account.volume_id} in EU-RO-1, 50 GB",
        "S3 keys",
        "clock",
    ):
        assert line in said, line
    assert sorted(account.bucket.rglob("*")) == before
    assert not account.created


def test_doctor_says_the_fix_of_everything_that_is_wrong_at_once(account: Account) -> None:
    account.move_volume("EU-CZ-1")
    account.refuse("DELETE", 403, "key may not write")
    account.cloud.runpod.clock_behind_s = 3600
    status, said = account.run("doctor", RUNPOD_S3_SECRET_KEY="rps_wrong")
    assert status == 1
    for line in (
        "may not create or end pods (key may not write)",
        "Make one that may read and write",
        f"{account.volume_id} is in EU-CZ-1, and volume.data_center says EU-RO-1.",
        "Write data_center: EU-CZ-1",
        "does not accept the S3 keys",
        "ahead of RunPod's: S3 refuses signatures beyond 15 minutes.",
    ):
        assert line in said, line


def test_doctor_tells_kinds_of_keys_apart(account: Account) -> None:
    status, said = account.run("doctor", RUNPOD_API_KEY="")
    assert status == 1
    assert "There is no RunPod API key. Set it as RUNPOD_API_KEY" in said
    assert account.run("doctor", RUNPOD_API_KEY="rpa_other")[1].count("RunPod does not accept the API key") == 1
    account.refuse("GET", 403, "out of scope")
    assert "may not list pods (out of scope)" in account.run("doctor")[1]
    assert "is the key that RunPod gave to this pod" in account.run("doctor", RUNPOD_POD_ID="pod7")[1]


def test_doctor_names_the_file_of_the_key_and_who_can_read_it(account: Account) -> None:
    file = Path(account.environment["HOME"]) / ".runpod/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[default]\napi_key = "{API_KEY}"\n')
    file.chmod(0o644)
    status, said = account.run("doctor", RUNPOD_API_KEY="")
    assert status == 1
    assert f"from {file}, accepted" in said
    assert f"chmod 600 {file}" in said
    file.chmod(0o600)
    assert account.run("doctor", RUNPOD_API_KEY="")[0] == 0


def test_doctor_of_the_local_backend_looks_at_the_directory_and_the_libraries(account: Account) -> None:
    status, said = account.run("doctor", env="base")
    assert status == 0, said
    assert "data/volume" in said
    assert "xgboost to train" in said
    assert not account.cloud.runpod.calls
    account.project.write("conf/base/cloudtrain.yml", "volume: {path: pyproject.toml}\n")
    status, said = account.run("doctor", env="base")
    assert status == 1
    assert "pyproject.toml is a file" in said


def test_reap_ends_the_pods_of_this_project_and_of_no_other(account: Account) -> None:
    mine, other = account.add_pod(POD, minutes=30), account.add_pod(POD.replace("shop--", "shop-2--"))
    foreign = account.add_pod("cloudtrain-by-hand")
    status, said = account.run("reap", "--dry-run")
    assert status == 0
    assert "1 pod would be ended" in said
    for shown in (POD, mine, "30 min", "0.43", "0.22"):
        assert shown in said, shown
    assert mine in account.living
    status, said = account.run("reap")
    assert status == 0
    assert f"Ended {POD} ({mine}), 30 min old, $0.22." in said
    assert mine not in account.living
    assert other in account.living
    assert "There is no pod of shop" in account.run("reap")[1]
    assert account.run("reap", "--all-projects")[0] == 0
    assert other not in account.living
    assert foreign in account.living


def test_a_pod_that_cannot_be_ended_is_said_and_fails_the_command(account: Account) -> None:
    account.add_pod(POD)
    account.refuse("DELETE", 403, "key may not write")
    status, said = account.run("reap")
    assert status == 1
    assert f"Not ended: {POD}" in said
    assert "1 of 1 pod may still run and cost money" in said


def test_stop_ends_one_job_by_name_beginning_or_node_and_tells_who_waits_for_it(account: Account) -> None:
    other = account.add_pod("cloudtrain-shop--train_mass_2-0123456789ab-12345678")
    for named in (JOB, "train_mass", "train_mass-01"):
        pod = account.add_pod(POD)
        status, said = account.run("stop", named)
        assert status == 0, said
        assert pod not in account.living
        assert other in account.living
    result = json.loads((account.bucket / ".cloudtrain/jobs" / JOB / "result.json").read_text())
    assert (result["state"], result["attempt"]) == ("failed", "deadbeef")
    assert "ended by `kedro cloudtrain stop`" in result["error"]["message"]
    status, said = account.run("stop", "train_mess")
    assert status == 1
    assert "No pod works on 'train_mess'" in said
    assert account.run("stop")[0] == 2
    assert account.run("stop", "--all")[0] == 0
    assert not account.living


def test_stop_leaves_the_result_of_a_job_that_is_done(account: Account) -> None:
    account.add_pod(POD)
    result = account.bucket / ".cloudtrain/jobs" / JOB / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text('{"state": "succeeded", "attempt": "deadbeef"}')
    assert account.run("stop", JOB)[0] == 0
    assert json.loads(result.read_text())["state"] == "succeeded"


def test_jobs_show_the_pods_of_those_known_here_and_of_others(account: Account) -> None:
    folder = Path(account.environment["XDG_CACHE_HOME"]) / f"kedro-cloudtrain/{account.volume_id}/.cloudtrain/jobs/{JOB}"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text('{"model_type": "xgboost_regression"}')
    (folder / "machine.json").write_text("{}")
    account.add_pod(POD, minutes=90, usd=2.0)
    account.add_pod("cloudtrain-shop--train_price-ba9876543210-12345678", minutes=6)
    status, said = account.run("jobs")
    assert status == 0
    line = next(line for line in said.splitlines() if line.strip().startswith(JOB))
    assert "running, 1 h 30 min, $3.00" in line
    known, _, unknown = said.partition("that this computer does not know")
    assert "train_price-ba9876543210" in unknown
    assert JOB not in unknown
    assert JOB in known
    ended = account.cloud.runpod.put("cloudtrain-shop--old-0123456789ab-12345678", minutes=60, usd_per_hour=1.5)
    ended.end()
    (folder / "machine.json").write_text(json.dumps({"pod": ended.id}))
    account.cloud.runpod.bills = True
    account.cloud.runpod.end_pods()
    assert "$1.50 billed" in account.run("jobs")[1]
    status, said = account.run("jobs", RUNPOD_API_KEY="rpa_other")
    assert status == 0
    assert "Pods are not shown: RunPod does not accept the API key" in said
    assert JOB in said


def test_plan_names_machine_price_and_estimate_before_a_cent_is_spent(account: Account) -> None:
    status, said = account.run("plan")
    assert status == 0, said
    assert "pod · NVIDIA L4 ($0.43/h, stock high)" in said
    assert "if it is taken: NVIDIA A40 $0.40/h" in said
    assert "at most $5.00 (run.max_cost_usd), 8 pods at once" in said
    status, found = account.plan("--runner-params", "gpu=auto,max_pods=3")
    assert status == 0
    train, here = found["nodes"]
    assert (train["name"], train["where"], train["machine"]) == ("train_mass", "runpod", "cpu5c with 4 vCPUs")
    assert train["usd_per_hour"] == pytest.approx(0.14)
    assert "sooner than a GPU is ready" in train["notes"][0]
    assert (train["reads"], train["timeout_s"], train["problems"]) == ("datasets/penguins.csv", 7200, [])
    low, high = train["estimate_usd"]
    assert 0 < low < high < train["worst_usd"] <= 2
    assert here["where"] == "here"
    assert (found["run"]["max_pods"], found["run"]["max_cost_usd"]) == (3, 5)
    assert not account.created


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("defaults: {gpu: NVIDIA L5}", "`gpu` names 'NVIDIA L5', which RunPod does not offer. Did you mean `NVIDIA L4`?"),
        ("defaults: {gpu: NVIDIA H100 80GB HBM3}", "No machine can run this job in EU-RO-1 (where the network volume is)"),
        ("defaults: {gpu: NVIDIA L4, max_price_per_hour_usd: 0.3}", "over max_price_per_hour_usd 0.3"),
        ("defaults: {gpu: NVIDIA L4, max_cost_usd: 0.05}", "$0.05 of its max_cost_usd is left"),
        ("defaults: {gpu: NVIDIA L4, timeout_s: 7200}\nrun: {max_cost_usd: 0.5}", "the worst case of one pod is $1.07"),
        ("defaults: {gpu: NVIDIA Toy}", "the largest of `gpu` has 1 GB (NVIDIA Toy)"),
    ],
)
def test_plan_refuses_what_could_not_be_placed_or_paid(account: Account, text: str, said: str) -> None:
    account.cloud.runpod.offers.gpus.append(gpu("NVIDIA Toy", 1, 0.01, EU_RO_1="HIGH"))
    settings(account.project, text)
    status, found = account.plan()
    problems = [*found["run"]["problems"], *found["nodes"][0]["problems"]]
    assert status == 1
    assert len(problems) == 1
    assert said in problems[0]


def test_plan_notes_what_the_money_cuts_short(account: Account) -> None:
    settings(account.project, "defaults: {gpu: NVIDIA RTX A5000, timeout_s: 36000, max_cost_usd: 1}")
    status, found = account.plan()
    assert status == 0
    notes = " ".join(found["nodes"][0]["notes"])
    assert "max_cost_usd $1 ends it after 3.5 h, before its timeout_s (10 h)" in notes
    assert "NVIDIA RTX A5000 is sold out by the catalogue" in notes


def test_plan_finds_a_missing_file_and_a_volume_elsewhere(account: Account) -> None:
    (account.bucket / "datasets/penguins.csv").unlink()
    account.move_volume("EU-CZ-1")
    status, said = account.run("plan")
    assert status == 1
    assert "2 problems" in said
    assert f"There is no datasets/penguins.csv on the volume {account.volume_id} in EU-RO-1" in said
    assert "Write data_center: EU-CZ-1" in said


def test_plan_says_once_what_concerns_every_node(account: Account) -> None:
    account.project.write(
        "src/shop/pipeline_registry.py",
        """
        from kedro.pipeline import Pipeline

        from kedro_cloudtrain import training_node


        def register_pipelines():
            return {"__default__": Pipeline([training_node("penguins", "params:mass", model=f"m{i}", name=f"train_{i}") for i in range(3)])}
        """,
    )
    status, said = account.run("plan", RUNPOD_API_BASE_URL="http://127.0.0.1:9")
    assert status == 1
    assert said.count("gave no answer to GET /v2/pods") == 1
    assert "1 problem" in said
    status, said = account.run("plan", RUNPOD_S3_SECRET_KEY="rps_wrong")
    assert status == 1
    assert said.count("does not accept the S3 keys") == 1
    assert len(account.cloud.runpod.requests("GET /v2/catalog/gpus")) == 1


@pytest.mark.parametrize(
    ("environment", "text", "said"),
    [
        ({}, "defaults: {requirements: ['polars=>1']}", "line 3: `defaults.requirements` is"),
        ({}, "defaults: {vcpu_count: 3}", "a CPU pod has 2, 4, 8, 16 or 32 vCPUs"),
        ({}, "volume: {path: data/volume}", "backend runpod needs a network volume"),
        ({}, "volume: {id: abc123xyz, data_center: EU-SE-1}", "EU-SE-1"),
        ({"RUNPOD_API_KEY": ""}, "", "There is no RunPod API key"),
    ],
)
def test_plan_and_run_refuse_alike_what_needs_no_network(account: Account, environment: dict[str, str], text: str, said: str) -> None:
    if text.startswith("volume"):
        account.project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{text}\n")
        environment = {**environment, "RUNPOD_S3_ENDPOINT_URL": ""}
    else:
        settings(account.project, text)
    status, planned = account.run("plan", **environment)
    assert status == 1
    assert said in planned
    done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **{**account.environment, **environment})
    assert done.returncode == 1
    assert said in done.stdout + done.stderr
    assert not account.created
