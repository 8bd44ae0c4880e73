"""The types that pandas guesses of a text's columns, piece by piece, and what they are in the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .columns import is_number

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import pandas as pd

# From here on a decimal, which a gap makes of a whole number, does not have all its digits.
_LONG = 2**53
_NUMBERS = ("whole", "long", "decimal")
_TEXT, _DECIMAL, _BLANKS, _EMPTY = "text", "decimal", "blanks", "empty"


class ColumnTypes:
    """What the pieces of a table have shown of its columns.

    Args:
        exact: the columns in which 7 and 7.0 are two values: a gap in a later piece changes those of the earlier ones.
        blanks_of: returns the blanks by which a column of numbers looks like text.
        without_blanks: the columns whose blanks were read as gaps, which is right if numbers are left.

    Attributes:
        wrong: the columns that some piece was read with another type than the whole table has: `text`, `decimal`, or `blanks`, which are
            numbers and blanks.
        blanks: the blanks of these.
    """

    def __init__(
        self,
        exact: Collection[str],
        blanks_of: Callable[[str, pd.Series], list[str]],
        without_blanks: Collection[str] = (),
    ) -> None:
        self._exact = exact
        self._without_blanks = without_blanks
        self._blanks_of = blanks_of
        self._types: dict[str, str] = {}
        self._kinds_of: dict[str, set[str]] = {}
        self.blanks: dict[str, set[str]] = {}

    def add(self, name: str, values: pd.Series | None) -> None:
        """Add a piece of a column; None where the piece lacks the column."""
        kind = _EMPTY if values is None else self._type_of(name, values)
        self._kinds_of.setdefault(name, set()).add(kind)
        self._types[name] = _joined(self._types.get(name, kind), kind)

    @property
    def wrong(self) -> dict[str, str]:
        """By name, the type that the whole table has, for the columns of which some piece was read with another."""
        return {name: kind for name, kind in self._types.items() if self._is_wrong(name, kind)}

    def _is_wrong(self, name: str, kind: str) -> bool:
        before = self._kinds_of[name] - {kind, _EMPTY}
        if kind == _DECIMAL:
            # A whole number and the decimal of it are the same number, unless it is a long one.
            return bool(before & {"long", *({"whole"} if name in self._exact else ())})
        if name in self._without_blanks and kind not in (*_NUMBERS, _EMPTY):
            return True
        return kind == _BLANKS or (kind != "long" and bool(before))

    def _type_of(self, name: str, values: pd.Series) -> str:
        import pandas as pd

        if not values.notna().any():
            return _EMPTY
        if is_number(values):
            if not pd.api.types.is_integer_dtype(values.dtype):
                return _DECIMAL
            return "long" if max(abs(int(values.min())), abs(int(values.max()))) > _LONG else "whole"
        if isinstance(values.dtype, pd.CategoricalDtype):
            return "category"  # as it was asked for
        inferred = str(pd.api.types.infer_dtype(values, skipna=True))
        if inferred != "string":
            return inferred
        blanks = self._blanks_of(name, values)
        self.blanks.setdefault(name, set()).update(blanks)
        return _BLANKS if blanks else _TEXT


def _joined(first: str, second: str) -> str:
    """Return the type of a column of which two pieces have these."""
    if first == second:
        return first
    both = {first, second}
    if _EMPTY in both:
        (other,) = both - {_EMPTY}
        # A gap makes decimals of whole numbers.
        return _DECIMAL if other in ("whole", "long") else other
    if both <= {"whole", "long"}:
        return "long"
    if both <= set(_NUMBERS):
        return _DECIMAL
    return _BLANKS if both <= {*_NUMBERS, _BLANKS} else _TEXT
