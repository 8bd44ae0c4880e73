"""The example project at the root, as the README and the tutorial have it run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from support.http_server import Server
from support.kedro_project import ROOT, Project, needs_runner_params
from support.pages import block, commands_of


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the example project, run once by our runner, and by the command that its reader types."""
    copy = Project(tmp_path_factory.mktemp("example"))
    for name in ("src", "conf", "pyproject.toml", ".telemetry"):
        source = ROOT / name
        shutil.copytree(source, copy.path / name) if source.is_dir() else shutil.copy(source, copy.path)
    shutil.copytree(ROOT / "data/volume/datasets", copy.path / "data/volume/datasets")
    first = block("README.md", "bash", "python3 -m venv .venv && .venv/bin/pip install -q -e")
    assert first == block("tutorial/penguins.md", "bash", "python3 -m venv .venv")
    done = copy.kedro(*shlex.split(first.split("&& .venv/bin/kedro")[1]), timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    copy.output = done.stdout + done.stderr
    return copy


def test_four_models_and_a_leaderboard_come_of_one_command(example: Project) -> None:
    assert "4 training nodes, 2 ordinary nodes" in example.output
    leaderboard = pd.read_csv(example.path / "data/08_reporting/leaderboard.csv")
    assert set(leaderboard["model"]) == {"species", "sex", "body_mass", "mass_net"}
    assert leaderboard.set_index("model")["score"].to_dict() == pytest.approx(
        {"species": 1.0, "sex": 0.97, "body_mass": 0.84, "mass_net": 0.84}, abs=0.06
    )
    assert "plotly" in (example.path / "data/08_reporting/leaderboard.html").read_text()
    for model in ("species", "sex", "body_mass", "mass_net"):
        assert (example.path / f"data/06_models/{model}/model.json").is_file()
        assert len(json.loads((example.path / f"data/08_reporting/{model}_history.json").read_text())) > 5


def test_the_same_table_by_url_gives_the_same_model(example: Project) -> None:
    before = (example.path / "data/08_reporting/species.json").read_text()
    content = (ROOT / "data/volume/datasets/penguins.csv").read_bytes()
    served, typed = commands_of("tutorial/penguins.md", "python -m http.server")
    assert served.removeprefix("python -m http.server ") == "--directory data/volume 8000"
    assert "http://127.0.0.1:8000" in (example.path / "conf/http/globals.yml").read_text()
    with Server({"datasets/penguins.csv": content}) as server:
        address = server.url("").rstrip("/")
        run = [*shlex.split(typed)[1:], "--nodes=train_species", "--params", f"dataset_server={address}"]
        done = example.kedro(*run)
        assert done.returncode == 0, done.stdout + done.stderr
        assert any(request.target == "/datasets/penguins.csv" for request in server.requests)
    assert (example.path / "data/08_reporting/species.json").read_text() == before


def test_kedros_own_runner_trains_the_same_model(example: Project) -> None:
    before = json.loads((example.path / "data/08_reporting/body_mass.json").read_text())
    done = example.kedro("run", "--nodes=train_body_mass")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "backend" not in done.stdout
    assert json.loads((example.path / "data/08_reporting/body_mass.json").read_text()) == pytest.approx(before)


def test_twelve_models_come_of_the_other_pipeline(example: Project) -> None:
    typed, _ = commands_of("tutorial/penguins.md", "kedro run --runner=cloudtrain --pipeline=all_models")
    done = example.kedro(*shlex.split(typed)[1:], timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    leaderboard = pd.read_csv(example.path / "data/08_reporting/all_models.csv")
    assert len(leaderboard) == 12
    assert leaderboard["score"].min() > 0.7
    assert len(list((example.path / "data/07_model_output").glob("*_predictions.parquet"))) == 12


@needs_runner_params
def test_sixty_models_come_of_the_pipeline_of_segments_and_none_twice(example: Project) -> None:
    (typed,) = commands_of("how-to/partitions.md", "kedro run --runner=cloudtrain --pipeline=segments")
    assert typed in commands_of("tutorial/penguins.md", "kedro run --runner=cloudtrain --pipeline=all_models")
    run = [*shlex.split(typed)[1:], "--runner-params=max_pods=2"]
    done = example.kedro(*run, timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 training node, 1 ordinary node" in done.stdout + done.stderr
    stations = pd.read_csv(example.path / "data/08_reporting/stations.csv")
    assert stations["station"].nunique() == len(stations) == 60
    assert stations["r2"].min() > 0.5
    assert stations["rmse"].is_monotonic_increasing
    assert (stations["state"] == "trained").all()
    assert len(list((example.path / "data/06_models/stations").glob("station_*/model.json"))) == 60
    written = block("how-to/partitions.md", "python", "# pipeline.py").partition("\n")[2].strip()
    assert written in (ROOT / "src/cloudtrain_example/pipelines/segments.py").read_text()
    code = "import pandas as pd; from kedro_cloudtrain import ModelsDataset\n" + block("how-to/partitions.md", "python", "# nodes.py")
    code += "models = ModelsDataset(filepath='data/06_models/stations').load()\n"
    code += "hires = pd.read_parquet('data/volume/datasets/hires.parquet')\n"
    code += "print(len(models), predict_hires(models, hires)[['hires', 'expected']].corr().iloc[0, 1] > 0.8)\n"
    assert example.python("-c", code).stdout.split() == ["60", "True"]
    example.kedro(*run)
    assert (pd.read_csv(example.path / "data/08_reporting/stations.csv")["state"] == "reused").all()


@needs_runner_params
def test_on_pods_of_the_stand_in_the_same_models_come_of_the_readmes_command(example: Project) -> None:
    files = [example.path / f"data/08_reporting/{model}.json" for model in ("species", "sex", "body_mass", "mass_net")]
    before = [file.read_text() for file in files]
    shutil.rmtree(example.path / "data/08_reporting")
    command = commands_of("tutorial/pod.md", "kedro cloudtrain rehearse")
    assert command == commands_of("README.md", "kedro cloudtrain rehearse")
    done = example.kedro(*shlex.split(command[0])[1:], timeout=280)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "backend runpod · volume abc123xyz in EU-RO-1" in output
    assert re.search(r"of at most \$5\.00 of play money", output)
    assert re.search(r"Rehearsal over: 4 pods, \$0\.\d+ of play money\.", output)
    assert "had not ended" not in output
    assert [file.read_text() for file in files] == before


@needs_runner_params
def test_what_the_tutorial_looks_at_is_there(example: Project) -> None:
    # The last of this project's tests: it leaves another model of the species.
    def typed(command: str) -> str:
        done = example.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    assert "train_species" in typed(commands_of("tutorial/penguins.md", "kedro cloudtrain plan")[0])
    jobs, log, script = (typed(command) for command in commands_of("tutorial/penguins.md", "kedro cloudtrain jobs"))
    assert "train_species" in jobs
    assert "rows" in log
    assert "max_depth" in script
    (again,) = [line for line in block("tutorial/penguins.md", "console", "kedro run --runner=cloudtrain").splitlines() if line]
    assert typed(again).count("is done already: nothing changed") == 4
    change, runs = commands_of("tutorial/penguins.md", "kedro run --runner=cloudtrain --params=species")
    assert typed(change).count("is done already: nothing changed") == 3
    assert typed(runs).count("train_sex roc_auc") >= 3
    (first, *_) = sorted(file.stem for file in (example.path / ".cloudtrain/runs").glob("*.json"))
    compare, report = commands_of("tutorial/penguins.md", "kedro cloudtrain runs compare RUN latest")
    assert "species.hyperparameters.max_depth" in typed(compare.replace("RUN", first))
    typed(report)
    code = block("tutorial/penguins.md", "python", "# predict.py")
    assert "Adelie" in example.python("-c", code).stdout


def test_the_projects_files_name_no_place_of_one_computer() -> None:
    for file in [*ROOT.glob("conf/**/*.yml"), *ROOT.glob("src/**/*.py")]:
        assert str(Path.home()) not in file.read_text(), file
