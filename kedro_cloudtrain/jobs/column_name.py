"""The name of a column as YAML has it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from kedro_cloudtrain.worker.yaml_words import put_in_quotes


def _check_name(name: object) -> object:
    """Refuse a column's name of which YAML has made something other than text."""
    if name is None or isinstance(name, str | list | tuple | dict):
        return name
    raise ValueError(put_in_quotes(name, "a column's name"))


ColumnName = Annotated[str, BeforeValidator(_check_name)]
