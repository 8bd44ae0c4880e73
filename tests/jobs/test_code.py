"""Which code travels with a function, and which changes of it change the function's digest."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

import pytest

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.code import Code, Codes
from kedro_cloudtrain.jobs.requirements import function_requirements

FILES = {
    "pkg_a/__init__.py": "",
    "pkg_a/nodes.py": "import json\nfrom . import near\nfrom .deep.low import thing\nimport pandas\n",
    "pkg_a/near.py": "def f():\n    import beside\n",
    "pkg_a/deep/__init__.py": "",
    "pkg_a/deep/low.py": "from ..top import x as thing\n",
    "pkg_a/top.py": "x = 1\n",
    "pkg_a/other.py": "y = 1\n",
    "pkg_a/query.sql": "select 1\n",
    "beside.py": "from lib_b.part import z\n",
    "lib_b/part.py": "z = 1\n",
    "lib_b/unused.py": "z = 1\n",
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def names(code: Code) -> set[str]:
    return set(zipfile.ZipFile(io.BytesIO(code.archive)).namelist())


def test_whole_packages_travel_also_those_that_are_imported(source: Path) -> None:
    assert names(Codes().of("pkg_a.nodes")) == set(FILES)
    assert Codes().of("pkg_a.nodes").archive == Codes().of("pkg_a.nodes").archive


def test_the_digest_is_known_without_packing(source: Path) -> None:
    assert Codes().digest("pkg_a.nodes") == Codes().of("pkg_a.nodes").digest
    assert Codes().digest("json", "pkg_a.nodes", "nowhere") == Codes().of("pkg_a.nodes").digest
    assert Codes().digest("json", "nowhere") is None
    shared = Codes()
    packed = shared.of("pkg_a.nodes")
    (source / "pkg_a/nodes.py").write_text("")
    assert shared.digest("pkg_a.nodes", "lib_b.unused") != packed.digest
    assert shared.of("pkg_a.nodes") == packed


@pytest.mark.parametrize(
    ("file", "changes"),
    [(name, name not in ("pkg_a/other.py", "lib_b/unused.py")) for name in FILES],
)
def test_only_changes_of_imported_modules_and_other_files_change_the_digest(source: Path, file: str, changes: bool) -> None:
    before = Codes().of("pkg_a.nodes").digest
    (source / file).write_text(FILES[file] + "\n")
    assert (Codes().of("pkg_a.nodes").digest != before) is changes


def test_the_parents_of_a_package_without_an_init_count(source: Path) -> None:
    (source / "pkg_a/pipes").mkdir()
    (source / "pkg_a/pipes/nodes.py").write_text("")
    before = Codes().of("pkg_a.pipes.nodes").digest
    (source / "pkg_a/__init__.py").write_text("changed = True\n")
    assert Codes().of("pkg_a.pipes.nodes").digest != before


def test_an_imported_module_travels_even_if_git_ignores_it(source: Path) -> None:
    subprocess.run(["git", "init", "-q", str(source)], check=True)  # noqa: S607
    (source / ".gitignore").write_text("_version.py\nsecret.py\n")
    for name in ("_version", "secret"):
        (source / f"pkg_a/{name}.py").write_text("version = 1\n")
    (source / "pkg_a/near.py").write_text("from ._version import version\n")
    code = Codes().of("pkg_a.nodes")
    assert "pkg_a/_version.py" in names(code)
    assert "pkg_a/secret.py" not in names(code)
    (source / "pkg_a/_version.py").write_text("version = 2\n")
    assert Codes().of("pkg_a.nodes").digest != code.digest


def test_outside_a_repository_hidden_files_do_not_travel(source: Path) -> None:
    (source / "pkg_a/.env").write_text("KEY=PLANTED")
    (source / "pkg_a/.cache").mkdir()
    (source / "pkg_a/.cache/x.json").write_text("{}")
    assert names(Codes().of("pkg_a.nodes")) == set(FILES)


COMPUTED = {
    "importlib": "import importlib\ndef f(name): return importlib.import_module(name)\n",
    "renamed": "from importlib import import_module as get\ndef f(name): return get(name)\n",
    "kedro": "from kedro.utils import load_obj\ndef f(name): return load_obj(name)\n",
    "builtin": "def f(name): return __import__(name)\n",
    "handed on": "import importlib\nf = importlib.import_module\n",
    "pkgutil": "import pkgutil\nfor _ in pkgutil.iter_modules(): pass\n",
    "hydra": "def f(config):\n    import hydra.utils\n    return hydra.utils.instantiate(config)\n",
    "in a string": "def f(name): return eval(name)\n",
    "by its name in a string": "import importlib\ndef f(name): return getattr(importlib, 'import_module')(name)\n",
    "relative to a computed package": "from importlib import import_module\ndef f(to): return import_module('.other', package=to)\n",
    "with arguments out of sight": "from importlib import import_module\ndef f(to): return import_module('.other', **to)\n",
    "parts of a package": "def f(names): return __import__('pkg_a', fromlist=names)\n",
    "all parts of a package": "def f(): return __import__('pkg_a', fromlist=['*'])\n",
    "a file": "from importlib.machinery import SourceFileLoader\ndef f(file): return SourceFileLoader('m', file).load_module()\n",
    "compiled": "import importlib.machinery as m\ndef f(file): return m.SourcelessFileLoader('m', file).load_module()\n",
    "any name of a loading module": "from importlib.machinery import BYTECODE_SUFFIXES\n",
    "a spec": "from importlib.util import spec_from_loader, module_from_spec\n\ndef f(s): return module_from_spec(s)\n",
    "run as a file": "import runpy\ndef f(file): return runpy.run_path(file)\n",
    "another process": "import subprocess, sys\ndef f(m): subprocess.run([sys.executable, '-m', m])\n",
    "an entry point": "from importlib.metadata import entry_points\ndef f(): return entry_points(group='g')\n",
    "lazily": "import lazy_loader\n__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ['other'])\n",
    "pydoc": "import pydoc\ndef f(name): return pydoc.locate(name)\n",
}


@pytest.mark.parametrize("computed", COMPUTED)
def test_after_an_import_by_a_computed_name_all_modules_of_the_project_count_and_travel(computed: str, source: Path) -> None:
    (source / "helpers").mkdir()
    (source / "helpers/models.py").write_text("class Model: pass\n")
    (source / "pkg_a/near.py").write_text(COMPUTED[computed])
    before = Codes("pkg_a").of("pkg_a.nodes")
    assert "helpers/models.py" in names(before)
    for file in ("pkg_a/other.py", "helpers/models.py", "lib_b/unused.py", "beside.py"):
        content = (source / file).read_text()
        (source / file).write_text(content + "changed = True\n")
        assert Codes("pkg_a").of("pkg_a.nodes").digest != before.digest, file
        (source / file).write_text(content)
    assert Codes("pkg_a").of("pkg_a.nodes").digest == before.digest


def test_a_module_whose_name_is_written_out_counts_alone(source: Path) -> None:
    (source / "pkg_a/near.py").write_text(
        "import importlib\nimportlib.import_module('lib_b.unused')\nimportlib.import_module('.other', __package__)\n"
    )
    before = Codes("pkg_a").of("pkg_a.nodes")
    assert "beside.py" not in names(before)
    for file, changes in (("lib_b/unused.py", True), ("pkg_a/other.py", True), ("lib_b/part.py", False)):
        (source / file).write_text("changed = True\n")
        assert (Codes("pkg_a").of("pkg_a.nodes").digest != before.digest) is changes, file
        (source / file).write_text(FILES[file])


WRITTEN_OUT = {
    "absolute": ("import importlib\nimportlib.import_module('lib_b.unused')\n", "lib_b/unused.py"),
    "by keyword": ("from importlib import import_module\nimport_module(name='lib_b.unused')\n", "lib_b/unused.py"),
    "relative to the call's package": ("from importlib import import_module\nimport_module('.unused', 'lib_b')\n", "lib_b/unused.py"),
    "by keyword as well": ("from importlib import import_module\nimport_module('.unused', package='lib_b')\n", "lib_b/unused.py"),
    "relative to its own": ("from importlib import import_module\nimport_module('.other', package=__package__)\n", "pkg_a/other.py"),
    "two levels up": ("from importlib import import_module\nimport_module('..other', package='pkg_a.deep')\n", "pkg_a/other.py"),
    "a part of a package": ("__import__('lib_b', fromlist=['unused'])\n", "lib_b/unused.py"),
    "a part by its place": ("__import__('lib_b', globals(), locals(), ('unused',))\n", "lib_b/unused.py"),
    "a part of the own package": ("__import__('', globals(), locals(), ['other'], 1)\n", "pkg_a/other.py"),
    "asked for": ("import importlib.util\nimportlib.util.find_spec('lib_b.unused')\n", "lib_b/unused.py"),
    "what a package lists": ("from pkg_a.deep import *\n", "pkg_a/deep/listed.py"),
}


@pytest.mark.parametrize("way", WRITTEN_OUT)
def test_an_import_whose_names_are_written_out_counts_by_them_and_no_other_module_does(source: Path, way: str) -> None:
    text, imported = WRITTEN_OUT[way]
    (source / "pkg_a/near.py").write_text(text)
    (source / "pkg_a/deep/__init__.py").write_text("__all__ = ['listed']\n")
    (source / "pkg_a/deep/listed.py").write_text("")
    before = Codes("pkg_a").of("pkg_a.nodes").digest
    for file in {"lib_b/unused.py", "pkg_a/other.py", imported}:
        kept = (source / file).read_text()
        (source / file).write_text("changed = True\n")
        # The last way makes `pkg_a.deep.listed` count in every case: its package lists it.
        assert (Codes("pkg_a").of("pkg_a.nodes").digest != before) is (file == imported), file
        (source / file).write_text(kept)


READING = {
    "resources": "from importlib.resources import files\ndef f(): return files('pkg_a').joinpath('other.py').read_text()\n",
    "resources as a module": "from importlib import resources\ndef f(): return resources.read_text(__package__, 'other.py')\n",
    "its own place": "from pathlib import Path\ndef f(): return (Path(__file__).parent / 'other.py').read_text()\n",
    "its loader": "def f(): return __loader__.get_data('other.py')\n",
    "inspect": "import inspect\ndef f(): from pkg_a import other; return inspect.getsource(other)\n",
    "linecache": "import linecache\ndef f(file): return linecache.getlines(file)\n",
    "templates": "from jinja2 import PackageLoader\ndef f(): return PackageLoader('pkg_a')\n",
}


@pytest.mark.parametrize("way", READING)
def test_where_files_of_a_package_are_read_all_its_modules_count_and_none_of_another(source: Path, way: str) -> None:
    (source / "pkg_a/near.py").write_text(READING[way])
    before = Codes("pkg_a").of("pkg_a.nodes").digest
    (source / "pkg_a/other.py").write_text("changed = True\n")
    assert Codes("pkg_a").of("pkg_a.nodes").digest != before
    (source / "pkg_a/other.py").write_text(FILES["pkg_a/other.py"])
    (source / "lib_b/unused.py").write_text("changed = True\n")
    assert Codes("pkg_a").of("pkg_a.nodes").digest == before


def test_a_package_whose_files_alone_are_read_travels_and_counts(source: Path) -> None:
    (source / "texts").mkdir()
    (source / "texts/__init__.py").write_text("")
    (source / "texts/model.py").write_text("class {{ name }}:\n")
    (source / "pkg_a/near.py").write_text("from importlib.resources import files\ndef f(): return files('texts')\n")
    before = Codes("pkg_a").of("pkg_a.nodes")
    assert "texts/model.py" in names(before)
    (source / "texts/model.py").write_text("class {{ title }}:\n")
    assert Codes("pkg_a").of("pkg_a.nodes").digest != before.digest


NO_PYTHON = {"a template": b"class {{ name }}:\n", "a null byte": b"x = '\0'\n", "no text": b"\xff\xfe\n"}


@pytest.mark.parametrize("kind", NO_PYTHON)
@pytest.mark.parametrize("file", ["pkg_a/template.py", "pkg_a/{{ name }}.py"])
def test_after_an_import_by_a_computed_name_a_file_that_is_no_python_counts_by_its_content(source: Path, kind: str, file: str) -> None:
    (source / "pkg_a/near.py").write_text(COMPUTED["importlib"])
    (source / file).write_bytes(NO_PYTHON[kind])
    before = Codes("pkg_a").of("pkg_a.nodes")
    assert file in names(before)
    (source / file).write_bytes(NO_PYTHON[kind] + b"# changed\n")
    assert Codes("pkg_a").of("pkg_a.nodes").digest != before.digest


@pytest.mark.parametrize("kind", NO_PYTHON)
@pytest.mark.parametrize("computed", [True, False])
def test_a_file_that_is_no_python_and_is_imported_by_its_name_is_an_error(source: Path, kind: str, computed: bool) -> None:
    (source / "pkg_a/near.py").write_text(COMPUTED["importlib"] if computed else "")
    (source / "pkg_a/top.py").write_bytes(NO_PYTHON[kind])
    with pytest.raises(ConfigError, match=r"top\.py"):
        Codes("pkg_a").of("pkg_a.nodes")


@pytest.mark.parametrize(
    ("other", "counts"),
    [
        ("lib_b.unused", True),
        ("lib_b.unused.Model", True),
        ("pkg_a.other.Outer.Inner", True),
        ("pandas.DataFrame", False),
        ("no.such", False),
    ],
)
def test_the_code_of_another_module_or_of_a_class_in_it_counts_and_travels(source: Path, other: str, counts: bool) -> None:
    alone, code = Codes("pkg_a").of("pkg_a.other"), Codes("pkg_a").of("pkg_a.other", other)
    assert ("lib_b/unused.py" in names(code)) is other.startswith("lib_b")
    if not counts:
        assert code == alone
        return
    (source / other.replace(".Model", "").replace(".Outer.Inner", "").replace(".", "/")).with_suffix(".py").write_text("changed = 1\n")
    assert Codes("pkg_a").of("pkg_a.other", other).digest != code.digest


def test_where_nobody_can_tell_what_runs_the_whole_project_counts(source: Path) -> None:
    before = Codes("pkg_a").of("pkg_a.nodes", whole=True)
    (source / "pkg_a/other.py").write_text("changed = True\n")
    assert Codes("pkg_a").of("pkg_a.nodes", whole=True).digest != before.digest


@pytest.mark.parametrize("in_git", [True, False])
def test_linked_folders_and_submodules_travel_as_files_do(source: Path, in_git: bool, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "inner").mkdir()
    (elsewhere / "inner/table.json").write_text("{}")
    (elsewhere / "loss.py").write_text("loss = 1\n")
    (source / "pkg_a/linked").symlink_to(elsewhere)
    (elsewhere / "inner/back").symlink_to(source / "pkg_a")
    if in_git:
        made = tmp_path_factory.mktemp("made")
        (made / "part.py").write_text("part = 1\n")
        git(made, "init", "-q")
        git(made, "add", ".")
        git(made, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "part")
        git(source, "init", "-q")
        git(source, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(made), "pkg_a/sub")
        assert "pkg_a/sub/part.py" in names(Codes().of("pkg_a.nodes"))
    before = Codes().of("pkg_a.nodes")
    assert {"pkg_a/linked/inner/table.json", "pkg_a/linked/loss.py"} <= names(before)
    (elsewhere / "inner/table.json").write_text("[]")
    assert Codes().of("pkg_a.nodes").digest != before.digest


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)  # noqa: S607


def test_installed_packages_do_not_travel() -> None:
    assert names(Codes().of("json")) == set()
    assert names(Codes().of("pandas.io")) == set()


def test_a_broken_module_is_named(source: Path) -> None:
    (source / "pkg_a/top.py").write_text("def (:\n")
    with pytest.raises(ConfigError, match=r"top.py, line 1"):
        Codes().of("pkg_a.nodes")


PYPROJECT = '[project]\nname = "x"\ndependencies = ["pandas>=2", "scikit-learn[extra]~=0.1", "no-such-thing>=3"]\n'


def test_the_projects_requirements_are_pinned_to_the_installed_versions(tmp_path: Path) -> None:
    import pandas as pd

    (tmp_path / "pyproject.toml").write_text(PYPROJECT)
    lines = function_requirements(tmp_path, file_formats=("xlsx",))
    # scikit-learn is left to the project, which forbids the installed version.
    assert lines[:3] == (f"pandas=={pd.__version__}", "scikit-learn[extra]~=0.1", "no-such-thing>=3")
    assert [line.partition("==")[0] for line in lines[3:]] == ["cloudpickle", "pyarrow", "openpyxl"]
    assert function_requirements(tmp_path, ("polars>=1",))[0] == "polars>=1"


@pytest.mark.parametrize("named", [True, False])
def test_requirements_may_stand_in_a_file(tmp_path: Path, named: bool) -> None:
    dynamic = '[project]\ndynamic = ["dependencies"]\n[tool.setuptools.dynamic]\ndependencies = {file = "deps.txt"}\n'
    (tmp_path / "pyproject.toml").write_text(dynamic if named else "[tool.kedro]\n")
    (tmp_path / "more.txt").write_text("")
    (tmp_path / ("deps.txt" if named else "requirements.txt")).write_text("-r more.txt\n# a comment\nno-such-thing>=3  # why\n\n")
    assert function_requirements(tmp_path)[0] == "no-such-thing>=3"


@pytest.mark.parametrize(
    ("file", "text", "needed"),
    [
        ("pkg_a/near.py", "import numpy\nimport json\n", {"pandas", "numpy"}),
        ("pkg_a/top.py", "from numpy.linalg import norm as x\n", {"pandas", "numpy"}),  # imported through two others
        ("pkg_a/__init__.py", "import numpy\n", {"pandas", "numpy"}),
        ("pkg_a/near.py", "def f():\n    import numpy\n", {"pandas"}),
        ("pkg_a/near.py", "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n", {"pandas"}),
        ("pkg_a/near.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n", {"pandas"}),
        ("pkg_a/other.py", "import numpy\n", {"pandas"}),  # nobody imports it
        ("beside.py", "import numpy\n", {"pandas"}),  # imported by a function alone
        ("pkg_a/near.py", "from kedro_cloudtrain import Checkpoint\n", {"pandas"}),  # every machine has it
    ],
)
def test_a_module_needs_what_it_imports_at_once(source: Path, file: str, text: str, needed: set[str]) -> None:
    (source / file).write_text(text)
    assert Codes().needed("pkg_a.nodes") == needed
