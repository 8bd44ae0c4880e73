"""The validators that a catalog declares: what a machine loads or saves itself, it has to validate itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.worker.errors import one_stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro.pipeline.node import Node
    from pydantic import JsonValue


def validator_of(catalog: Any, name: str, mode: str) -> JsonValue | None:
    """Return the validator of an entry as the catalog has it; None if it has none that is active, or Kedro knows of none (before 1.6).

    Args:
        catalog: Kedro's.
        name: the entry's.
        mode: `load` or `save`.
    """
    spec = _active_spec(catalog, name, mode)
    config: JsonValue = None if spec is None else spec.to_config()
    return config


def validator_problems(node: Node, catalog: Any) -> Iterator[str]:
    """Report the validators of a node's datasets that cannot be made, wherever they would run: the run would fail on each.

    Args:
        node: the node.
        catalog: Kedro's.
    """
    for names, mode in ((node.inputs, "load"), (node.outputs, "save")):
        for name in dict.fromkeys(names):
            spec = _active_spec(catalog, name, mode)
            reason = None if spec is None else _reason_against(spec)
            if reason is not None:
                yield f"`{name}` cannot be validated: {reason} See its `validator` in the catalog."


def _reason_against(spec: Any) -> str | None:
    """Return why Kedro cannot make a validator."""
    from kedro.validation.core import resolve_validator  # noqa: PLC0415  # Kedro has it from 1.6 on

    try:
        resolve_validator(spec)
    except SyntaxError as error:
        return f"{spec.class_path} cannot be imported: {error.filename}, line {error.lineno}: {error.msg}."
    except Exception as error:  # noqa: BLE001  # a module of the project's own may raise anything
        return one_stop(f"{' '.join(str(error).split()) or type(error).__name__}.")
    return None


def _active_spec(catalog: Any, name: str, mode: str) -> Any:
    """Return the validator that Kedro would call; None where it would not call any."""
    # Whether validation is on at all, Kedro decides by its environment variable and by how the catalog was made.
    if not getattr(catalog, "_is_validation_enabled", lambda: False)():
        return None
    spec = catalog.validator_specs.get(name)
    return spec if spec is not None and spec.enabled and mode in spec.on else None
