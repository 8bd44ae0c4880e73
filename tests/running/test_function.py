"""A user's own node on a machine: as it is, with what it reads, what it returns and the code that it imports."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from support.cloud import Cloud
from support.kedro_project import Project, edit, needs_runner_params, run
from support.pages import block, commands_of
from support.spaceflights import job, make_spaceflights, ran, score, select

from kedro_cloudtrain.jobs.importable import reason_against

SPLIT_AND_BELOW = {"split_data_node", "train_model_node", "evaluate_model_node"}
ALL = {"preprocess_companies_node", "preprocess_shuttles_node", "create_model_input_table_node", *SPLIT_AND_BELOW}


@pytest.fixture
def flights(tmp_path: Path) -> Project:
    return make_spaceflights(tmp_path)


def versions(project: Project) -> list[Path]:
    return sorted((project.path / "data/06_models").glob("regressor.pickle/*/regressor.pickle"))


# ------------------------------------------------------------------ the starter's node, unchanged


def test_the_starters_node_gives_the_same_score_on_this_computer(flights: Project) -> None:
    assert flights.kedro("run").returncode == 0
    alone, before = score(flights), versions(flights)
    # As the tutorial has it.
    flights.write("conf/base/cloudtrain.yml", block("tutorial/spaceflights.md", "yaml", "# conf/base/cloudtrain.yml"))
    plan, typed = commands_of("tutorial/spaceflights.md", "kedro cloudtrain plan")
    assert flights.kedro(*plan.split()[1:]).returncode == 0
    done = flights.kedro(*typed.split()[1:])
    output = done.stdout + done.stderr
    assert ran(output) == {"train_model_node"}
    assert "1 function node, 5 ordinary nodes" in output
    assert score(flights) == alone
    # The versioned pickle was saved through the catalog, as a new version.
    assert len(versions(flights)) == len(before) + 1 == 2
    text = (job(flights, "train_model_node") / "train.py").read_text()
    assert "from shuttles.pipelines.price.nodes import train_model" in text
    assert "returned = train_model(x_train, y_train)" in text


def test_every_node_may_go_to_a_machine(flights: Project) -> None:
    flights.kedro("run")
    alone = score(flights)
    (flights.path / "data/volume/clean/companies.parquet").unlink()
    flights.write("conf/base/cloudtrain.yml", block("tutorial/spaceflights.md", "yaml", "# conf/base/cloudtrain.yml: all nodes"))
    (typed,) = [line for line in block("tutorial/spaceflights.md", "console", "kedro run --runner=cloudtrain").splitlines() if line]
    done = flights.kedro(*typed.split()[1:])
    output = done.stdout + done.stderr
    assert len(ran(output)) == 6
    assert score(flights) == alone
    # A key on the volume is read there, and saved there by the machine itself.
    companies = json.loads((job(flights, "preprocess_companies_node") / "job.json").read_text())
    assert companies["inputs"]["companies"]["dataset_key"] == "datasets/companies.csv"
    assert companies["saves"]["preprocessed_companies"]["dataset_key"] == "clean/companies.parquet"
    assert not (job(flights, "preprocess_companies_node") / "outputs").exists()
    assert len(pd.read_parquet(flights.path / "data/volume/clean/companies.parquet")) == 40
    assert "Saving data to preprocessed_companies" not in output
    # A local spreadsheet is loaded here and sent as parquet; parameters stand in the script.
    assert 'dataset_file": "inputs/' in (job(flights, "preprocess_shuttles_node") / "train.py").read_text()
    assert "MODEL_OPTIONS = {" in (job(flights, "split_data_node") / "train.py").read_text()
    assert ran(run(flights)) == set()


def test_the_job_runs_by_hand(flights: Project) -> None:
    select(flights, "train_model_node")
    run(flights)
    folder = job(flights, "train_model_node")
    before = json.loads((folder / "result.json").read_text())["outputs"]["regressor"]["sha256"]
    subprocess.run([sys.executable, "train.py"], cwd=folder, check=True, capture_output=True, timeout=60)
    assert json.loads((folder / "result.json").read_text())["outputs"]["regressor"]["sha256"] == before


def test_a_function_that_spawns_processes_is_called_once(flights: Project) -> None:
    nodes = flights.path / "src/shuttles/pipelines/price/nodes.py"
    edit(
        flights,
        "src/shuttles/pipelines/price/nodes.py",
        "    return RandomForestRegressor(",
        "    in_processes()\n    return RandomForestRegressor(",
    )
    nodes.write_text(
        nodes.read_text()
        + """

def in_processes():
    import math
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    print("called", flush=True)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert list(pool.map(math.sqrt, [1, 4])) == [1, 2]
"""
    )
    select(flights, "train_model_node")
    run(flights)
    assert (job(flights, "train_model_node") / "log.txt").read_text().splitlines().count("called") == 1


@pytest.mark.parametrize(("selector", "nodes"), [("tag:clean", 2), ("preprocess_*", 2)])
def test_nodes_are_selected_by_tag_and_glob(flights: Project, selector: str, nodes: int) -> None:
    select(flights, selector)
    assert len(ran(run(flights))) == nodes


def test_the_starters_node_gives_the_same_score_on_a_pod(flights: Project, cloud: Cloud) -> None:
    flights.kedro("run")
    alone = score(flights)
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    flights.write("conf/runpod/globals.yml", volume)
    flights.write(
        "conf/runpod/cloudtrain.yml",
        f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\n"
        "nodes: {train_model_node: {}, preprocess_companies_node: {}, create_model_input_table_node: {}}\n",
    )
    (cloud.bucket / "datasets/companies.csv").write_bytes((flights.path / "data/volume/datasets/companies.csv").read_bytes())
    output = run(flights, "--env=runpod")
    assert ran(output) == {"train_model_node", "preprocess_companies_node", "create_model_input_table_node"}
    assert score(flights) == alone
    # Saved by the pod, and read by the next one: neither came here.
    assert len(pd.read_parquet(cloud.bucket / "clean/companies.parquet")) == 40
    sent = list((cloud.bucket / ".cloudtrain/inputs").iterdir())
    assert len(sent) == 4  # X_train, y_train, the shuttles and the reviews
    cloud.s3.requests.clear()
    assert ran(run(flights, "--env=runpod")) == set()
    assert len(cloud.runpod.pods) == 3
    # Another client sends what is there already no more.
    assert not [path for method, path in cloud.s3.requests if method == "PUT" and "/inputs/" in path]
    # Another computer, which has not seen the file before, knows one of the same size from it.
    made = cloud.bucket / "clean/companies.parquet"
    made.write_bytes(bytes(reversed(made.read_bytes())))
    output = run(flights, "--env=runpod", "--nodes=preprocess_companies_node", XDG_CACHE_HOME=str(flights.path / "cache"))
    assert "was changed since" in " ".join(output.split())
    assert len(pd.read_parquet(made)) == 40


# ------------------------------------------------------------------ the code that travels


def test_the_projects_package_travels_without_what_git_ignores(flights: Project) -> None:
    select(flights, "train_model_node")
    run(flights)
    names = zipfile.ZipFile(job(flights, "train_model_node") / "code.zip").namelist()
    assert "shuttles/pipelines/price/nodes.py" in names
    assert "shuttles/pricing.py" in names
    assert not [name for name in names if name.endswith((".env", ".pyc", ".csv", ".yml"))]


def test_one_change_runs_what_is_below_it_again_and_no_other_node(flights: Project) -> None:
    select(flights, "*")
    run(flights)
    changes = [
        ("src/shuttles/pipeline_registry.py", "def register", "ADDED = 1\n\n\ndef register", set()),
        ("data/01_raw/reviews.csv", "\n0,", "\n00,", set()),  # the same number
        ("data/01_raw/reviews.csv", "\n199,", "\n199,1", {"create_model_input_table_node", *SPLIT_AND_BELOW}),
        ("conf/base/parameters.yml", "random_state: 3", "random_state: 4", SPLIT_AND_BELOW),
        ("src/shuttles/pricing.py", "[$,%]", "[$%,]", ALL),  # one module, which all nodes import
    ]
    for file, before, after, again in changes:
        edit(flights, file, before, after)
        assert ran(run(flights)) == again, (file, after)


@pytest.mark.measured
def test_what_was_changed_on_the_volume_is_made_again(flights: Project) -> None:
    select(flights, "preprocess_companies_node")
    run(flights, "--nodes=preprocess_companies_node")
    made = flights.path / "data/volume/clean/companies.parquet"
    pd.read_parquet(made).head(3).to_parquet(made, index=False)
    output = run(flights, "--nodes=preprocess_companies_node")
    assert "was changed since" in output.replace("\n", " ").replace("  ", "")
    assert len(pd.read_parquet(made)) == 40
    made.unlink()
    assert "no longer exists" in " ".join(run(flights, "--nodes=preprocess_companies_node").split())
    assert len(pd.read_parquet(made)) == 40


# ------------------------------------------------------------------ what cannot go, and what goes wrong


def outer():
    def inner() -> int:
        return 1

    return inner


def pieces():
    yield 1


class Counter:
    def __call__(self) -> int:
        return 1


def test_what_no_machine_could_import_is_refused_with_the_reason() -> None:
    import functools

    output = {
        reason_against(lambda: 1): "is a lambda",
        reason_against(outer()): "defined within another function",
        reason_against(functools.partial(print, 1)): "functools.partial of print",
        reason_against(Counter()): "an object of the class Counter",
        reason_against(pieces): "is a generator",
    }
    for reason, words in output.items():
        assert reason is not None
        assert words in reason
        assert "take the node out of `nodes`" in reason
    assert reason_against(outer) is None


def test_plan_refuses_a_lambda_before_anything_runs(flights: Project) -> None:
    edit(flights, "src/shuttles/pipelines/price/pipeline.py", "nodes.train_model,", "lambda X, y: nodes.train_model(X, y),")
    select(flights, "train_model_node")
    for command in (["cloudtrain", "plan"], ["run", "--runner=cloudtrain"]):
        done = flights.kedro(*command)
        assert done.returncode == 1
        assert "train_model_node" in done.stdout + done.stderr
        assert "is a lambda, which has no name to import it by" in " ".join((done.stdout + done.stderr).split())
    assert flights.jobs == []


def test_plan_and_render_know_a_function(flights: Project) -> None:
    select(flights, "preprocess_*")
    plan = flights.kedro("cloudtrain", "plan").stdout
    assert "preprocess_companies" in plan
    assert "shuttles sent from this computer" in plan
    script = flights.kedro("cloudtrain", "render", "preprocess_shuttles_node").stdout
    assert "returned = preprocess_shuttles(shuttles)" in script
    assert 'RETURNS = ["preprocessed_shuttles", "counts"]' in script
    made = flights.path / "by-hand"
    assert flights.kedro("cloudtrain", "render", "preprocess_shuttles_node", "--to", str(made)).returncode == 0
    subprocess.run([sys.executable, "train.py"], cwd=made, check=True, capture_output=True, timeout=60)
    assert json.loads((made / "outputs/counts.json").read_text()) == {"rows": 200}


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('return {"r2"', '1 / 0; return {"r2"', ["evaluate_model_node", "failed in its call stage", "ZeroDivisionError", "1 / 0"]),
        (', {"rows": len(shuttles)}', "", ["should return 2 values (preprocessed_shuttles, counts), but returned a DataFrame"]),
        (', {"rows": len(shuttles)}', ", None", ["preprocess_shuttles_node", "returned None for `counts`, and no dataset saves None"]),
        (
            '{"rows": len(shuttles)}',
            "(row for row in [])",
            ["preprocess_shuttles_node", "`counts`: A generator cannot be pickled", "or an object that can be pickled"],
        ),
    ],
)
def test_a_failing_function_is_shown_as_it_failed_there(flights: Project, before: str, after: str, words: list[str]) -> None:
    edit(flights, "src/shuttles/pipelines/price/nodes.py", before, after)
    select(flights, "*")
    done = flights.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    output = " ".join((done.stdout + done.stderr).split())
    for word in words:
        assert word in output


@pytest.mark.measured
def test_what_cannot_travel_is_refused_with_its_name(flights: Project) -> None:
    nodes, pipeline = "src/shuttles/pipelines/price/nodes.py", "src/shuttles/pipelines/price/pipeline.py"
    edit(flights, nodes, '{"rows": len(shuttles)}', "(row for row in [])")
    edit(flights, nodes, "(regressor, X_test, y_test)", "(regressor, X_test, y_test, counts)")
    edit(flights, pipeline, '["regressor", "X_test", "y_test"]', '["regressor", "X_test", "y_test", "counts"]')
    edit(flights, "conf/base/catalog.yml", "metrics:", "counts: {type: MemoryDataset, copy_mode: assign}\nmetrics:")
    select(flights, "evaluate_model_node")
    done = flights.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    output = " ".join((done.stdout + done.stderr).split())
    assert "`counts` of evaluate_model_node holds a generator, which can be read once and only here: that is not data" in output


@pytest.mark.measured
def test_a_large_input_that_exists_only_here_is_sent_with_a_warning(flights: Project) -> None:
    flights.write("conf/base/cloudtrain.yml", "nodes: {train_model_node: {upload_warn_mb: 0.001}}\n")
    output = " ".join(run(flights).split())
    assert "`X_train` exists only on this computer" in output
    assert "upload_warn_mb is 0.001" in output


def test_an_override_of_a_hook_reaches_the_function(flights: Project) -> None:
    flights.write(
        "src/shuttles/settings.py",
        """
        from kedro.framework.hooks import hook_impl


        class Override:
            @hook_impl
            def before_node_run(self, node, inputs):
                if node.name == "split_data_node":
                    return {"params:model_options": {**inputs["params:model_options"], "test_size": 0.5}}


        HOOKS = (Override(),)
        """,
    )
    select(flights, "split_data_node")
    run(flights)
    assert '"test_size": 0.5' in (job(flights, "split_data_node") / "train.py").read_text()


@needs_runner_params
def test_without_the_cache_a_function_runs_again(flights: Project) -> None:
    select(flights, "train_model_node")
    run(flights)
    assert ran(run(flights, "--runner-params", "cache=false")) == {"train_model_node"}


def test_what_a_function_logs_is_in_its_log(flights: Project) -> None:
    nodes = "src/shuttles/pipelines/price/nodes.py"
    output = "import logging\nlogging.getLogger(__name__).info('of ours')\nlogging.getLogger('another').info('of another')\n"
    path = flights.path / nodes
    path.write_text(output + path.read_text())
    select(flights, "preprocess_shuttles_node")
    run(flights, "--nodes=preprocess_shuttles_node")
    log = (job(flights, "preprocess_shuttles_node") / "log.txt").read_text()
    assert "INFO     shuttles.pipelines.price.nodes: of ours" in log
    assert "of another" not in log


def test_an_input_that_is_not_there_is_named_without_a_stack(flights: Project) -> None:
    (flights.path / "data/01_raw/shuttles.xlsx").unlink()
    select(flights, "preprocess_shuttles_node")
    done = flights.kedro("run", "--runner=cloudtrain", "--nodes=preprocess_shuttles_node")
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert "preprocess_shuttles_node: `shuttles` cannot be sent to the machine, since it does not exist" in output
    assert "Traceback" not in output


@pytest.mark.measured
def test_render_says_what_is_made_by_a_run(flights: Project) -> None:
    select(flights, "train_model_node")
    done = flights.kedro("cloudtrain", "render", "train_model_node")
    assert done.returncode == 1
    assert "`X_train` is sent with the job of train_model_node, and does not exist before a run" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_volume_that_cannot_be_written_to_is_refused_by_plan_and_run(flights: Project) -> None:
    (flights.path / "data/volume/datasets").rename(flights.path / "data/datasets")
    (flights.path / "data/volume/").rmdir()
    (flights.path / "data/volume").write_text("a file")
    select(flights, "train_model_node")
    for command in (["cloudtrain", "plan"], ["run", "--runner=cloudtrain"]):
        done = flights.kedro(*command)
        output = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 1
        assert "data/volume cannot be written to" in output
        assert "Traceback" not in output
