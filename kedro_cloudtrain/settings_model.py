"""The base of all that a user writes in a YAML file."""

from __future__ import annotations

import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class SettingsModel(BaseModel):
    """What a user writes: a key that is not a setting is an error, and so is true or false in the place of a number.

    A number in quotes is taken, since that is what `${oc.env:NAME}` puts in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_truth(cls, value: object, info: ValidationInfo) -> object:
        # To Python, and so to pydantic, True is the number 1.
        if not isinstance(value, bool):
            return value
        kinds = _kinds(cls.model_fields[info.field_name or ""].annotation)
        if bool not in kinds and kinds & {int, float}:
            raise ValueError("write a number" if float in kinds else "write a whole number")
        return value


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that a field accepts."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for each in get_args(annotation) for kind in _kinds(each)}
    return {annotation}
