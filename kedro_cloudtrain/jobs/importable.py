"""Whether a machine can import a user's function, and from where."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def import_path(function: Callable[..., Any]) -> str:
    """Name the place where a function is imported from: `shop.nodes:train`."""
    return f"{function.__module__}:{function.__qualname__}"


def reason_against(function: Callable[..., Any]) -> str | None:
    """Say why a machine cannot call a function, or None where it can.

    A machine imports it by its name from the project's code; nothing else of it travels.
    """
    name = _name(function)
    if isinstance(function, functools.partial):
        return f"its function is a functools.partial of {_name(function.func)}, which has no name to import it by. {_DEF}"
    if not hasattr(function, "__qualname__") or not getattr(function, "__module__", None):
        return f"its function is an object of the class {type(function).__name__}, which has no name to import it by. {_DEF}"
    signs = {
        "is a lambda, which has no name to import it by": "<lambda>" in name,
        f"{name} is an async def, whose call gives nothing that could travel": inspect.iscoroutinefunction(function),
        f"{name} is defined within another function, where no import reaches it": "<locals>" in name,
        f"{name} is defined in the program that runs, which a machine does not have": function.__module__ == "__main__",
        f"{name} is another one than {import_path(function)}, or is not there: a machine would not import it": not _is_imported(function),
    }
    said = next((sign for sign, seen in signs.items() if seen), None)
    if said is not None:
        return f"its function {said}. {_DEF}"
    if inspect.isgeneratorfunction(function):
        return f"its function {name} is a generator, whose pieces Kedro saves one by one, here. Let it return the whole, or {_OUT}"
    return None


def _is_imported(function: Callable[..., Any]) -> bool:
    """Tell whether an import by its name gives this very function."""
    try:
        found: Any = importlib.import_module(function.__module__)
        for part in function.__qualname__.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return found is function


_OUT = "take the node out of `nodes` in cloudtrain.yml."
_DEF = f"Write it as a function of a module (def …), or {_OUT}"


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
