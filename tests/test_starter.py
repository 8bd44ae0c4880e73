"""`kedro new --starter=cloudtrain` makes a project whose own tests pass, without a network."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.kedro_project import PENGUINS, Project

from kedro_cloudtrain.config import make_settings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of the starter."""
    folder = tmp_path_factory.mktemp("starter")
    command = [sys.executable, "-m", "kedro", "new", "--starter=cloudtrain", "--name=My Shop", "--telemetry=no"]
    environment = Project(folder).environment()
    # No proxy of this computer's, and no address that could be reached: the starter lies in the package.
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return Project(folder / "my-shop")


def test_the_project_is_whole_and_nothing_in_it_is_a_template_any_more(made: Project) -> None:
    files = {str(file.relative_to(made.path)) for file in made.path.rglob("*") if file.is_file()}
    for part in ("pyproject.toml", ".gitignore", ".github/workflows/ci.yml", "conf/local/.gitkeep", "src/my_shop/nodes.py", "README.md"):
        assert part in files
    assert not [file for file in files if b"cookiecutter" in (made.path / file).read_bytes()]
    # What `kedro cloudtrain init` writes.
    assert (made.path / "conf/logging.yml").read_bytes() == (ROOT / "templates/logging.yml").read_bytes()
    table = made.path / "data/volume/datasets/penguins.csv"
    assert not table.is_symlink()
    assert table.read_bytes() == PENGUINS.read_bytes()


def test_the_plan_sends_all_three_nodes_to_machines(made: Project) -> None:
    done = made.kedro("cloudtrain", "plan")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows if row and row[0].startswith(("clean_", "train_"))] == [
        ["clean_penguins", "local"],
        ["train_mass", "local"],
        ["train_species", "local"],
    ]
    settings = make_settings(yaml.safe_load((made.path / "conf/runpod/cloudtrain.yml").read_text()) | {"volume": {"path": "x"}})
    assert (settings.backend, settings.run.max_cost_usd, settings.defaults.max_cost_usd) == ("runpod", 3, 1)


def test_its_ci_rehearses_it(made: Project) -> None:
    steps = yaml.safe_load((made.path / ".github/workflows/ci.yml").read_text())["jobs"]["test"]["steps"]
    (command,) = [step["run"] for step in steps if "rehearse" in step.get("run", "")]
    assert command in (made.path / "README.md").read_text()
    # Tests reach no registry.
    done = made.kedro(*shlex.split(command)[1:], "--runner-params=install=false", timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Rehearsal over: 3 pods" in done.stderr
    assert "of at most $3.00 of play money" in done.stdout


def test_its_own_tests_pass_and_the_runs_outputs_are_ignored_by_git(made: Project) -> None:
    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=made.path, capture_output=True, text=True, check=True).stdout  # noqa: S607

    git("init", "-q")
    git("add", ".")
    done = made.python("-m", "pytest", "-q", "-p", "no:cacheprovider", timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    assert (made.path / "data/06_models/mass/model.json").is_file()
    assert (made.path / "data/volume/tables/penguins.parquet").is_file()
    assert [line for line in git("status", "--porcelain").splitlines() if not line.startswith("A ")] == []


def test_the_starter_is_listed(made: Project) -> None:
    done = made.kedro("starter", "list")
    assert "cloudtrain" in done.stdout
    assert Path(__file__).parents[1].joinpath("starter/cookiecutter.json").is_file()
