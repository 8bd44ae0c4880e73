"""What a module imports, as its code says it."""

from __future__ import annotations

import ast
import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What finds a module or a class by a name that it computes: of Python itself, of Kedro, and of Hydra, Django and Werkzeug. A method of
# such a name costs no more than that other modules count as well.
_BY_COMPUTED_NAME = frozenset(
    {
        "import_module", "__import__", "find_spec", "find_loader", "spec_from_file_location", "run_module", "run_path", "walk_packages",
        "iter_modules", "resolve_name", "locate", "exec", "eval", "load_obj", "find_pipelines", "from_config", "parse_dataset_definition",
        "instantiate", "get_class", "get_method", "get_object", "import_string", "import_from_string", "import_object",
    }
)  # fmt: skip
# Those whose first argument is a module's name, where it is written out.
_TAKE_A_MODULE = frozenset({"import_module", "__import__", "find_spec", "run_module"})


@dataclasses.dataclass(frozen=True)
class Imports:
    """The modules that a module may import.

    Attributes:
        names: their names; those of a `from` import count, since they may be modules.
        computed: whether it may import others as well, by names that its code does not say.
        at_once: those without which it cannot be imported itself: outside of any function, condition and `try`.
    """

    names: tuple[str, ...]
    computed: bool
    at_once: tuple[str, ...] = ()

    @classmethod
    def of(cls, file: Path, package: str) -> Imports:
        """Read a module's code.

        Args:
            file: the module's file.
            package: the package that its relative imports begin from.

        Raises:
            ConfigError: the file has a syntax error.
        """
        try:
            tree = ast.parse(file.read_bytes())
        except SyntaxError as error:
            raise ConfigError(f"{file}, line {error.lineno}: {error.msg}.") from None
        written_out = {call.func: name for call in ast.walk(tree) if isinstance(call, ast.Call) and (name := _module_of(call, package))}
        names = [name for node in ast.walk(tree) for name in _imported(node, package)]
        computed = any(_identifier(node) in _BY_COMPUTED_NAME for node in ast.walk(tree) if node not in written_out)
        at_once = tuple(name for node in tree.body for name in _imported(node, package))
        return cls((*names, *written_out.values()), computed, at_once)


def _imported(node: ast.AST, package: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), package)
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names)


def _absolute(name: str, package: str) -> str:
    """Return the absolute name of a module whose name may begin with dots."""
    module = name.lstrip(".")
    parents = package.split(".")
    level = len(name) - len(module)
    return ".".join([*(parents[: len(parents) - level + 1] if level else []), *([module] if module else [])])


def _module_of(call: ast.Call, package: str) -> str | None:
    """Return the module that a call such as `import_module("shop.models")` imports; None where its name is computed."""
    first = call.args[0] if call.args else None
    if _identifier(call.func) not in _TAKE_A_MODULE or not isinstance(first, ast.Constant) or not isinstance(first.value, str):
        return None
    return _absolute(first.value, package)


def _identifier(node: ast.AST) -> str | None:
    """Return the name by which an expression uses something, or an import renames it from."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.alias(name=name, asname=str()):
            return name.rpartition(".")[2]
    return None
