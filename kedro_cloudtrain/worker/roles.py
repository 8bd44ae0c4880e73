"""What each column of a training's table is for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .readers import require

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from .locations import Location

# The keys of `validation` that name a column.
SPLITTING = ("column", "time_column", "group_column")


@dataclasses.dataclass(frozen=True)
class Roles:
    """The columns that a training names.

    Attributes:
        target: the column to predict.
        features: the columns to predict from; None takes every column that has no other role.
        categorical: the features that are categories, even if they hold numbers.
        weight: the column of the rows' weights.
        validation: the columns that split the rows, by the keys of `validation` that name them.
    """

    target: str
    features: tuple[str, ...] | None = None
    categorical: tuple[str, ...] = ()
    weight: str | None = None
    validation: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        target: str,
        features: Sequence[str] | None,
        validation: Mapping[str, Any],
        *,
        categorical: Sequence[str] = (),
        weight: str | None = None,
    ) -> Roles:
        """Return the roles that a script's constants give."""
        splitting = {key: validation[key] for key in SPLITTING if validation.get(key) is not None}
        return cls(target, None if features is None else tuple(features), tuple(categorical), weight, splitting)

    def held_out(self, features: Sequence[str]) -> Roles:
        """Return the roles in a table of validation rows, which are not split."""
        return dataclasses.replace(self, features=tuple(features), validation={})

    @property
    def columns(self) -> list[str] | None:
        """The columns to read; None for all."""
        return None if self.features is None else list(dict.fromkeys([*self.features, *self._named]))

    @property
    def float32(self) -> Container[str]:
        """The columns of which a model needs no more than float32: the other features."""
        whole = {*self._named, *self.categorical}
        return EveryBut(whole) if self.features is None else [name for name in self.features if name not in whole]

    def features_in(self, columns: Sequence[str]) -> list[str]:
        """Return the features, given the columns that the table has."""
        unused = (self.target, self.weight, self.validation.get("column"), self.validation.get("group_column"))
        return [name for name in columns if name not in unused] if self.features is None else list(self.features)

    def require_all(self, location: Location, columns: Sequence[str]) -> None:
        """Check that a table has all columns.

        Raises:
            InputError: names the one that it lacks, and the setting.
        """
        for setting, names in self._settings():
            try:
                require(location, names, columns)
            except InputError as error:
                raise InputError(f"{error} Fix {setting}.") from None

    def explained(self, error: InputError) -> InputError:
        """Return an error of a reader with the setting that names the column that it lacks."""
        setting = next((key for key, names in self._settings() if any(f" has no column `{name}`" in str(error) for name in names)), "")
        return InputError(f"{error} Fix {setting}." if setting else str(error))

    @property
    def _named(self) -> list[str]:
        """The columns that are read beside the features."""
        return [self.target, *([self.weight] if self.weight is not None else []), *self.validation.values()]

    def _settings(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Yield each setting with the columns that it names."""
        yield "target_column", [self.target]
        yield "feature_columns", self.features or ()
        yield "categorical_columns", self.categorical
        yield "weight_column", [self.weight] if self.weight is not None else ()
        yield from ((f"validation.{key}", [name]) for key, name in self.validation.items())


class EveryBut:
    """All names except some: a table's header is not read yet when its features are chosen."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __contains__(self, name: object) -> bool:
        return name not in self._names
