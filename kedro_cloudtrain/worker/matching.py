"""Whether a table's values match what the model was trained on; a value that does not match counts as missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .kinds import kind_of
from .shown_value import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from .encoding import Column, Features

_NOUNS = {"number": "numbers", "boolean": "true and false", "date": "dates", "category": "text"}
# Models learn from 32-bit numbers, and no tree can split at infinity.
_TOO_LARGE = "numbers larger than a model can use"
_SHOWN = 5
_FIRST_ROWS = 1000


def mismatches(features: Features, frame: pd.DataFrame) -> Iterator[str]:
    """Yield the columns none of whose values a model can use, and which it has learned otherwise: each as a clause.

    Args:
        features: the model's.
        frame: some rows of the table; a column that it lacks is passed over.
    """
    for column, values, unused in _encoded(features, frame):
        # A date's number would be the days since 1970.
        is_other = column.kind in ("number", "boolean") and kind_of(values) == "date"
        if column.kind != "category" and (is_other or unused.all()):
            example = f"(such as {shown(values.iloc[0])})"
            if _too_large(column, values):
                yield f"column `{column.name}` holds {_TOO_LARGE} {example}: each would count as missing"
                continue
            yield (
                f"column `{column.name}` holds {_NOUNS[kind_of(values)]} {example}, and the model was trained on {_NOUNS[column.kind]}: "
                + ("each would count as its days" if is_other else "each would count as missing")
            )


def refuse_dates(features: Features, frame: pd.DataFrame) -> None:
    """Check that no column of numbers holds dates, each of which would count as the days since 1970.

    Any other value that a model cannot use counts as missing, as it does in a single row.

    Raises:
        InputError: one holds dates.
    """
    names = {str(name): name for name in reversed(frame.columns)}
    for column in features.columns:
        if column.kind in ("number", "boolean") and column.name in names and kind_of(frame[names[column.name]].head(_FIRST_ROWS)) == "date":
            raise InputError(
                f"The column `{column.name}` holds dates, and the model was trained on {_NOUNS[column.kind]}. Make numbers of them before "
                "the prediction."
            )


def unknown_categories(features: Features, frame: pd.DataFrame) -> Iterator[str]:
    """Yield the columns of categories none of whose values the model knows: each as a clause.

    Args:
        features: the model's.
        frame: some rows of the table; a column that it lacks is passed over.
    """
    for column, values in _unused(features, frame):
        if column.kind == "category":
            categories = ", ".join(column.categories[:_SHOWN]) + (", …" if len(column.categories) > _SHOWN else "")
            yield (
                f"column `{column.name}` has none of the model's {len(column.categories)} categories ({categories}) in its first rows, but "
                f"such as {shown(values.iloc[0])}: each counts as missing"
            )


def unknown_values(features: Features, frame: pd.DataFrame) -> Iterator[str]:
    """Yield the columns some of whose values a model cannot use, but not all: each as a clause.

    Args:
        features: the model's.
        frame: the first rows of the table; a column that it lacks is passed over.
    """
    for column, values, unused in _encoded(features, frame):
        if 0 < unused.sum() < len(values):
            nouns = _NOUNS[column.kind].replace(" and ", " or ")
            fault = "the model does not know" if column.kind == "category" else f"are not {nouns}"
            if _too_large(column, values[unused]):
                fault = f"are {_TOO_LARGE}"
            yield (
                f"column `{column.name}` has {int(unused.sum()):,} of {len(values):,} values in its first rows that {fault}, such as "
                f"{shown(values[unused].iloc[0])}: each counts as missing"
            )


def _too_large(column: Column, values: pd.Series) -> bool:
    """Return whether values of which the model can use none are numbers nevertheless."""
    return column.kind == "number" and kind_of(values) == "number"


def _unused(features: Features, frame: pd.DataFrame) -> Iterator[tuple[Column, pd.Series]]:
    """Yield each column that has values, all of which the model takes for missing."""
    for column, values, unused in _encoded(features, frame):
        if unused.all():
            yield column, values


def _encoded(features: Features, frame: pd.DataFrame) -> Iterator[tuple[Column, pd.Series, NDArray[np.bool_]]]:
    """Yield each column that has values, with those and with which of them the model takes for missing."""
    names = {str(name): name for name in reversed(frame.columns)}
    for column in features.columns:
        if column.name not in names:
            continue
        values = frame[names[column.name]].dropna()
        if len(values):
            yield column, values, np.isnan(column.encode(values))
