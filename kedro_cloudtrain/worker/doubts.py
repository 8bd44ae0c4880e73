"""Columns that a table has, and of which no model learns what their author meant."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .columns import is_number
from .digits import WHOLE, have_lost_digits, span, too_far_apart
from .encoding import rows_of
from .errors import InputError
from .kinds import kind_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from numpy.typing import NDArray

_NESTED = (list, tuple, dict, set, frozenset, np.ndarray, bytes, bytearray)
# Fewer rows, or texts that are numbers, may be a category all the same.
_FEWEST_ROWS = 20
_FEWEST_NUMBERS = 10
_UNIQUE_SHARE = 0.9
_FORM_SHARE = 0.8
_SHOWN = 3
_DATE_LIKE = re.compile(r"\D*\d+\s*[./\- ]\s*\w+.*\d.*")


def nested_columns(frame: pd.DataFrame, names: Iterable[str] | None = None) -> list[str]:
    """Return the columns that hold lists, structures or bytes.

    Args:
        frame: the table, or its first rows.
        names: the columns to look at; None for all.
    """
    columns = [label for label in frame.columns if names is None or str(label) in set(names)]
    objects = [label for label in columns if frame[label].dtype == object]
    return [str(label) for label in objects if any(issubclass(kind, _NESTED) for kind in set(map(type, frame[label])))]


def nested_problem(place: str, names: Iterable[str]) -> str:
    """Return what is wrong with columns that hold lists, structures or bytes, and the way out."""
    shown = ", ".join(f"`{name}`" for name in names)
    return (
        f"{place} has lists, structures or bytes in {shown}, of which a recipe makes no numbers. Leave them out of feature_columns, or "
        "make columns of their parts in a node before."
    )


def refuse_nested(frame: pd.DataFrame, place: str) -> None:
    """Check that no column of a frame is nested.

    Raises:
        InputError: names those that are.
    """
    names = nested_columns(frame)
    if names:
        raise InputError(nested_problem(place, names))


def doubts(
    frame: pd.DataFrame, names: Iterable[str], categorical: Collection[str] = (), rows: NDArray[np.int64] | None = None
) -> Iterator[str]:
    """Yield what is doubtful about the features of some rows, a sentence each, with its cure.

    Args:
        frame: the table, or its first rows.
        names: the features.
        categorical: those that the user calls categories.
        rows: the places of the rows to look at; None for all.
    """
    wanted = set(names)
    for label in frame.columns:
        # Some rows are not farther apart than all of them: most columns of numbers end here.
        if str(label) not in wanted:
            continue
        if label not in categorical and is_number(frame[label]) and span(frame[label]) <= WHOLE and not have_lost_digits(frame[label]):
            continue
        values = rows_of(frame[label], rows)
        if values.notna().sum() >= _FEWEST_ROWS:
            if label in categorical:
                alone = _one_for_each_row(values.dropna().drop_duplicates(), int(values.notna().sum()))
                if alone:
                    yield f"`{label}` becomes a category of {values.nunique():,} values{alone}"
                continue
            yield from _about_digits(str(label), values)
            if not isinstance(values.dtype, pd.CategoricalDtype) and kind_of(values) == "category":
                texts = values.dropna()
                texts = texts if isinstance(texts.dtype, pd.StringDtype) else texts.astype(str)
                distinct = pd.Series(texts.unique(), dtype=object)
                doubt = _numbers_but(distinct) or _unread_dates(str(label), distinct) or _one_for_each_row(distinct, len(texts))
                if doubt:
                    yield f"`{label}` becomes a category of {len(distinct):,} values{doubt}"


def _about_digits(label: str, values: pd.Series) -> Iterator[str]:
    """Yield what becomes of a column's long numbers."""
    far = too_far_apart(values) if is_number(values) else 0.0
    if far:
        yield (
            f"`{label}` has whole numbers that are {far:,.0f} apart, and float32, in which a model counts, tells {WHOLE:,} of them "
            "from each other. If it is an id, leave it out of feature_columns; if it is a time, load it as a date."
        )
    if have_lost_digits(values):
        yield (
            f"`{label}` has whole numbers of more than 15 digits and missing ones, of which a csv keeps the first 15 digits. "
            f"Read it by load_args: {{dtype: {{{label}: Int64}}}}, or save the table as parquet."
        )


def _numbers_but(distinct: pd.Series) -> str:
    numbers = pd.to_numeric(distinct.str.strip(), errors="coerce").notna()
    odd = [text for text in distinct[~numbers] if text.strip()]
    if numbers.sum() < _FEWEST_NUMBERS or numbers.mean() < _FORM_SHARE or numbers.all():
        return ""
    shown = ", ".join(map(repr, odd[:_SHOWN])) + (", …" if len(odd) > _SHOWN else "") or "blanks"
    values = ", ".join(repr(text) for text in odd[:_SHOWN])
    cure = f"load_args: {{na_values: [{values}]}}, or convert it in a node before" if odd else "convert it in a node before"
    return f", but its values are numbers, except {shown}. To read numbers: {cure}."


def _unread_dates(name: str, distinct: pd.Series) -> str:
    texts = distinct.head(100)
    if texts.map(lambda text: bool(_DATE_LIKE.fullmatch(text))).mean() < _FORM_SHARE:
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the guess that is made here
        parsed = pd.to_datetime(texts, errors="coerce", format="mixed", dayfirst=True, utc=True)
        form = next(filter(None, (pd.tseries.api.guess_datetime_format(text, dayfirst=True) for text in texts)), None)
    if parsed.notna().mean() < _FORM_SHARE:
        return ""
    written = f", date_format: {form!r}" if form else ""
    return (
        f", but they look like dates, such as {texts.iloc[0]!r}. To read dates: load_args: {{parse_dates: [{name}]{written}}}, or convert "
        "them in a node before."
    )


def _one_for_each_row(distinct: pd.Series, rows: int) -> str:
    if len(distinct) < _UNIQUE_SHARE * rows:
        return ""
    return f" in {rows:,} rows: an id or free text, of which a model learns nothing for other rows. Leave it out of feature_columns."


def print_checks(sentences: Iterable[str]) -> None:
    """Print what a person should look at, a line each."""
    for sentence in sentences:
        print(f"check: {sentence}")  # noqa: T201
