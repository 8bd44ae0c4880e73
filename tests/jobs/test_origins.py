"""Where a required package comes from: what only this computer has is never asked of an index."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.kedro_project import Project

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.requirements import function_requirements, is_path, project_requirements
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.secrecy import variables_of

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Make a package that is installed from somewhere, and return its name: no two tests share one, for what is known of it is kept."""
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))

    def install(direct_url: object = None, requires: tuple[str, ...] = ()) -> str:
        name = f"helperlib{next(_numbers)}"
        folder = tmp_path / f"site-packages/{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        lines = [f"Requires-Dist: {line}" for line in requires]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines]) + "\n")
        if direct_url is not None:
            (folder / "direct_url.json").write_text(json.dumps(direct_url))
        return name

    return install


def required(folder: Path, *lines: str, more: str = "") -> tuple[str, ...]:
    dependencies = ", ".join(json.dumps(line) for line in lines)
    (folder / "pyproject.toml").write_text(f'[project]\nname = "x"\ndependencies = [{dependencies}]\n{more}')
    return project_requirements(folder)


def test_a_package_in_editable_mode_travels_as_code_and_what_it_requires_is_required(installed: Callable[..., str], tmp_path: Path) -> None:
    inner = installed({"url": "file:///home/me/inner", "dir_info": {"editable": True}}, requires=("yarl>=1",))
    outer = installed(
        {"url": "file:///home/me/outer", "dir_info": {"editable": True}},
        requires=(f"{inner}", "tqdm>=4", "colorama; sys_platform == 'atari'", "polars>=1; extra == 'fast'"),
    )
    assert required(tmp_path, outer, "numpy") == ("yarl>=1", "tqdm>=4", "numpy")
    assert required(tmp_path, f"{outer}[fast]>=1") == ("yarl>=1", "tqdm>=4", "polars>=1")
    # Wherever it is named.
    assert not any(outer in line or inner in line for line in function_requirements(tmp_path, [outer]))


@pytest.mark.parametrize(
    ("direct_url", "wanted"),
    [
        ({"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}, "git+https://example.org/a.git@abc"),
        (
            {"url": "https://example.org/a.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}, "subdirectory": "libs/b"},
            "git+https://example.org/a.git@abc#subdirectory=libs/b",
        ),
        ({"url": "https://example.org/a-1.0-py3-none-any.whl", "archive_info": {}}, "https://example.org/a-1.0-py3-none-any.whl"),
    ],
)
def test_what_came_from_an_address_is_taken_from_there(
    installed: Callable[..., str], direct_url: object, wanted: str, tmp_path: Path
) -> None:
    name = installed(direct_url)
    assert required(tmp_path, f"{name}>=1") == (f"{name} @ {wanted}",)


@pytest.mark.parametrize(
    "direct_url",
    [{"url": "file:///home/me/a", "dir_info": {}}, {"url": "file:///home/me/a-1.0-py3-none-any.whl", "archive_info": {}}],
)
def test_what_came_from_a_path_and_cannot_travel_is_a_path_which_plan_refuses(
    installed: Callable[..., str], direct_url: dict[str, str], tmp_path: Path
) -> None:
    (line,) = required(tmp_path, installed(direct_url))
    assert is_path(line)
    assert direct_url["url"] in line


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("{workspace = true}", None),
        ('{path = "../nosuchlib"}', None),
        ('{git = "https://example.org/a.git", tag = "v1"}', ("nosuchlib @ git+https://example.org/a.git@v1",)),
        ('{url = "https://example.org/a.whl"}', ("nosuchlib @ https://example.org/a.whl",)),
        ('{index = "mine"}', ("--extra-index-url=https://example.org/simple", "nosuchlib>=1")),
    ],
)
def test_the_sources_of_uv_are_followed(source: str, wanted: tuple[str, ...] | None, tmp_path: Path) -> None:
    more = f'[tool.uv.sources]\nNoSuchLib = {source}\n[[tool.uv.index]]\nname = "mine"\nurl = "https://example.org/simple"\n'
    lines = required(tmp_path, "nosuchlib>=1", more=more)
    if wanted is None:
        assert all(map(is_path, lines))
    else:
        assert lines == wanted


def test_a_credential_of_an_index_is_no_part_of_its_line(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("--extra-index-url https://me:PLANTED@example.org/simple\nnumpy\n")
    option, _ = project_requirements(tmp_path)
    assert re.fullmatch(r"--extra-index-url=https://\$\{\w+\}@example\.org/simple", option)
    assert list(variables_of([option]).values()) == ["me:PLANTED"]


def test_constraints_bound_what_is_required_and_require_nothing(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "constraints.txt").write_text("pandas<99\nnosuchlib<2\n")
    (tmp_path / "requirements.txt").write_text("-c constraints.txt\nscikit-learn\n")
    assert project_requirements(tmp_path) == ("--constraint=pandas<99", "--constraint=nosuchlib<2", "scikit-learn")
    # What is installed here keeps to the constraints: a machine is to have the same.
    assert f"--constraint=pandas=={pd.__version__}" in function_requirements(tmp_path)


def test_the_dependencies_of_poetry_are_not_lost_silently(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.poetry.dependencies]\npython = "^3.11"\nrequests = "^2"\n')
    with pytest.raises(ConfigError, match=r"tool\.poetry\.dependencies.*poetry export"):
        project_requirements(tmp_path)
    (tmp_path / "requirements.txt").write_text("requests>=2\n")
    assert project_requirements(tmp_path) == ("requests>=2",)


@pytest.mark.measured
@pytest.mark.parametrize(("index", "refused"), [("", True), ("--extra-index-url https://example.org/whl\n", False)])
def test_a_local_version_needs_its_index(index: str, refused: bool, project: Project) -> None:
    project.write("requirements.txt", f"{index}torch==2.5.1+cu121\n")
    project.write("conf/base/cloudtrain.yml", "backend: runpod\nvolume: {id: abc, data_center: EU-RO-1}\nnodes: {summarise: {}}\n")
    done = project.kedro("cloudtrain", "plan", "--json", RUNPOD_API_KEY="", RUNPOD_API_BASE_URL="http://127.0.0.1:9", UV_OFFLINE="1")
    assert ("torch==2.5.1+cu121 is a local version" in done.stdout + done.stderr) is refused


def test_a_trainings_own_requirements_are_followed_as_well(installed: Callable[..., str], tmp_path: Path) -> None:
    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.storage.directory import DirectoryVolume
    from kedro_cloudtrain.storage.sources import make_source

    name = installed({"url": "file:///home/me/a", "dir_info": {"editable": True}})
    parameters = TrainingParameters(model_type="xgboost_regression", target_column="y")
    settings = NodeSettings(requirements=(name, "tqdm"))
    source = make_source(dataset_key="a.csv")
    order = TrainingOrder("train", parameters, source, ("model",), DirectoryVolume(tmp_path), settings=settings)
    assert order.requirements[-1] == "tqdm"
    assert not any(name in line for line in order.requirements)
