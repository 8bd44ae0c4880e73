"""The validators that a catalog declares: what a machine loads or saves itself, it has to validate itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import JsonValue


def validator_of(catalog: Any, name: str, mode: str) -> JsonValue | None:
    """Return the validator of an entry as the catalog has it; None if it has none that is active, or Kedro knows of none (before 1.6).

    Args:
        catalog: Kedro's.
        name: the entry's.
        mode: `load` or `save`.
    """
    # Whether validation is on at all, Kedro decides by its environment variable and by how the catalog was made.
    if not getattr(catalog, "_is_validation_enabled", lambda: False)():
        return None
    spec = catalog.validator_specs.get(name)
    if spec is None or not spec.enabled or mode not in spec.on:
        return None
    config: JsonValue = spec.to_config()
    return config
