"""The README and the pages of docs/ are true: their blocks are run as they stand, and none is left out."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import click
import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog
from support.cloud import Cloud
from support.kedro_project import PENGUINS, ROOT, Project, make_project, needs_runner_params
from support.pages import COPIED, PAGES, Block, block, blocks_of, commands_of, named_in_first_column, section, taken_by, text_of
from support.spaceflights import make_spaceflights

from kedro_cloudtrain.commands.cli import cloudtrain
from kedro_cloudtrain.config import VolumeSettings, make_settings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.planning.entries import dataset_source
from kedro_cloudtrain.runs.notices import Notices

LOCAL = {"path": "data/volume"}


def type_all(project: Project, commands: list[str]) -> str:
    """Type the commands as a page has them; none of them may fail."""
    output = ""
    for command in commands:
        done = project.kedro(*shlex.split(command)[1:])
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        output += done.stdout + done.stderr
    return output


# ------------------------------------------------------------------ no block is left out


def copied(page: str) -> set[tuple[str, str]]:
    return {(each.language, each.first) for each in blocks_of(page) if each.language in COPIED}


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_is_run_or_read_by_a_test(page: str) -> None:
    tests = [Path(__file__), ROOT / "tests/test_example.py", ROOT / "tests/running/test_function.py"]
    taken = [(language, first) for where, language, first in taken_by(tests) if where == page]
    left = [
        each for each in copied(page) if each[0] != "yaml" and not any(each[0] == of and each[1].startswith(first) for of, first in taken)
    ]
    assert left == []
    # A block is known by its first line.
    assert len(copied(page)) == sum(each.language in COPIED for each in blocks_of(page))
    assert {each.language for each in blocks_of(page)} <= {*COPIED, "text"}


def settings_blocks() -> list[Block]:
    """Return the blocks that go into a file of the project's conf/; each is read below, whatever its page."""
    return [each for page in PAGES for each in blocks_of(page) if each.language == "yaml"]


@pytest.mark.parametrize("each", settings_blocks(), ids=lambda each: f"{each.page} {each.first}")
def test_a_block_of_settings_is_valid_where_it_goes(each: Block) -> None:
    title = re.fullmatch(r"# (?:conf/\w+/)?(cloudtrain|globals|credentials|catalog|parameters)\.yml(?:: .*)?", each.first)
    assert title is not None, f"{each.page}: the first line names no file: {each.first}"
    values = yaml.safe_load(each.text.replace("${globals:volume}", json.dumps(LOCAL)))
    CHECKS[title[1]](values, each.page)


def credentials_of(page: str) -> dict[str, Any]:
    texts = [each.text for each in settings_blocks() if each.page == page and "credentials.yml" in each.first]
    return {name: entry for text in texts for name, entry in yaml.safe_load(text).items()}


def _check_settings(values: dict[str, Any], page: str) -> None:
    settings = make_settings(values, credentials=credentials_of(page))
    settings.volume.make(ROOT)


def _check_volume(values: dict[str, Any], page: str) -> None:
    assert str(VolumeSettings.model_validate(values["volume"]).make(ROOT))


def _check_credentials(values: dict[str, Any], page: str) -> None:
    # Another block of the page names each entry.
    others = [each.text for each in settings_blocks() if each.page == page and "credentials.yml" not in each.first]
    assert all(any(f"credentials: {name}" in text for text in others) for name in values)


def _check_catalog(values: dict[str, Any], page: str) -> None:
    catalog = DataCatalog.from_config(values, credentials_of(page))
    assert all(catalog[name] is not None for name in values)


def _check_parameters(values: dict[str, Any], page: str) -> None:
    for name, parameters in values.items():
        TrainingParameters.parse(parameters, where=name)


CHECKS = {
    "cloudtrain": _check_settings,
    "globals": _check_volume,
    "credentials": _check_credentials,
    "catalog": _check_catalog,
    "parameters": _check_parameters,
}


def test_the_readme_names_every_extra_that_a_user_installs() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    rows = re.search(r"\| extra \| adds \|\n(.*?)\n\n", text_of("README.md"), re.DOTALL)
    assert rows is not None
    # Those of this repository's own are named where they are used.
    assert named_in_first_column(rows[1]) == set(extras) - {"docs", "example", "test"}


# ------------------------------------------------------------------ words and links


def command_at(words: list[str]) -> click.Command | None:
    command: click.Command = cloudtrain
    for word in words:
        if not isinstance(command, click.Group) or word not in command.commands:
            break
        command = command.commands[word]
    return None if command is cloudtrain else command


@pytest.mark.parametrize("page", PAGES)
def test_every_command_that_a_page_names_exists_with_its_options(page: str) -> None:
    for typed in re.findall(r"kedro cloudtrain ([^`\n>|]+)", text_of(page)):
        if typed[0] == "…":
            continue
        words = typed.partition(" -- ")[0].split()  # behind it stands another command
        command = command_at(words)
        assert command is not None, typed
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0].rstrip(".,;:") for word in words if word.startswith("-")} <= options, typed


@pytest.mark.parametrize("page", PAGES)
def test_a_link_to_a_file_leads_to_one(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text_of(page)):
        assert (PAGES[page].parent / target).is_file(), target


# ------------------------------------------------------------------ the first five minutes, and what comes after them


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is nothing but what the README says, after its first five minutes: its commands are typed as a user types them."""
    made = make_project(tmp_path_factory.mktemp("readme"), forks=False)
    made.write("conf/base/catalog.yml", block("README.md", "yaml", "# catalog.yml"))
    made.write("conf/base/parameters.yml", block("README.md", "yaml", "# parameters.yml"))
    registry = "\n\ndef register_pipelines():\n    return {'__default__': create_pipeline()}\n"
    made.write("src/shop/pipeline_registry.py", block("README.md", "python", "# pipeline.py") + registry)
    install, init = commands_of("README.md", 'pip install "kedro-cloudtrain[xgboost]"')
    assert install.startswith("pip install")
    made.output = type_all(made, [init, *commands_of("README.md", "kedro cloudtrain plan")])
    return made


@pytest.fixture
def forking(project: Project) -> Project:
    """The same project; its commands are forked, which takes half the time."""
    return dataclasses.replace(project, forks=True)


def test_the_commands_of_the_first_five_minutes_work(project: Project) -> None:
    assert "train_species" in project.output
    code = block("README.md", "python", "# predict.py").replace(
        "print(model.predict(frame))", "import pandas as pd\nframe = pd.read_csv(DATA)\nprint(model.predict(frame))"
    )
    done = project.python("-c", f"DATA = {str(PENGUINS)!r}\n{code}")
    assert "Adelie" in done.stdout, done.stderr


@needs_runner_params
def test_a_run_is_held_to_its_plan(forking: Project) -> None:
    assert "The run is what plan.json has" in type_all(forking, commands_of("how-to/plan.md", "kedro cloudtrain plan --out plan.json"))


def test_a_table_is_predicted(forking: Project) -> None:
    registry = forking.path / "src/shop/pipeline_registry.py"
    before, catalog = registry.read_text(), forking.path / "conf/base/catalog.yml"
    entries = catalog.read_text()
    try:
        forking.write("src/shop/scoring.py", block("how-to/predict.md", "python", "# pipeline.py"))
        both = "\n\nfrom shop import scoring\n\n\ndef register_pipelines():\n"
        both += "    return {'__default__': create_pipeline() + scoring.create_pipeline()}\n"
        forking.write("src/shop/pipeline_registry.py", before + both)
        forking.write("conf/base/catalog.yml", entries + block("how-to/predict.md", "yaml", "# conf/base/catalog.yml: the predictions"))
        output = type_all(forking, commands_of("how-to/predict.md", "kedro cloudtrain plan"))
        assert "1 training node, 1 prediction node" in output
        scores = pd.read_parquet(forking.path / "data/volume/datasets/scores.parquet")
        assert list(scores.columns[:2]) == ["island", "prediction"]
        assert scores["island"].tolist() == pd.read_csv(PENGUINS)["island"].tolist()
        # Nothing of it came here, and with the same model nothing is done again.
        output = type_all(forking, ["kedro run --runner=cloudtrain"])
        assert re.search(r"score +local +reused", output)
        assert "job.write(model.predict_table(rows))" in type_all(forking, ["kedro cloudtrain render score"])
    finally:
        registry.write_text(before)
        catalog.write_text(entries)


def first_run(project: Project) -> str:
    name: str = json.loads(project.kedro("cloudtrain", "runs", "--json").stdout)["runs"][-1]["id"]
    return name


def test_runs_are_seen(forking: Project) -> None:
    commands = commands_of("how-to/runs.md", "kedro cloudtrain runs --limit 5")
    output = type_all(forking, [command.replace("RUN", first_run(forking)) for command in commands])
    assert "train_species" in output


def test_a_run_is_started_from_a_notebook(forking: Project) -> None:
    done = forking.python("-c", block("how-to/notebooks.md", "python", "# notebook.py"))
    assert "'accuracy'" in done.stdout, done.stderr
    assert "('train_species', <JobState.REUSED" in done.stdout


@needs_runner_params
def test_a_run_is_left_and_come_back_to(forking: Project) -> None:
    parameters = block("README.md", "yaml", "# parameters.yml")
    forking.write("conf/base/parameters.yml", parameters.replace("n_estimators: 300", "n_estimators: 7"))
    commands = commands_of("how-to/detach.md", "kedro run --runner=cloudtrain --runner-params detach=true")
    output = type_all(forking, commands)
    assert "Left running: train_species-" in output
    assert "is done already" in output
    type_all(forking, commands_of("how-to/resuming.md", "kedro run --runner=cloudtrain"))
    # A fit that would go on for minutes.
    endless = parameters.replace("n_estimators: 300", "n_estimators: 900000").replace("  early_stopping_rounds: 30\n", "")
    forking.write("conf/base/parameters.yml", endless)
    type_all(forking, commands[:1])
    assert "Ended train_species-" in type_all(forking, commands_of("how-to/detach.md", "kedro cloudtrain stop train_species"))
    forking.write("conf/base/parameters.yml", parameters)


def test_a_volume_that_is_shared_shows_all_that_is_on_it(forking: Project) -> None:
    assert "train_species" in type_all(forking, commands_of("how-to/shared-volume.md", "kedro cloudtrain jobs --all"))
    code = block("how-to/shared-volume.md", "bash", "export CLOUDTRAIN_SIGNING_KEY=")
    done = subprocess.run(["bash", "-c", f"{code}printf %s $CLOUDTRAIN_SIGNING_KEY"], capture_output=True, text=True, check=True)  # noqa: S607
    assert re.fullmatch("[0-9a-f]{64}", done.stdout)


def test_the_settings_of_the_reference_hold(forking: Project) -> None:
    forking.write("conf/readme/cloudtrain.yml", block("reference/settings.md", "yaml", "# cloudtrain.yml"))
    assert " 0.167 h" in forking.kedro("cloudtrain", "plan", "--env", "readme").stdout


def test_old_jobs_are_cleaned_up(forking: Project) -> None:
    type_all(forking, commands_of("how-to/cleaning-up.md", "kedro cloudtrain clean --older-than 30d --dry-run"))
    assert forking.jobs


# ------------------------------------------------------------------ pods


@pytest.fixture
def readmes_volume(cloud: Cloud) -> Path:
    """The pages' own network volumes, behind the stand-in."""
    for volume in ("abc123xyz", "def456uvw"):
        cloud.runpod.offers.add_volume(volume, "EU-RO-1")
        shutil.rmtree(cloud.s3.root / volume, ignore_errors=True)
        (cloud.s3.root / volume).mkdir()
    return cloud.s3.root / "abc123xyz"


def test_the_tutorials_pods_work_and_leave_nothing_running(forking: Project, readmes_volume: Path, cloud: Cloud) -> None:
    for place in ("conf/base/globals.yml", "conf/runpod/globals.yml", "conf/runpod/cloudtrain.yml"):
        forking.write(place, block("tutorial/pod.md", "yaml", f"# {place}"))
    # A pod of the stand-in has this computer's packages; tests reach no registry.
    forking.write("conf/base/cloudtrain.yml", "defaults: {install: false}\n")
    catalog = (forking.path / "conf/base/catalog.yml").read_text()
    forking.write("conf/base/catalog.yml", catalog.replace("{path: data/volume}", "${globals:volume}"))
    commands = commands_of("tutorial/pod.md", "kedro cloudtrain doctor --env=runpod")
    assert len(commands) == 8
    # Others type some of the same.
    assert set(commands_of("README.md", "kedro cloudtrain doctor --env=runpod")) < set(commands)
    assert set(commands_of("how-to/costs.md", "kedro cloudtrain plan --env=runpod")) < set(commands)
    assert commands_of("tutorial/pod.md", 'pip install "kedro-cloudtrain[runpod]"') == commands_of(
        "README.md", 'pip install "kedro-cloudtrain[runpod]"'
    )
    type_all(forking, commands)
    assert (readmes_volume / "datasets/penguins.csv").read_bytes() == PENGUINS.read_bytes()
    assert cloud.runpod.pods
    assert cloud.runpod.living == []
    assert (forking.path / "data/06_models/species/model.json").is_file()
    assert "train_species" in type_all(forking, commands_of("how-to/costs.md", "kedro cloudtrain cost --by node --env=runpod"))
    type_all(forking, commands_of("how-to/cleaning-up.md", "kedro cloudtrain clean --environments --older-than 30d --env=runpod"))
    type_all(forking, commands_of("how-to/cleaning-up.md", "kedro cloudtrain reap --dry-run --env=runpod"))
    # To another volume, with the same key.
    for place in ("conf/new/globals.yml", "conf/new/cloudtrain.yml"):
        forking.write(place, block("how-to/moving-volumes.md", "yaml", f"# {place}"))
    type_all(forking, commands_of("how-to/moving-volumes.md", "kedro cloudtrain download datasets/penguins.csv moved.csv --env=runpod"))
    assert (readmes_volume.with_name("def456uvw") / "datasets/penguins.csv").read_bytes() == PENGUINS.read_bytes()
    assert "def456uvw" in type_all(forking, commands_of("how-to/moving-volumes.md", "kedro cloudtrain doctor --env=new"))


def test_a_volume_of_init_and_the_one_of_the_tutorial_are_no_two(forking: Project) -> None:
    (forking.path / "conf/base/cloudtrain.yml").unlink(missing_ok=True)
    forking.kedro("cloudtrain", "init")
    for place in ("conf/base/globals.yml", "conf/runpod/globals.yml", "conf/runpod/cloudtrain.yml"):
        forking.write(place, block("tutorial/pod.md", "yaml", f"# {place}"))
    assert "volume abc123xyz in EU-RO-1" in forking.kedro("cloudtrain", "doctor", "--env=runpod").stdout
    done = forking.kedro("cloudtrain", "plan", "--env=runpod")
    assert "keep one of them" not in done.stdout + done.stderr


def test_a_training_is_launched_as_the_reference_has_it(forking: Project, readmes_volume: Path, cloud: Cloud) -> None:
    table = readmes_volume / "datasets/user_123/data.csv"
    table.parent.mkdir(parents=True)
    rows = pd.DataFrame({"sqft": range(200), "bedrooms": [1, 2, 3, 4] * 50})
    rows.assign(price=rows["sqft"] * 3.0 + rows["bedrooms"]).to_csv(table, index=False)
    code = block("reference/python.md", "python", "# launch.py").replace('{"volume"', '{"defaults": {"install": False}, "volume"')
    done = forking.python("-c", code)
    assert "'status': 'succeeded'" in done.stdout, done.stderr
    assert cloud.runpod.living == []


def test_a_run_is_rehearsed_as_the_page_has_it(forking: Project) -> None:
    for place in ("conf/base/globals.yml", "conf/runpod/globals.yml", "conf/runpod/cloudtrain.yml"):
        forking.write(place, block("tutorial/pod.md", "yaml", f"# {place}"))
    forking.write("conf/base/cloudtrain.yml", "defaults: {install: false}\n")
    catalog = (forking.path / "conf/base/catalog.yml").read_text()
    forking.write("conf/base/catalog.yml", catalog.replace("{path: data/volume}", "${globals:volume}"))
    assert commands_of("how-to/rehearse.md", 'pip install "kedro-cloudtrain[rehearsal]"')
    output = type_all(forking, commands_of("how-to/rehearse.md", "kedro cloudtrain rehearse --env=runpod"))
    assert "Rehearsal over: 2 pods" in output
    assert "done, rehearsed" in output
    forking.write("tests/conftest.py", block("how-to/rehearse.md", "python", "# conftest.py"))
    forking.write("tests/test_pods.py", block("how-to/rehearse.md", "python", "# test_pods.py"))
    done = forking.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", PYTHONPATH=str(forking.path / "src"))
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    *_, in_ci = block("how-to/rehearse.md", "bash", "# ci.sh").splitlines()
    assert in_ci in (ROOT / "starter/{{ cookiecutter.repo_name }}/.github/workflows/ci.yml").read_text()


# ------------------------------------------------------------------ blocks of single pages


def test_a_node_of_ones_own_goes_to_a_machine_as_the_pages_have_it(tmp_path: Path) -> None:
    own = make_project(tmp_path, forks=False)
    own.write("src/shop/nodes.py", block("how-to/resuming.md", "python", "# nodes.py"))
    own.write(
        "src/shop/pipeline_registry.py",
        "from kedro.pipeline import Pipeline, node\nfrom shop.nodes import summarise\n\n\ndef register_pipelines():\n"
        "    return {'__default__': Pipeline([node(summarise, ['penguins', 'params:mass'], 'summary', name='summarise')])}\n",
    )
    own.write("conf/base/parameters.yml", "mass: {seed: 3}\n")
    catalog = (own.path / "conf/base/catalog.yml").read_text()
    own.write("conf/base/catalog.yml", f"{catalog}\nsummary: {{type: json.JSONDataset, filepath: data/summary.json}}\n")
    own.write("conf/functions/cloudtrain.yml", block("how-to/own-nodes.md", "yaml", "# conf/functions/cloudtrain.yml"))
    done = own.kedro("run", "--runner=cloudtrain", "--env=functions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 function node" in done.stdout + done.stderr
    summary = json.loads((own.path / "data/summary.json").read_text())
    assert [(species["species"], species["rows"]) for species in summary] == [("Adelie", 152), ("Chinstrap", 68), ("Gentoo", 124)]


def test_a_recipe_takes_the_place_of_a_node_of_spaceflights(tmp_path: Path) -> None:
    flights = make_spaceflights(tmp_path)
    for file in ("catalog", "parameters"):
        path = flights.path / f"conf/base/{file}.yml"
        flights.write(f"conf/base/{file}.yml", path.read_text() + block("tutorial/spaceflights.md", "yaml", f"# {file}.yml"))
    place = "src/shuttles/pipelines/price/pipeline.py"
    text = block("tutorial/spaceflights.md", "python", "# pipeline.py") + (flights.path / place).read_text()
    flights.write(place, text.replace("    return Pipeline(\n        [", "    return Pipeline(\n        [train_price,"))
    nodes = "preprocess_companies_node,preprocess_shuttles_node,create_model_input_table_node"
    assert flights.kedro("run", f"--nodes={nodes}").returncode == 0
    type_all(flights, commands_of("tutorial/spaceflights.md", "kedro run --runner=cloudtrain --nodes=train_price"))
    assert json.loads((flights.path / "data/08_reporting/price.json").read_text())["r2"] > 0.5
    importance = pd.read_csv(flights.path / "data/08_reporting/price_importance.csv")
    assert importance["feature"][0] == "engines"


def test_the_group_of_the_page_is_one() -> None:
    settings = make_settings(yaml.safe_load(block("how-to/groups.md", "yaml", "# conf/grouped/cloudtrain.yml")))
    assert settings.for_node("segments.station_01.train", namespace="segments.station_01").group == "segments"


def test_the_machines_of_the_page_are_kept() -> None:
    settings = make_settings(yaml.safe_load(block("how-to/groups.md", "yaml", "# conf/kept/cloudtrain.yml")))
    tuned, reported = settings.for_node("tune", {"tuning"}), settings.for_node("report", {"reports"})
    assert (tuned.group, tuned.keep_s, reported.group, reported.keep_s) == ("tuning", 120.0, None, 60.0)
    assert max(tuned.keep_s, reported.keep_s) < tuned.timeout_s


def test_the_bucket_of_the_page_is_one() -> None:
    settings = make_settings(yaml.safe_load(block("how-to/bucket.md", "yaml", "# conf/pods/cloudtrain.yml")))
    volume = settings.volume.make(ROOT)
    assert (volume.name, volume.mounted) == ("bucket my-jobs", False)


def test_the_private_index_of_the_page_is_opened_by_its_credentials() -> None:
    values = yaml.safe_load(block("how-to/private-index.md", "yaml", "# conf/runpod/cloudtrain.yml"))
    (line,) = make_settings(values, credentials=credentials_of("how-to/private-index.md")).defaults.index_lines
    assert line.startswith("--extra-index-url=https://")
    assert "packages.example.org/simple" in line
    assert "@" in line


def test_the_notices_of_the_page_are_sent_to_a_service() -> None:
    values = yaml.safe_load(block("how-to/notify.md", "yaml", "# conf/runpod/cloudtrain.yml"))
    settings = make_settings(values, credentials=credentials_of("how-to/notify.md"))
    assert settings.run.notify is not None
    Notices(settings.run.notify)


def test_the_datasets_of_the_reference_are_sources() -> None:
    catalog = DataCatalog.from_config(yaml.safe_load(block("reference/datasets.md", "yaml", "# catalog.yml")))
    sources = {name: dataset_source(catalog[name]) for name in catalog}
    assert sources["flights"].url == "https://example.org/flights.parquet?year=2026"
    assert sources["measurements"].load_args == {"sep": ";", "decimal": ","}
    assert sources["weather"].file_format == "csv"


def test_the_generator_of_the_reference_gives_a_script(forking: Project) -> None:
    done = forking.python("-c", block("reference/python.md", "python", "# generate.py"))
    assert 'DATASET_KEY = "datasets/user_123/data.csv"' in done.stdout
    compile(done.stdout, "train.py", "exec")


def test_the_parameters_of_imbalance_train_a_model() -> None:
    import numpy as np

    from kedro_cloudtrain.nodes import train

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"age": random.normal(40, 9, 300), "tariff": random.integers(1, 4, 300), "visits": random.poisson(5, 300)})
    frame["revenue"], frame["household"] = random.uniform(1, 9, 300), random.integers(0, 120, 300)
    frame["left"] = np.where((frame["tariff"] == 2) ^ (random.random(300) < 0.2), "yes", "no")
    parameters = block("how-to/imbalance-and-weights.md", "yaml", "# parameters.yml: a shop's customers")
    trained = train(frame, yaml.safe_load(parameters)["churn"])
    assert trained["metrics"]["test_roc_auc"] > 0.6
    assert "validation_auc" in trained["history"].columns
    assert [column["kind"] for column in trained["model"].description["features"]] == ["number", "category", "number"]


# ------------------------------------------------------------------ the reference


@pytest.fixture(scope="module")
def generated() -> Any:
    """The hook that makes the reference, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location("generated", ROOT / "docs/generated.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_has_every_setting_and_runner_parameter(generated: Any) -> None:
    from kedro_cloudtrain import config

    page = generated.on_page_markdown(text_of("reference/settings.md"))
    models = (config.Settings, config.VolumeSettings, config.NodeSettings, config.RunSettings, config.BudgetSettings, config.NotifySettings)
    names = {name for model in models for name, field in model.model_fields.items() if not field.exclude} | set(config.RUNNER_PARAMETERS)
    tables = page.split("## In an editor")[0]
    assert named_in_first_column(tables) == names
    assert set(config.RUN_PARAMETERS) <= set(re.findall(r"`(\w+)`", tables))
    assert "| `timeout_s` | the job's deadline, in seconds from its start. | number, above 0, at most 100,000,000 | `86400` |" in tables


def test_the_reference_has_every_parameter_of_a_training(generated: Any) -> None:
    from kedro_cloudtrain.jobs.parameters import Validation

    page = generated.on_page_markdown(text_of("reference/recipes.md"))
    assert set(TrainingParameters.model_fields) | set(Validation.model_fields) <= named_in_first_column(page)


def test_a_setting_without_a_description_fails_the_build(generated: Any) -> None:
    from pydantic import BaseModel

    class Bare(BaseModel):
        """Attributes:
        one: is described.
        """

        one: int = 1
        two: int = 2

    with pytest.raises(ValueError, match="two"):
        generated._meanings(Bare)


def test_the_reference_has_every_command_and_option(generated: Any) -> None:
    page = generated.on_page_markdown(text_of("reference/commands.md"))
    assert {title.split()[0] for title in re.findall(r"^## (.+)$", page, re.MULTILINE)} == set(cloudtrain.commands)
    for path, command in generated.commands(cloudtrain, "kedro cloudtrain"):
        part = page.split(f"\n## {path.removeprefix('kedro cloudtrain ')}\n")[1].split("\n## ")[0]
        assert {option for parameter in command.params for option in parameter.opts if option.startswith("-")} <= set(
            re.findall(r"`(-[\w-]+)`", part)
        )


def test_the_metrics_of_the_reference_are_those_that_each_library_can_watch() -> None:
    from kedro_cloudtrain.worker.watched_metric import _METRICS

    text = section("reference/recipes.md", "Early stopping and metrics")
    rows = re.findall(r"^\| (XGBoost|LightGBM|CatBoost|Keras) \|(.*)\|$", text, re.MULTILINE)
    metrics = {library.lower(): [re.findall(r"`(\w+)`", cell) for cell in cells.split("|")] for library, cells in rows}
    for library, tasks in _METRICS.items():
        assert [sorted(names) for names in metrics[library]] == [sorted(names) for names in tasks.values()]


def test_the_reference_has_every_error_of_the_root() -> None:
    import kedro_cloudtrain

    names = named_in_first_column(text_of("reference/errors.md"))
    assert names == {name for name in kedro_cloudtrain.__all__ if name.endswith("Error")}
    for name in names:
        # A run that was left has not failed: its exception is not in the tree.
        root = Exception if name == "DetachedError" else kedro_cloudtrain.CloudTrainError
        assert issubclass(getattr(kedro_cloudtrain, name), root), name


def test_a_page_has_every_command_that_a_reader_looks_for() -> None:
    words = " ".join(re.findall(r"`([^`]+)`", text_of("README.md").split("## Commands")[1].split("\n## ")[0]))
    assert set(cloudtrain.commands) <= set(words.split())


def test_ci_takes_its_test_command_from_the_readme() -> None:
    ci = (ROOT / ".ci/run").read_text()
    assert "<!-- test -->" in ci
    assert "python -m pytest" not in ci
    assert "mkdocs build --strict" in ci
    command = block("README.md", "bash", "python3 -m venv .venv && .venv/bin/pip install -q uv")
    assert "python -m pytest" in command
    assert command.count("\n") == 1
    assert pd.read_csv(PENGUINS).shape == (344, 8)
