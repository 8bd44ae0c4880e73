"""What a machine installs: the packages that a job needs, in the versions of this computer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.owner import project_id
from kedro_cloudtrain.jobs.requirements import (
    _installed,
    function_requirements,
    is_path,
    own_requirements,
    project_hashes,
    project_requirements,
    provides,
    requirements,
)

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
    ("line", "part"),
    [
        ("-r https://u:{}@h.org/req.txt", "-r https://***@h.org/req.txt is on a web server"),
        ("-c https://{}@h.org/c.txt", "-c https://***@h.org/c.txt is on a web server"),
        ("--requirement=HTTPS://u:{}@h.org/c.txt", "Download it, and name it by its path"),
        ("--index-url //u:{}@h.org/simple", "--index-url ***@h.org/simple is a place on this computer"),
        ("--index-url=u:{}@h.org/simple", "--index-url=***@h.org/simple is a place on this computer"),
        ("--find-links {}@h.org/simple", "--find-links ***@h.org/simple is a place on this computer"),
        ("-iu:{}@h.org/simple", "no machine is given the option ***@h.org/simple"),
        ("six @ u:{}@h.org/x.whl", "'six @ ***@h.org/x.whl' has no URL after the @"),
        ("six @ //u:a@{}@h.org/x.whl", "'six @ ***@h.org/x.whl' has no URL after the @"),
        ("u:{}@h.org/x.whl", "'***@h.org/x.whl' is not a requirement"),
        ("six @@ u:{}@h.org", "***@h.org' is not a requirement"),
        ("six@1.0", "'six@1.0' has no URL after the @"),
        ("six @ ./libs/six.whl", "'six @ ./libs/six.whl' has no URL after the @"),
    ],
)
def test_a_refused_line_of_a_requirements_file_repeats_no_password(line: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(line.format("PLANTED0token") + "\n")
    with pytest.raises(ConfigError) as refused:
        project_requirements(tmp_path)
    assert part in str(refused.value)
    assert "requirements.txt, line 1: " in str(refused.value)
    assert "PLANTED" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('project = "x"', "`project` is a text, and has to be a table"),
        ('project.dependencies = "six"', "`project.dependencies` is a text, and has to be a list of texts"),
        ("project.dependencies = [1]", "`project.dependencies` is a list of something else, and has to be a list of texts"),
        ("tool = 1", "`tool` is a number, and has to be a table"),
        ("tool.kedro = 1", "`tool.kedro` is a number"),
        ("tool.kedro_telemetry = []", "`tool.kedro_telemetry` is a list"),
        ("tool.poetry = true", "`tool.poetry` is true or false"),
        ('tool.uv.index = {name = "a", url = "b"}', "`tool.uv.index` is a table, and has to be a list of tables, each headed by [[tool.uv"),
        ("tool.uv.index = ['https://u:PLANTED@h.org']", "`tool.uv.index` is a list of something else"),
        ('tool.uv.sources.six = "u:PLANTED@h.org"', "`tool.uv.sources.six` is a text, and has to be a table, {git = "),
        ('tool.uv.sources.six = ["x"]', "`tool.uv.sources.six` is a list of something else"),
        ('tool.uv.sources = ["x"]', "`tool.uv.sources` is a list"),
        ("tool.uv = 1.5", "`tool.uv` is a number"),
        ("tool.setuptools = []", "`tool.setuptools` is a list"),
        ('tool.setuptools.dynamic = ["dependencies"]', "`tool.setuptools.dynamic` is a list, and has to be a table"),
        (
            'tool.setuptools.dynamic.dependencies = "x"',
            "`tool.setuptools.dynamic.dependencies` is a text, and has to be a table",
        ),
        ("tool.setuptools.dynamic.dependencies.file = 3", "`tool.setuptools.dynamic.dependencies.file` is a number"),
        ("tool.setuptools.dynamic.dependencies.file = [3]", "`tool.setuptools.dynamic.dependencies.file` is a list of something else"),
        ("tool = {", "cannot be read"),
    ],
)
def test_a_pyproject_of_another_form_is_refused_with_its_key_wherever_it_is_read(text: str, part: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    for read in (
        project_requirements,
        project_hashes,
        function_requirements,
        project_id,
        lambda folder: own_requirements(folder, ()),
    ):
        with pytest.raises(ConfigError) as refused:
            read(tmp_path)
        assert str(refused.value).startswith(f"{tmp_path / 'pyproject.toml'}")
        assert part in str(refused.value)
        assert "PLANTED" not in str(refused.value)


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
