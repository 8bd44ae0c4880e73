"""What is shipped, and what it costs those who do not use it."""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support.kedro_project import PENGUINS, ROOT, Project

UV = [sys.executable, "-m", "uv"]


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    import kedro_cloudtrain
    from kedro_cloudtrain import worker

    for package in (kedro_cloudtrain, worker):
        for name in package.__all__:
            assert getattr(package, name).__name__ == name
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = package.nothing
    assert "training_node" in dir(kedro_cloudtrain)


def test_each_module_can_be_imported() -> None:
    import kedro_cloudtrain

    names = [module.name for module in pkgutil.walk_packages(kedro_cloudtrain.__path__, "kedro_cloudtrain.")]
    # The first program on a pod finds the others by another name; kedro-mlflow is not installed here.
    for name in sorted({*names} - {"kedro_cloudtrain.pod.bootstrap"}):
        assert importlib.import_module(name).__name__ == name
    assert len(names) > 200


def test_kedros_start_imports_nothing_heavy_for_us() -> None:
    code = "import sys, kedro_cloudtrain.plugin.hooks, kedro_cloudtrain.commands.cli; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"pandas", "numpy", "pydantic", "jinja2", "fsspec", "sklearn", "pyarrow", "plotly", "xgboost", "kedro_cloudtrain.datasets"}
    # What Kedro itself loads at its start is Kedro's business.
    bare = subprocess.run([sys.executable, "-c", "import sys, kedro.framework.cli.cli, kedro.runner; print(' '.join(sys.modules))"],
                          capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    assert not heavy & (set(loaded) - set(bare))


def test_the_worker_imports_nothing_that_a_machine_lacks(tmp_path: Path) -> None:
    from kedro_cloudtrain.jobs.worker_archive import _pack, worker_archive, worker_digest

    (tmp_path / "worker.zip").write_bytes(worker_archive())
    code = (
        "import sys; sys.path.insert(0, 'worker.zip'); from cloudtrain_worker import TrainingJob, load_model;"
        "import cloudtrain_worker; print(cloudtrain_worker.__file__); print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    place, loaded = done.stdout.splitlines()
    assert "worker.zip" in place
    assert not {"kedro", "kedro_cloudtrain", "pydantic", "jinja2", "rich", "click"} & set(loaded.split())
    _pack.cache_clear()
    assert (tmp_path / "worker.zip").read_bytes() == worker_archive()
    assert len(worker_digest()) == 64


def test_a_job_on_this_computer_has_bytecode_which_another_python_leaves_aside(tmp_path: Path) -> None:
    from kedro_cloudtrain.jobs.worker_archive import worker_archive

    code = "import sys; sys.path.insert(0, sys.argv[1]); import cloudtrain_worker.function as f; print(f.FunctionJob.__name__)"
    with zipfile.ZipFile(io.BytesIO(worker_archive(bytecode=True))) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    compiled = {name: content for name, content in members.items() if name.endswith(".pyc")}
    assert {name.removesuffix("c") for name in compiled} == {name for name in members if name.endswith(".py")}
    foreign = members | {name: b"\0\0\r\n" + content[4:] for name, content in compiled.items()}
    for number, some in enumerate((compiled, foreign)):
        with zipfile.ZipFile(tmp_path / f"{number}.zip", "w") as archive:
            for name, content in some.items():
                archive.writestr(name, content)
        done = subprocess.run([sys.executable, "-c", code, f"{number}.zip"], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "FunctionJob\n"


def test_the_wheel_trains_in_a_clean_environment_beside_a_new_project(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "dist", ROOT], check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "kedro_cloudtrain/templates/xgboost_regression.py.j2" in names
    assert "kedro_cloudtrain/runs/page.html.j2" in names
    inside = {name.partition("kedro_cloudtrain/starter/{{ cookiecutter.repo_name }}/")[2] for name in names}
    assert {".gitignore", ".github/workflows/ci.yml", "conf/local/.gitkeep", "data/volume/datasets/penguins.csv"} <= inside
    assert "kedro_cloudtrain/worker/job.py" in names
    assert "kedro_cloudtrain/py.typed" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"kedro_cloudtrain"}

    environment = tmp_path / "clean"
    subprocess.run([*UV, "venv", "-q", "--python", sys.executable, environment], check=True, capture_output=True)
    python = environment / "bin/python"
    subprocess.run([*UV, "pip", "install", "-q", "--python", python, f"{wheel}[lightgbm]"], check=True, capture_output=True)
    project = Project(tmp_path / "fresh")
    kedro = [python, "-m", "kedro"]
    subprocess.run(
        [*kedro, "new", "--name", "fresh", "--tools", "none", "--example", "n", "--telemetry", "no"],
        cwd=tmp_path, check=True, capture_output=True, env=project.environment(),
    )  # fmt: skip
    (project.path / "data/volume/datasets").mkdir(parents=True)
    (project.path / "data/volume/datasets/penguins.csv").write_bytes(PENGUINS.read_bytes())
    project.write("conf/base/catalog.yml", CATALOG)
    project.write("conf/base/parameters.yml", PARAMETERS)
    project.write("src/fresh/pipelines/train/__init__.py", "from .pipeline import create_pipeline as create_pipeline\n")
    project.write("src/fresh/pipelines/train/pipeline.py", PIPELINE)
    done = subprocess.run(
        [*kedro, "run", "--runner=cloudtrain"], cwd=project.path, capture_output=True, text=True, check=False, env=project.environment()
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((project.path / "data/08_reporting/mass.json").read_text())["r2"] > 0.5
    # A library that is not there is a sentence with the command.
    project.write("conf/base/parameters.yml", PARAMETERS.replace("lightgbm_", "catboost_"))
    done = subprocess.run(
        [*kedro, "run", "--runner=cloudtrain"], cwd=project.path, capture_output=True, text=True, check=False, env=project.environment()
    )
    assert done.returncode == 1
    assert 'pip install "kedro-cloudtrain[catboost]"' in done.stderr
    assert "Traceback" not in done.stderr


CATALOG = """
penguins: {type: kedro_cloudtrain.CloudDataset, dataset_key: datasets/penguins.csv, volume: {path: data/volume}}
mass_metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/mass.json}
"""
PARAMETERS = "mass: {model_type: lightgbm_regression, target_column: body_mass_g}\n"
PIPELINE = """
from kedro.pipeline import Pipeline

from kedro_cloudtrain import training_node


def create_pipeline(**kwargs) -> Pipeline:
    return Pipeline([training_node("penguins", "params:mass", metrics="mass_metrics", name="train_mass")])
"""
