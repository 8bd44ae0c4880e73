"""What a pod installs: what its library needs, as it is installed here."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.requirements import _installed, function_requirements, is_path, project_requirements, requirements


@pytest.mark.parametrize("library", ["xgboost", "lightgbm", "catboost", "keras"])
def test_a_library_is_taken_in_the_version_that_is_installed_here(library: str) -> None:
    found = requirements(library, gpu=False)
    names = {one.partition("==")[0] for one in found}
    assert library in names
    assert {"numpy", "pandas", "pyarrow", "scikit-learn"} <= names
    assert not {"xgboost", "lightgbm", "catboost", "keras"} - {library} & names
    assert f"numpy=={metadata.version('numpy')}" in found


def test_jax_has_its_cuda_where_there_is_a_gpu() -> None:
    assert any(one.startswith("jax[cuda12]==") for one in requirements("keras", gpu=True))
    assert any(one.startswith("jax==") for one in requirements("keras", gpu=False))


def test_formats_and_urls_need_their_readers() -> None:
    assert not any("openpyxl" in one or "aiohttp" in one for one in requirements("xgboost", gpu=False))
    found = " ".join(requirements("xgboost", gpu=False, file_formats=("xlsx", "xls"), over_http=True))
    for name in ("openpyxl==", "xlrd==", "aiohttp==", "fsspec=="):
        assert name in found


@pytest.fixture(autouse=True)
def _as_a_new_process() -> Iterator[None]:
    """What is installed is asked once a process."""
    _installed.cache_clear()
    yield
    _installed.cache_clear()


def test_what_is_not_installed_here_is_taken_within_this_packages_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    version = metadata.version

    def missing(name: str) -> str:
        if name in ("catboost", "pyarrow"):
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(metadata, "version", missing)
    found = requirements("catboost", gpu=False)
    assert any(one.startswith("catboost>=") for one in found)
    assert not [one for one in found if one.startswith(("catboost==", "pyarrow=="))]


def test_a_template_of_ones_own_needs_what_its_node_says() -> None:
    assert {one.partition("==")[0] for one in requirements("mine", gpu=True)} == {"numpy", "pandas", "pyarrow", "scikit-learn"}


def test_a_local_version_is_on_no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.1.0+cpu")
    assert "numpy==2.1.0" in requirements("xgboost", gpu=False)


# ------------------------------------------------------------------ what a project asks for


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
        "numpy==1.0",
        "git+https://example.org/some/thing@v1",
        "./libs/foo",
        'pandas[excel] >= 2 ; python_version > "3"',
    )
    found = function_requirements(tmp_path)
    assert f"kedro=={metadata.version('kedro')}" in found
    assert "numpy==1.0" in found  # not the one that is installed here: the project does not allow it
    assert "git+https://example.org/some/thing@v1" in found
    assert len([one for one in found if one.startswith("pandas")]) == 1


def test_a_line_that_is_no_requirement_is_named(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\npandas >> 2\n")
    with pytest.raises(ConfigError, match=r"requirements\.txt, line 2: 'pandas >> 2' is no requirement"):
        project_requirements(tmp_path)


@pytest.mark.parametrize(
    ("line", "path"),
    [("./libs/foo", True), ("foo @ file:///tmp/foo", True), ("libs/foo.whl", True), ("foo", False), ("git+ssh://git@example.org/a", False)],
)
def test_a_place_on_this_computer_is_known(line: str, path: bool) -> None:
    assert is_path(line) is path


def test_an_entry_on_another_store_needs_kedro_and_the_stores_driver(tmp_path: Path) -> None:
    found = function_requirements(tmp_path, ["scikit-learn"], drivers=("s3fs",))
    for name in ("kedro", "kedro-datasets", "s3fs"):
        assert f"{name}=={metadata.version(name)}" in found
    assert not any(one.startswith(("kedro", "s3fs")) for one in function_requirements(tmp_path, ["scikit-learn"]))
