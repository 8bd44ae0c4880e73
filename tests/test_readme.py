"""The README is true: its blocks are run as they stand."""

from __future__ import annotations

import re
import shlex

import pandas as pd
import pytest
from kedro_project import PENGUINS, ROOT, Project

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def blocks(language: str, title: str = "") -> list[str]:
    return [text for kind, text in BLOCKS if kind == language and text.startswith(title)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is nothing but what the README says."""
    from kedro_project import make_project

    made = make_project(tmp_path_factory.mktemp("readme"))
    catalog, *_ = blocks("yaml", "# catalog.yml")
    made.write("conf/base/catalog.yml", catalog)
    made.write("conf/base/parameters.yml", blocks("yaml", "# parameters.yml")[0])
    registry = "\n\ndef register_pipelines():\n    return {'__default__': create_pipeline()}\n"
    made.write("src/shop/pipeline_registry.py", blocks("python", "# pipeline.py")[0] + registry)
    return made


def test_every_kedro_command_in_the_readme_works(project: Project) -> None:
    commands = [line for text in blocks("console")[:2] for line in text.splitlines() if line.startswith("kedro")]
    assert len(commands) == 6
    for command in commands:
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


def test_the_datasets_of_the_readme_are_sources() -> None:
    import yaml
    from kedro.io import DataCatalog

    from kedro_cloudtrain.entries import dataset_source

    catalog = DataCatalog.from_config(yaml.safe_load(blocks("yaml", "# catalog.yml")[1]))
    found = {name: dataset_source(catalog[name]) for name in catalog}
    assert found["flights"].url == "https://example.org/flights.parquet?year=2026"
    assert found["measurements"].load_args == {"sep": ";", "decimal": ","}
    assert found["weather"].file_format == "csv"


def test_the_generator_of_the_readme_gives_a_script(project: Project) -> None:
    done = project.python("-c", blocks("python", "# generate.py")[0])
    assert "DATASET_KEY = 'datasets/user_123/data.csv'" in done.stdout
    compile(done.stdout, "train.py", "exec")


def test_every_block_of_the_readme_is_run_by_a_test() -> None:
    known = {("bash", 2), ("console", 3), ("python", 3), ("yaml", 4)}
    assert {(language, sum(1 for kind, _ in BLOCKS if kind == language)) for language, _ in BLOCKS} == known


def test_ci_takes_its_test_command_from_the_readme() -> None:
    ci = (ROOT / ".ci/run").read_text()
    assert "<!-- test -->" in ci
    assert "python -m pytest" not in ci
    assert blocks("bash")[1].count("\n") == 1
    assert pd.read_csv(PENGUINS).shape == (344, 8)
