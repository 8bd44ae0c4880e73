"""What a module imports and which files it reads, as its code says it."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

# What finds a module or a class by a name that it computes, or runs a file as one: of Python itself, of Kedro, and of Hydra, Django,
# Werkzeug and lazy_loader. A method of such a name costs no more than that other modules count as well.
_BY_COMPUTED_NAME = frozenset(
    {
        "import_module", "__import__", "find_spec", "find_loader", "find_module", "get_loader", "get_importer", "load_module",
        "exec_module", "load_source", "load_compiled", "module_from_spec", "spec_from_file_location", "spec_from_loader",
        "SourceFileLoader", "SourcelessFileLoader", "ExtensionFileLoader", "FileFinder", "PathFinder", "LazyLoader", "zipimporter",
        "run_module", "run_path", "walk_packages", "iter_modules", "resolve_name", "locate", "safeimport", "importfile", "exec", "eval",
        "execfile", "entry_points", "iter_entry_points", "load_entry_point", "load_obj", "find_pipelines", "from_config",
        "parse_dataset_definition", "instantiate", "get_class", "get_method", "get_object", "import_string", "import_from_string",
        "import_object", "attach", "attach_stub",
    }
)  # fmt: skip
# Standard modules that do so under every name. Of `importlib` itself, only the names above do.
_LOADING_MODULES = frozenset({"importlib.machinery", "importlib.abc", "imp", "zipimport", "pkgutil", "pydoc", "runpy", "code", "codeop"})
# Python started anew, which runs a module or a file by its name.
_RUNS_PYTHON = frozenset({"executable", "_base_executable"})
# The calls whose first argument is a module's name, where it is written out; and the name of that argument.
_TAKE_A_MODULE = {"import_module": "name", "__import__": "name", "find_spec": "name", "run_module": "mod_name"}
# What reads the files of packages, source files as well: its names, and modules that are there to do so.
_READS_FILES = frozenset(
    {
        "__file__", "__path__", "__cached__", "__loader__", "__spec__", "co_filename", "get_data", "get_source", "getsource",
        "getsourcelines", "getsourcefile", "getfile", "getabsfile", "getcomments", "getblock", "PackageLoader", "package_path",
    }
)  # fmt: skip
_READING_MODULES = frozenset({"importlib.resources", "importlib_resources", "pkg_resources", "linecache"})
# The calls that take the package whose files they read.
_TAKE_A_PACKAGE = frozenset(
    {
        "files", "open_text", "open_binary", "read_text", "read_binary", "contents", "is_resource", "path", "get_data", "PackageLoader",
        "resource_string", "resource_stream", "resource_filename", "resource_listdir", "resource_exists",
    }
)  # fmt: skip
_NAMES_OF_A_PACKAGE = frozenset({"anchor", "package", "package_name", "package_or_requirement"})


@dataclasses.dataclass(frozen=True)
class Imports:
    """The modules that a module may import.

    Attributes:
        names: their names; those of a `from` import count, since they may be modules.
        computed: whether it may import others as well, by names that its code does not say.
        at_once: those without which it cannot be imported itself: outside of any function, condition and `try`.
        reads_files: whether it may read the files of its package, which may be modules that it does not import.
        read: the other packages whose files it may read.
    """

    names: tuple[str, ...]
    computed: bool
    at_once: tuple[str, ...] = ()
    reads_files: bool = False
    read: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: Path, package: str) -> Imports:
        """Read a module's code.

        Args:
            file: the module's file.
            package: the package that its relative imports begin from.

        Raises:
            ConfigError: the file is not Python.
        """
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError as error:
            raise ConfigError(f"{file}, line {error.lineno}: {error.msg}.") from None
        except (ValueError, RecursionError) as error:  # a null byte; a formula of thousands of terms
            raise ConfigError(f"{file} is not Python: {error}.") from None
        nodes = list(ast.walk(tree))
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        written_out = {call.func: names for call in calls if (names := _modules_of(call, package)) is not None}
        names = [name for node in nodes for name in _imported(node, package)]
        used = {_identifier(node) for node in nodes if node not in written_out}
        reads = bool(used & _READS_FILES) or _is_among(names, _READING_MODULES)
        return cls(
            (*names, *itertools.chain(*written_out.values()), *_all_of(tree, file, package)),
            bool(used & (_BY_COMPUTED_NAME | _RUNS_PYTHON)) or _is_among(names, _LOADING_MODULES),
            tuple(name for node in tree.body for name in _imported(node, package)),
            reads,
            tuple(name for call in calls if (name := _package_of(call))) if reads else (),
        )


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _is_among(names: Iterable[str], modules: frozenset[str]) -> bool:
    """Return whether a module is imported: as a whole, or a name of it."""
    return any(name in modules or name.rpartition(".")[0] in modules for name in names)


def _all_of(tree: ast.Module, file: Path, package: str) -> Iterator[str]:
    """Yield the modules that `from package import *` imports: those that the package's `__all__` names."""
    if file.name != "__init__.py":
        return
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            yield from (
                f"{package}.{inner.value}" for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)
            )


def _absolute(name: str, package: str) -> str:
    """Return the absolute name of a module whose name may begin with dots."""
    module = name.lstrip(".")
    parents = package.split(".")
    level = len(name) - len(module)
    return ".".join([*(parents[: len(parents) - level + 1] if level else []), *([module] if module else [])])


def _modules_of(call: ast.Call, package: str) -> list[str] | None:
    """Return the modules that a call such as `import_module("shop.models")` imports; None where a name of them is computed."""
    function = _identifier(call.func)
    keyword = _TAKE_A_MODULE.get(str(function))
    name = _text(_argument(call, 0, keyword)) if keyword is not None and not _is_unpacked(call) else None
    if name is None:
        return None
    if function == "run_module":
        return [name, f"{name}.__main__"]
    if function == "__import__":
        level, given = _argument(call, 4, "level"), _argument(call, 3, "fromlist")
        parts = [_text(item) for item in given.elts] if isinstance(given, ast.List | ast.Tuple) else [] if given is None else [None]
        dots = 0 if level is None else level.value if isinstance(level, ast.Constant) else None
        if not isinstance(dots, int) or None in parts or "*" in parts:
            return None
        base = _absolute("." * dots + name, package)
        return [base, *(f"{base}.{part}" for part in parts)]
    if not name.startswith("."):
        return [name]
    named = _package_named_by(_argument(call, 1, "package"), package)
    return None if named is None else [_absolute(name, named)]


def _package_named_by(node: ast.expr | None, package: str) -> str | None:
    """Return the package that an expression names: written out, or `__package__`; None for any other."""
    return package if isinstance(node, ast.Name) and node.id == "__package__" else _text(node)


def _package_of(call: ast.Call) -> str | None:
    """Return the package whose files a call reads, if it is written out."""
    if _identifier(call.func) not in _TAKE_A_PACKAGE:
        return None
    named = (keyword.value for keyword in call.keywords if keyword.arg in _NAMES_OF_A_PACKAGE)
    return next((text for given in (*call.args[:1], *named) if (text := _text(given))), None)


def _is_unpacked(call: ast.Call) -> bool:
    """Return whether a call has arguments that its code does not show: `*args` or `**options`."""
    return any(isinstance(given, ast.Starred) for given in call.args) or any(keyword.arg is None for keyword in call.keywords)


def _argument(call: ast.Call, place: int, name: str | None) -> ast.expr | None:
    """Return an argument of a call, given by its place or by its name."""
    if len(call.args) > place:
        return call.args[place]
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _text(node: ast.expr | None) -> str | None:
    """Return a text that is written out; None for any other expression."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _identifier(node: ast.AST) -> str | None:
    """Return the name by which an expression uses something, or an import renames it from."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.alias(name=name, asname=str()):
            return name.rpartition(".")[2]
        case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
            return name
    return None
