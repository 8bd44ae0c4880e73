"""`kedro cloudtrain plan`: machine, price and every problem are known before a cent is spent."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from support.account import Account, use_settings
from support.package_index import add, index, wheel

from kedro_cloudtrain.backends.runpod.contract import AccountLimits
from kedro_cloudtrain.backends.runpod.offers import Candidate
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.config.run import BudgetSettings, RunSettings
from kedro_cloudtrain.jobs.requirements import function_requirements, requirements
from kedro_cloudtrain.planning.quotes import Quote, run_problems, spend_rate_notes
from kedro_cloudtrain.planning.report import Report
from kedro_cloudtrain.rehearsal.offers import gpu


def test_plan_names_machine_price_and_estimate_before_a_cent_is_spent(account: Account) -> None:
    status, output = account.run("plan")
    assert status == 0, output
    assert "pod · NVIDIA L4 ($0.43/h, stock high)" in output
    assert "if it is taken: NVIDIA A40 $0.40/h" in output
    assert "at most $5.00 (run.max_cost_usd), 8 pods at once" in output
    status, report = account.plan("--runner-params", "gpu=auto,max_pods=3")
    assert status == 0
    train, ordinary = report["nodes"]
    assert (train["name"], train["where"], train["machine"]) == ("train_mass", "runpod", "cpu5c with 4 vCPUs")
    assert train["usd_per_hour"] == pytest.approx(0.14)
    assert "sooner than a GPU is ready" in train["notes"][0]
    assert (train["reads"], train["timeout_s"], train["problems"]) == ("datasets/penguins.csv", 7200, [])
    low, high = train["estimate_usd"]
    assert 0 < low < high < train["worst_usd"] <= 2
    assert ordinary["where"] == "here"
    assert (report["run"]["max_pods"], report["run"]["max_cost_usd"]) == (3, 5)
    assert not account.created


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: {gpu: NVIDIA L5}", "`gpu` names 'NVIDIA L5', which RunPod does not offer. Did you mean `NVIDIA L4`?"),
        ("defaults: {gpu: NVIDIA H100 80GB HBM3}", "No machine can run this job in EU-RO-1 (where the network volume is)"),
        ("defaults: {gpu: NVIDIA L4, max_price_per_hour_usd: 0.3}", "over max_price_per_hour_usd 0.3"),
        ("defaults: {gpu: NVIDIA L4, max_cost_usd: 0.05}", "$0.05 of its max_cost_usd is left"),
        ("defaults: {gpu: NVIDIA L4, timeout_s: 7200}\nrun: {max_cost_usd: 0.5}", "the worst case of one pod is $0.97"),
        ("defaults: {gpu: NVIDIA Toy}", "the largest of `gpu` has 1 GB (NVIDIA Toy)"),
    ],
)
def test_plan_refuses_what_could_not_be_placed_or_paid(account: Account, text: str, message: str) -> None:
    account.cloud.runpod.offers.gpus.append(gpu("NVIDIA Toy", 1, 0.01, EU_RO_1="HIGH"))
    use_settings(account.project, text)
    status, report = account.plan()
    problems = [*report["run"]["problems"], *report["nodes"][0]["problems"]]
    assert status == 1
    assert len(problems) == 1
    assert message in problems[0]


def test_plan_shows_what_a_gpu_that_is_not_used_costs_beside_a_cpu(account: Account) -> None:
    use_settings(account.project, "defaults: {gpu: NVIDIA L4}")
    for model, part in (
        ("xgboost_regression", "xgboost is not worth a GPU: a CPU fits 1,905 numbers sooner"),
        ("lightgbm_regression", "lightgbm does not use its GPU: LightGBM's wheel has no CUDA"),
    ):
        parameters = (account.project.path / "conf/base/parameters.yml").read_text()
        account.project.write("conf/base/parameters.yml", re.sub(r"model_type: \w+", f"model_type: {model}", parameters))
        status, report = account.plan()
        assert status == 0
        notes = " ".join(report["nodes"][0]["notes"])
        assert part in notes
        assert "A CPU pod (cpu5c with 4 vCPUs) costs $0.14/h instead of $0.43/h: gpu: auto or gpu: none takes it." in notes


def test_a_parquet_table_is_judged_by_its_rows_and_columns_and_not_by_its_compressed_size(account: Account) -> None:
    frame = pd.DataFrame({f"c{number}": np.zeros(1_500_000, "int8") for number in range(20)})
    frame["body_mass_g"] = np.arange(len(frame), dtype="int32") % 7
    (account.bucket / "datasets").mkdir(exist_ok=True)
    frame.to_parquet(account.bucket / "datasets/wide.parquet")
    assert (account.bucket / "datasets/wide.parquet").stat().st_size < 2_000_000
    catalog = (account.project.path / "conf/base/catalog.yml").read_text()
    account.project.write("conf/base/catalog.yml", catalog.replace("datasets/penguins.csv", "datasets/wide.parquet"))
    for features, machine in (("", "NVIDIA A40"), ("  feature_columns: [c0, c1]\n", "cpu5c with 4 vCPUs")):
        account.project.write(
            "conf/base/parameters.yml", f"mass:\n  model_type: xgboost_regression\n  target_column: body_mass_g\n{features}"
        )
        status, report = account.plan("--runner-params", "gpu=auto")
        assert status == 0, report
        assert report["nodes"][0]["machine"] == machine
    # In pieces it is fitted on a CPU, and its encoded rows are on the pod's disk.
    account.project.write(
        "conf/base/parameters.yml", "mass: {model_type: xgboost_regression, target_column: body_mass_g, in_pieces: true}\n"
    )
    status, report = account.plan("--runner-params", "gpu=auto")
    assert status == 0, report
    assert report["nodes"][0]["machine"] == "cpu5c with 4 vCPUs"
    assert "its table is read and fitted in pieces" in report["nodes"][0]["notes"]


@pytest.mark.measured
def test_plan_notes_what_the_money_cuts_short(account: Account) -> None:
    use_settings(account.project, "defaults: {gpu: NVIDIA RTX A5000, timeout_s: 36000, max_cost_usd: 1}")
    status, report = account.plan()
    assert status == 0
    notes = " ".join(report["nodes"][0]["notes"])
    assert "max_cost_usd $1 ends it after 3.5 h, before its timeout_s (10 h)" in notes
    assert "NVIDIA RTX A5000 is sold out according to RunPod" in notes


def test_plan_compares_the_price_an_hour_with_the_accounts_limit_where_the_api_tells_it(account: Account) -> None:
    account.cloud.runpod.account_limits = {"spendRate": {"limit": 0.8, "current": 0.5}, "serverlessWorkers": {"limit": 5}}
    status, report = account.plan()
    assert status == 0
    assert (
        "1 pod at once may cost $0.43 an hour, and the RunPod account may spend $0.80 an hour, of which $0.50 are in use: "
        "RunPod refuses the pod that would pass it. Have RunPod raise the limit."
    ) in report["run"]["notes"]


@pytest.mark.parametrize(
    ("spend_rate", "cap"),
    [
        ({"limit": 80}, 80.0),
        ({"maxPerHour": 0.4, "workers": 3}, 0.4),
        ({"limit": 0.1, "limitOfPods": 2}, None),
        ({"limit": "low"}, None),
        ({"limit": True}, None),
        ({"limit": -1}, None),
        ({"limit": None}, None),
        (0.1, None),
        ([{"limit": 0.1}], None),
        (None, None),
    ],
)
def test_an_answer_that_does_not_name_the_accounts_limit_is_not_taken_for_one(spend_rate: object, cap: float | None) -> None:
    assert AccountLimits.model_validate({"spendRate": spend_rate}).cap_usd_per_hour == cap


def test_the_note_about_the_accounts_limit_says_how_many_pods_fit() -> None:
    quotes = [Quote(Candidate(f"GPU {price}", None, 1, price, "HIGH", 24.0), worst_usd=1.0) for price in (0.5, 0.4, 0.6, 0.3)]
    limits = AccountLimits.model_validate({"spendRate": {"limit": 1.25}})
    (note,) = spend_rate_notes(quotes, limits, max_pods=3)
    assert note.startswith("3 pods at once may cost $1.50 an hour")
    assert "Lower max_pods to 2, or have RunPod raise the limit." in note
    assert not list(spend_rate_notes(quotes, limits, max_pods=2))
    assert not list(spend_rate_notes(quotes, None, max_pods=3))


@pytest.mark.measured
def test_plan_finds_a_missing_file_and_a_volume_elsewhere(account: Account) -> None:
    (account.bucket / "datasets/penguins.csv").unlink()
    account.move_volume("EU-CZ-1")
    status, output = account.run("plan")
    assert status == 1
    assert "2 problems" in output
    assert f"There is no datasets/penguins.csv on the volume {account.volume_id} in EU-RO-1" in output
    assert "Write data_center: EU-CZ-1" in output


def test_plan_prints_once_what_concerns_every_node(account: Account) -> None:
    account.project.write(
        "src/shop/pipeline_registry.py",
        """
        from kedro.pipeline import Pipeline

        from kedro_cloudtrain import training_node


        def register_pipelines():
            return {"__default__": Pipeline([training_node("penguins", "params:mass", model=f"m{i}", name=f"train_{i}") for i in range(3)])}
        """,
    )
    status, output = account.run("plan", RUNPOD_API_BASE_URL="http://127.0.0.1:9")
    assert status == 2
    assert output.count("gave no answer to GET /v2/pods") == 1
    assert "Cannot be told" in output
    assert "problem" not in output
    status, output = account.run("plan", RUNPOD_S3_SECRET_KEY="rps_wrong")
    assert status == 1
    assert output.count("does not accept the S3 keys") == 1
    assert len(account.cloud.runpod.requests("GET /v2/catalog/gpus")) == 1


@pytest.mark.measured
@pytest.mark.parametrize(
    ("environment", "text", "message"),
    [
        ({}, "defaults: {requirements: ['polars=>1']}", "line 3: `defaults.requirements` is"),
        ({}, "defaults: {vcpu_count: 3}", "a CPU pod has 2, 4, 8, 16 or 32 vCPUs"),
        ({}, "volume: {path: data/volume}", "backend runpod needs a network volume"),
        ({}, "volume: {id: abc123xyz, data_center: EU-SE-1}", "EU-SE-1"),
        ({"RUNPOD_API_KEY": ""}, "", "There is no RunPod API key"),
    ],
)
def test_plan_and_run_refuse_alike_what_needs_no_network(account: Account, environment: dict[str, str], text: str, message: str) -> None:
    if text.startswith("volume"):
        account.project.write("conf/runpod/cloudtrain.yml", f"backend: runpod\n{text}\n")
        environment = {**environment, "RUNPOD_S3_ENDPOINT_URL": ""}
    else:
        use_settings(account.project, text)
    status, planned = account.run("plan", **environment)
    assert status == 1
    assert message in planned
    done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **{**account.environment, **environment})
    assert done.returncode == 1
    assert message in done.stdout + done.stderr
    assert not account.created


def test_the_plan_fits_a_narrow_console_and_keeps_every_figure_whole(account: Account) -> None:
    _, output = account.run("plan", COLUMNS="80")
    table, _, _ = output[output.index("\nnode") :].partition("\n\n")
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "pod · NVIDIA L4 ($0.43/h, stock high)" in table
    assert "reads datasets/penguins.csv  15.2 kB" in table


def test_packages_that_no_pod_could_install_are_refused_before_one_is_asked_for(account: Account) -> None:
    use_settings(account.project, "defaults: {install: true, gpu: none, requirements: ['nosuchlib==9']}")
    needed = [line.partition("==") for line in requirements("xgboost", gpu=False)]
    with index(dict(wheel(name, version) for name, _, version in needed)) as server:
        environment = {**account.environment, "UV_DEFAULT_INDEX": f"{server.url('simple')}/"}
        status, planned = account.run("plan", **environment)
        assert status == 1
        assert "train_mass  its packages cannot be installed together" in planned
        assert "nosuchlib was not found" in planned
        done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **environment)
        assert done.returncode == 1
        assert "train_mass: its packages cannot be installed together" in done.stdout + done.stderr
        assert not account.created
        add(server, *wheel("nosuchlib", "9"))
        assert account.run("plan", **environment)[0] == 0
    # Its index is gone: what is locked stays known, and nothing else.
    assert account.run("plan", **environment)[0] == 0
    use_settings(account.project, "defaults: {install: true, gpu: none, requirements: ['nosuchlib<9']}")
    status, planned = account.run("plan", **environment)
    assert status == 2
    assert "Failed to fetch" in planned


@pytest.mark.measured
def test_a_module_that_the_pod_would_not_have_is_named_before_one_is_asked_for(account: Account) -> None:
    use_settings(account.project, "defaults: {install: true, gpu: none}\nnodes: {summarise: {requirements: [pandas]}}")
    stubs = [*requirements("xgboost", gpu=False), *function_requirements(account.project.path, ["pandas"]), "kedro==1.0"]
    with index(dict(wheel(name, version or "1.0") for name, _, version in (line.partition("==") for line in stubs))) as server:
        environment = {**account.environment, "UV_DEFAULT_INDEX": f"{server.url('simple')}/"}
        status, planned = account.run("plan", **environment)
        assert status == 1
        assert "summarise  its module shop.pipeline_registry imports kedro, which the pod would not have. Add it to" in planned
        done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **environment)
        assert "summarise: its module shop.pipeline_registry imports kedro, which" in done.stdout + done.stderr
        assert not account.created
        use_settings(account.project, "defaults: {install: true, gpu: none}\nnodes: {summarise: {requirements: [pandas, kedro]}}")
        assert account.run("plan", **environment)[0] == 0


@pytest.mark.parametrize(("taken", "worst", "problem"), [(9.5, 0.6, True), (9.5, 0.4, False), (None, 99.0, False), (10.0, 0.6, False)])
def test_a_pod_that_does_not_fit_the_rest_of_the_shared_budget_is_a_problem(taken: float | None, worst: float, problem: bool) -> None:
    run = RunSettings(budget=BudgetSettings(name="team", max_cost_usd=10, per="week"))
    problems = list(run_problems([Quote(worst_usd=0.1), Quote(worst_usd=worst)], run, taken))
    # Where nothing is left, the examination of the budget says so.
    assert bool(problems) is problem
    for sentence in problems:
        assert "Of the shared budget 'team', $0.50 of $10.00 a week is left, but the worst case of one pod is $0.60" in sentence


def test_a_run_without_an_estimate_is_not_probably_a_dash() -> None:
    settings = make_settings({"run": {"max_cost_usd": 5}})
    assert Report([], settings, 4).limits() == "The run: at most $5.00 (run.max_cost_usd), 4 pods at once."
    assert "1 pod at once." in Report([], settings, 1).limits()
