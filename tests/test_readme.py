"""The README is true: its blocks are run as they stand."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from support.cloud import Cloud
from support.kedro_project import PENGUINS, ROOT, Project

from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.runs.notices import Notices

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language: str, title: str = "") -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and text.startswith(title)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is nothing but what the README says."""
    from support.kedro_project import make_project

    made = make_project(tmp_path_factory.mktemp("readme"), forks=False)
    catalog, *_ = blocks("yaml", "# catalog.yml")
    made.write("conf/base/catalog.yml", catalog)
    made.write("conf/base/parameters.yml", blocks("yaml", "# parameters.yml")[0])
    registry = "\n\ndef register_pipelines():\n    return {'__default__': create_pipeline()}\n"
    made.write("src/shop/pipeline_registry.py", blocks("python", "# pipeline.py")[0] + registry)
    return made


def test_every_kedro_command_in_the_readme_works(project: Project) -> None:
    commands = [line for text in blocks("console")[:2] for line in text.splitlines() if line.startswith("kedro")]
    assert len(commands) == 7
    for command in commands:
        done = project.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    for command in blocks("console", "kedro cloudtrain plan --out")[0].splitlines():
        done = project.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "The run is what plan.json has" in done.stdout + done.stderr
    for command in blocks("console", "kedro cloudtrain runs --limit")[0].splitlines():
        done = project.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    code = blocks("python", "# predict.py")[0].replace(
        "print(model.predict(frame))", "import pandas as pd\nframe = pd.read_csv(DATA)\nprint(model.predict(frame))"
    )
    done = project.python("-c", f"DATA = {str(PENGUINS)!r}\n{code}")
    assert "Adelie" in done.stdout, done.stderr


def test_the_settings_of_the_readme_hold(project: Project) -> None:
    project.write("conf/readme/cloudtrain.yml", blocks("yaml", "# cloudtrain.yml")[0])
    assert " 0.167 h" in project.kedro("cloudtrain", "plan", "--env", "readme").stdout


def test_the_budget_of_the_readme_holds() -> None:
    (text,) = [text for text in blocks("yaml") if "budget:" in text]
    budget = make_settings(yaml.safe_load(text)).run.budget
    assert budget is not None
    assert (budget.name, budget.max_cost_usd, budget.per) == ("team", 200, "week")


def test_the_notices_of_the_readme_are_sent_to_a_service() -> None:
    (text,) = [text for text in blocks("yaml") if "notify:" in text]
    settings = make_settings(yaml.safe_load(text), credentials={"my_phone": {"url": "ntfy://my-topic"}})
    assert settings.run.notify is not None
    Notices(settings.run.notify)


@pytest.fixture
def readmes_volume(cloud: Cloud) -> Path:
    """The README's own network volume, behind the stand-in."""
    cloud.runpod.offers.add_volume("abc123xyz", "EU-RO-1")
    folder = cloud.s3.root / "abc123xyz"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def test_what_the_readme_says_of_runpod_works(project: Project, readmes_volume: Path, cloud: Cloud) -> None:
    project.write("conf/runpod/globals.yml", blocks("yaml", "# conf/runpod/globals.yml")[0])
    project.write("conf/runpod/cloudtrain.yml", blocks("yaml", "# conf/runpod/cloudtrain.yml")[0])
    # A pod of the stand-in has this computer's packages; a registry is no part of a test.
    project.write("conf/base/cloudtrain.yml", "defaults: {install: false}\n")
    catalog = (project.path / "conf/base/catalog.yml").read_text()
    project.write("conf/base/catalog.yml", catalog.replace("{path: data/volume}", "${globals:volume}"))
    (text,) = [text for text in blocks("console") if "doctor" in text]
    commands = [line for line in text.splitlines() if line]
    assert len(commands) == 8
    for command in commands:
        done = project.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert (readmes_volume / "datasets/penguins.csv").read_bytes() == PENGUINS.read_bytes()
    assert cloud.runpod.pods
    assert cloud.runpod.living == []
    assert (project.path / "data/06_models/species/model.json").is_file()


def test_a_node_of_ones_own_goes_to_a_machine_as_the_readme_has_it(tmp_path: Path) -> None:
    from support.kedro_project import make_project

    own = make_project(tmp_path, forks=False)
    own.write("src/shop/nodes.py", blocks("python", "# nodes.py")[0])
    own.write(
        "src/shop/pipeline_registry.py",
        "from kedro.pipeline import Pipeline, node\nfrom shop.nodes import summarise\n\n\ndef register_pipelines():\n"
        "    return {'__default__': Pipeline([node(summarise, ['penguins', 'params:mass'], 'summary', name='summarise')])}\n",
    )
    own.write("conf/base/parameters.yml", "mass: {seed: 3}\n")
    catalog = (own.path / "conf/base/catalog.yml").read_text()
    own.write("conf/base/catalog.yml", f"{catalog}\nsummary: {{type: json.JSONDataset, filepath: data/summary.json}}\n")
    own.write("conf/functions/cloudtrain.yml", blocks("yaml", "# conf/functions/cloudtrain.yml")[0])
    done = own.kedro("run", "--runner=cloudtrain", "--env=functions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 function node" in done.stdout + done.stderr
    summary = json.loads((own.path / "data/summary.json").read_text())
    assert [(species["species"], species["rows"]) for species in summary] == [("Adelie", 152), ("Chinstrap", 68), ("Gentoo", 124)]


def test_the_group_of_the_readme_is_one() -> None:
    import yaml

    from kedro_cloudtrain.config import make_settings

    settings = make_settings(yaml.safe_load(blocks("yaml", "# conf/grouped/cloudtrain.yml")[0]))
    assert settings.for_node("segments.station_01.train", namespace="segments.station_01").group == "segments"


def test_a_volume_of_init_and_the_one_of_the_readme_are_no_two(project: Project) -> None:
    project.kedro("cloudtrain", "init")
    for place in ("conf/base/globals.yml", "conf/runpod/globals.yml", "conf/runpod/cloudtrain.yml"):
        project.write(place, blocks("yaml", f"# {place}")[0])
    assert "volume abc123xyz in EU-RO-1" in project.kedro("cloudtrain", "doctor", "--env=runpod").stdout.replace("volume ", "volume ")
    done = project.kedro("cloudtrain", "plan", "--env=runpod")
    assert "keep one of them" not in done.stdout + done.stderr


def test_the_bucket_of_the_readme_is_one(project: Project) -> None:
    import yaml

    from kedro_cloudtrain.config import make_settings

    settings = make_settings(yaml.safe_load(blocks("yaml", "# conf/pods/cloudtrain.yml")[0]))
    volume = settings.volume.make(project.path)
    assert (volume.name, volume.mounted) == ("bucket my-jobs", False)


def test_a_training_is_launched_as_the_readme_has_it(project: Project, readmes_volume: Path, cloud: Cloud) -> None:
    table = readmes_volume / "datasets/user_123/data.csv"
    table.parent.mkdir(parents=True)
    rows = pd.DataFrame({"sqft": range(200), "bedrooms": [1, 2, 3, 4] * 50})
    rows.assign(price=rows["sqft"] * 3.0 + rows["bedrooms"]).to_csv(table, index=False)
    code = blocks("python", "# launch.py")[0].replace('{"volume"', '{"defaults": {"install": False}, "volume"')
    done = project.python("-c", code)
    assert "'status': 'succeeded'" in done.stdout, done.stderr
    assert cloud.runpod.living == []


def test_the_datasets_of_the_readme_are_sources() -> None:
    import yaml
    from kedro.io import DataCatalog

    from kedro_cloudtrain.planning.entries import dataset_source

    catalog = DataCatalog.from_config(yaml.safe_load(blocks("yaml", "# catalog.yml")[1]))
    sources = {name: dataset_source(catalog[name]) for name in catalog}
    assert sources["flights"].url == "https://example.org/flights.parquet?year=2026"
    assert sources["measurements"].load_args == {"sep": ";", "decimal": ","}
    assert sources["weather"].file_format == "csv"


def test_the_generator_of_the_readme_gives_a_script(project: Project) -> None:
    done = project.python("-c", blocks("python", "# generate.py")[0])
    assert 'DATASET_KEY = "datasets/user_123/data.csv"' in done.stdout
    compile(done.stdout, "train.py", "exec")


def test_the_parameters_of_the_readme_train_a_model() -> None:
    import numpy as np
    import yaml

    from kedro_cloudtrain.nodes import train

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(40, 9, 300), "tariff": random.integers(1, 4, 300), "visits": random.poisson(5, 300)})
    frame["revenue"], frame["household"] = random.uniform(1, 9, 300), random.integers(0, 120, 300)
    frame["left"] = np.where((frame["tariff"] == 2) ^ (random.random(300) < 0.2), "yes", "no")
    trained = train(frame, yaml.safe_load(blocks("yaml", "# parameters.yml: a shop")[0])["churn"])
    assert trained["metrics"]["test_roc_auc"] > 0.6
    assert "validation_auc" in trained["history"].columns
    assert [column["kind"] for column in trained["model"].description["features"]] == ["number", "category", "number"]


def test_the_metrics_of_the_readme_are_those_that_each_library_can_watch() -> None:
    from kedro_cloudtrain.worker.watched_metric import _METRICS

    rows = re.findall(r"^\| (XGBoost|LightGBM|CatBoost|Keras) \|(.*)\|$", section("Recipes"), re.MULTILINE)
    told = {library.lower(): [re.findall(r"`(\w+)`", cell) for cell in cells.split("|")] for library, cells in rows}
    for library, tasks in _METRICS.items():
        assert [sorted(names) for names in told[library]] == [sorted(names) for names in tasks.values()]


def test_the_reference_has_every_parameter_of_a_training() -> None:
    from kedro_cloudtrain.jobs.parameters import TrainingParameters, Validation

    first = section("Recipes").split("```yaml")[0]
    assert set(re.findall(r"^\| `(\w+)`", first, re.MULTILINE)) == set(TrainingParameters.model_fields)
    assert set(Validation.model_fields) - {"dataset"} <= set(re.findall(r"\w+", first))


def section(title: str) -> str:
    """The text below a heading, up to the next one."""
    return README.split(f"## {title}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]


def named(title: str) -> set[str]:
    """What the tables of a section have in code in their first columns."""
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(.*?)`", row)}


def test_the_reference_has_every_setting_and_runner_parameter() -> None:
    from kedro_cloudtrain.config import RUN_PARAMETERS, RUNNER_PARAMETERS, NodeSettings, RunSettings, Settings

    assert named("Settings") == {*Settings.model_fields, *NodeSettings.model_fields, *RunSettings.model_fields}
    assert {*RUNNER_PARAMETERS, *RUN_PARAMETERS} <= set(re.findall(r"`(\w+)`", section("Runner parameters")))


def test_the_reference_has_every_command_and_option() -> None:
    from kedro_cloudtrain.commands.cli import cloudtrain

    assert {name.split()[0] for name in named("Commands")} == set(cloudtrain.commands)
    options = {option for command in cloudtrain.commands.values() for parameter in command.params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} - {"--follow"} <= set(re.findall(r"--[\w-]+", section("Commands")))


def test_every_error_of_the_reference_can_be_imported_from_the_root() -> None:
    import kedro_cloudtrain

    for name in named("Errors"):
        # A run that was left has not failed: its exception is not in the tree.
        root = Exception if name == "DetachedError" else kedro_cloudtrain.CloudTrainError
        assert issubclass(getattr(kedro_cloudtrain, name), root), name


def test_every_block_of_the_readme_is_run_by_a_test() -> None:
    expected = {("bash", 2), ("console", 8), ("python", 5), ("yaml", 13)}
    assert {(language, sum(1 for kind, _ in BLOCKS if kind == language)) for language, _ in BLOCKS} == expected


def test_ci_takes_its_test_command_from_the_readme() -> None:
    ci = (ROOT / ".ci/run").read_text()
    assert "<!-- test -->" in ci
    assert "python -m pytest" not in ci
    assert blocks("bash")[1].count("\n") == 1
    assert pd.read_csv(PENGUINS).shape == (344, 8)
