"""What a column's values are to a model, and dates and numbers out of values of any type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["number", "boolean", "date", "category"]
_DATE_TEXT = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?)?\s*(Z|[+-]\d{2}:?\d{2})?"
_DAY_US = 86_400 * 10**6


def kind_of(values: pd.Series) -> Kind:
    """Return what a column's values are to a model."""
    types = pd.api.types
    by_dtype: tuple[tuple[Kind, bool], ...] = (
        ("category", isinstance(values.dtype, pd.CategoricalDtype)),
        ("boolean", types.is_bool_dtype(values.dtype)),
        ("number", types.is_numeric_dtype(values.dtype)),
        ("date", types.is_datetime64_any_dtype(values.dtype) or types.is_timedelta64_dtype(values.dtype)),
    )
    for kind, fits in by_dtype:
        if fits:
            return kind
    # Objects and text: by their values.
    kind_of_values: dict[str, Kind] = {
        "boolean": "boolean",
        **dict.fromkeys(("decimal", "integer", "floating", "mixed-integer-float", "empty"), "number"),
        **dict.fromkeys(("date", "datetime", "datetime64"), "date"),
    }
    kind_by_values = kind_of_values.get(types.infer_dtype(values, skipna=True))
    return kind_by_values or ("date" if _are_date_texts(values) else "category")


def _are_date_texts(values: pd.Series) -> bool:
    texts = values.dropna()
    if not texts.empty and texts.head(100).astype(str).str.fullmatch(_DATE_TEXT).all():
        return bool(_dates(texts).notna().all())
    return False


def _dates(values: pd.Series) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(values.dtype):
        return values.dt.tz_convert("UTC") if values.dt.tz is not None else values.dt.tz_localize("UTC")
    return pd.to_datetime(values.astype(str).where(values.notna()), format="ISO8601", utc=True, errors="coerce")


def days_of(values: pd.Series) -> NDArray[np.float64]:
    """Return dates as days since 1970-01-01, and time spans as days; NaN where missing."""
    if pd.api.types.is_timedelta64_dtype(values.dtype):
        return np.asarray(values / pd.Timedelta(days=1), dtype=np.float64)
    dates = _dates(values)
    days = dates.dt.as_unit("us").astype("int64").to_numpy() / _DAY_US
    return np.where(dates.isna(), np.nan, days)


def as_numbers(values: pd.Series, kind: Kind) -> pd.Series:
    """Return values of any type as numbers; one that is not a number is missing."""
    if values.dtype != object and pd.api.types.is_numeric_dtype(values.dtype):
        return values
    return values.map({True: 1, False: 0}) if kind == "boolean" else pd.to_numeric(values, errors="coerce")
