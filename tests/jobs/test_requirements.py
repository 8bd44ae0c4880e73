"""What a machine installs: the packages that a job needs, in the versions of this computer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.requirements import _installed, function_requirements, is_path, project_requirements, provides, requirements

WORKER = {"numpy", "pandas", "pyarrow", "scikit-learn"}


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost", "keras"])
def test_a_library_is_pinned_to_the_installed_version(library: str) -> None:
    lines = requirements(library, gpu=False)
    names = {line.partition("==")[0] for line in lines}
    assert ("xgboost-cpu" if library == "xgboost" else library) in names
    assert names >= WORKER
    assert not ({"xgboost", "xgboost-cpu", "lightgbm", "catboost", "keras"} - {library, f"{library}-cpu"}) & names
    assert f"numpy=={metadata.version('numpy')}" in lines


def test_jax_has_its_cuda_on_a_machine_with_a_gpu() -> None:
    assert any(line.startswith("jax[cuda12]==") for line in requirements("keras", gpu=True))
    assert any(line.startswith("jax==") for line in requirements("keras", gpu=False))


def test_keras_has_the_backend_that_is_asked_for_and_no_other() -> None:
    def installed(backend: str | None, *, gpu: bool) -> set[str]:
        return {re.split("[=<>]", line)[0] for line in requirements("keras", gpu=gpu, backend=backend)} - WORKER

    assert installed(None, gpu=True) == installed("jax", gpu=True) == {"keras", "jax[cuda12]"}
    assert installed("tensorflow", gpu=True) == {"keras", "tensorflow[and-cuda]"}
    assert installed("tensorflow", gpu=False) == {"keras", "tensorflow-cpu"}
    assert installed("torch", gpu=True) == installed("torch", gpu=False) == {"keras", "torch"}


def test_formats_and_urls_need_their_readers() -> None:
    assert not any("openpyxl" in line or "aiohttp" in line for line in requirements("xgboost", gpu=False))
    text = " ".join(requirements("xgboost", gpu=False, file_formats=("xlsx", "xls"), over_http=True))
    for name in ("openpyxl==", "xlrd==", "aiohttp==", "fsspec=="):
        assert name in text


@pytest.fixture(autouse=True)
def _as_a_new_process() -> Iterator[None]:
    """Forget the installed versions, which are looked up once per process."""
    _installed.cache_clear()
    yield
    _installed.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, version: Callable[[str], str]) -> None:
    """Let this module alone see other versions: `importlib.metadata` itself belongs to every thread of the process."""
    monkeypatch.setattr("kedro_cloudtrain.jobs.requirements.metadata", SimpleNamespace(**{**vars(metadata), "version": version}))


def test_a_package_that_is_not_installed_has_this_packages_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("catboost", "pyarrow"):
            raise metadata.PackageNotFoundError(name)
        return metadata.version(name)

    install(monkeypatch, version)
    lines = requirements("catboost", gpu=False)
    assert any(line.startswith("catboost>=") for line in lines)
    assert not [line for line in lines if line.startswith(("catboost==", "pyarrow=="))]


def test_a_template_of_the_projects_own_needs_the_workers_packages() -> None:
    assert {line.partition("==")[0] for line in requirements("mine", gpu=True)} == {"numpy", "pandas", "pyarrow", "scikit-learn"}


def test_the_local_part_of_a_version_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, lambda _: "2.1.0+cpu")
    assert "numpy==2.1.0" in requirements("xgboost", gpu=False)


def test_a_requirements_file_is_read_as_pip_reads_it(tmp_path: Path) -> None:
    (tmp_path / "base.txt").write_text("-r requirements.txt\nkedro  # the framework\n")
    (tmp_path / "requirements.txt").write_text(
        """\
        # packages
        -r base.txt
        --index-url https://example.org/simple
        -e ./mine
        numpy==1.0 \\
            --hash=sha256:00 \\
            --hash=sha256:11
        git+https://example.org/some/thing@v1
        ./libs/foo
        pandas[excel] >= 2 ; python_version > "3"
        """
    )
    assert project_requirements(tmp_path) == (
        "kedro",
        "--index-url=https://example.org/simple",
        "numpy==1.0",
        "git+https://example.org/some/thing@v1",
        "./libs/foo",
        'pandas[excel] >= 2 ; python_version > "3"',
    )
    lines = function_requirements(tmp_path)
    assert f"kedro=={metadata.version('kedro')}" in lines
    assert "numpy==1.0" in lines  # not the installed version: the project does not allow it
    assert "git+https://example.org/some/thing@v1" in lines
    assert len([line for line in lines if line.startswith("pandas")]) == 1


def test_a_line_that_is_not_a_requirement_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\npandas >> 2\n")
    with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: 'pandas >> 2' is not a requirement"):
        project_requirements(tmp_path)


@pytest.mark.parametrize(
    ("line", "path"),
    [("./libs/foo", True), ("foo @ file:///tmp/foo", True), ("libs/foo.whl", True), ("foo", False), ("git+ssh://git@example.org/a", False)],
)
def test_a_place_on_this_computer_is_told_from_a_package(line: str, path: bool) -> None:
    assert is_path(line) is path


def test_an_entry_on_another_store_needs_kedro_and_the_stores_driver(tmp_path: Path) -> None:
    lines = function_requirements(tmp_path, ["scikit-learn"], drivers=("s3fs",))
    for name in ("kedro", "kedro-datasets", "s3fs"):
        assert f"{name}=={metadata.version(name)}" in lines
    assert not any(line.startswith(("kedro", "s3fs")) for line in function_requirements(tmp_path, ["scikit-learn"]))


@pytest.mark.parametrize(
    ("lines", "module", "there"),
    [
        (["pandas==3.0 --hash=sha256:00"], "pandas", True),
        (["numpy"], "pandas", False),
        (["scikit_learn>=1"], "sklearn", True),
        (["xgboost-cpu==3.0"], "xgboost", True),  # another build of the same library
        (["--index-url=https://example.org", "git+https://example.org/a"], "yaml", False),
        (["pyyaml @ https://example.org/pyyaml.whl"], "yaml", True),
        ([], "nosuchmodule", True),  # nobody knows who has it
    ],
)
def test_a_module_is_looked_for_among_the_packages(lines: list[str], module: str, there: bool) -> None:
    assert provides(lines, module) is there
