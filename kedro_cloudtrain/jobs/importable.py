"""Whether a machine can import a user's function, and by which path."""

from __future__ import annotations

import functools
import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_TAKE_OUT = "take the node out of `nodes` in cloudtrain.yml."
_WRITE_DEF = f"Write it as a function of a module (def …), or {_TAKE_OUT}"


def import_path(function: Callable[..., Any]) -> str:
    """Return the path that a function is imported by: `shop.nodes:train`."""
    return f"{function.__module__}:{function.__qualname__}"


def reason_against(function: Callable[..., Any]) -> str | None:
    """Return why a machine cannot call a function; None if it can.

    A machine imports a function by its name from the project's code; nothing else of it travels.
    """
    name = _name(function)
    if isinstance(function, functools.partial):
        return f"its function is a functools.partial of {_name(function.func)}, which has no name to import it by. {_WRITE_DEF}"
    if not hasattr(function, "__qualname__") or not getattr(function, "__module__", None):
        return f"its function is an object of the class {type(function).__name__}, which has no name to import it by. {_WRITE_DEF}"
    reasons = {
        "is a lambda, which has no name to import it by": "<lambda>" in name,
        f"{name} is an async def, whose call returns a coroutine, which cannot travel": inspect.iscoroutinefunction(function),
        f"{name} is defined within another function, where no import reaches it": "<locals>" in name,
        f"{name} is defined in the running program itself, which no machine has": function.__module__ == "__main__",
        f"{name} is not what an import of {import_path(function)} finds": not _is_imported(function),
    }
    reason = next((text for text, applies in reasons.items() if applies), None)
    if reason is not None:
        return f"its function {reason}. {_WRITE_DEF}"
    if inspect.isgeneratorfunction(function):
        return (
            f"its function {name} is a generator, whose pieces Kedro saves one by one on this computer. "
            f"Return the whole from it, or {_TAKE_OUT}"
        )
    return None


def _is_imported(function: Callable[..., Any]) -> bool:
    """Return whether an import by its name finds this very function."""
    try:
        imported: Any = importlib.import_module(function.__module__)
        for part in function.__qualname__.split("."):
            imported = getattr(imported, part)
    except (ImportError, AttributeError):
        return False
    return bool(imported == function)  # a classmethod is bound anew each time it is asked for


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", type(function).__name__))
