"""Columns as a reader has guessed them, and what it may have guessed wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    import pandas as pd

_LOOKED_AT = 100


def is_number(values: pd.Series) -> bool:
    """Return whether a column holds numbers; booleans are not numbers."""
    import pandas as pd

    return bool(pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype))


def one_type(parts: Sequence[pd.Series | pd.Index]) -> bool:
    """Return whether parts of a column were guessed alike, so that joined they are what a guess from all of them would be."""
    import pandas as pd

    types = {_type_of(part) for part in parts}
    if len(parts) > 1 and isinstance(parts[0], pd.MultiIndex):
        return False  # its levels have types of their own
    # A missing value makes whole numbers floats, and numbers that float32 tells apart are narrow.
    return len(types) < 2 or types <= {"int64", "float64", "float32"}  # noqa: PLR2004


def _type_of(values: pd.Series | pd.Index) -> str:
    import pandas as pd

    if isinstance(values.dtype, pd.CategoricalDtype):
        return f"category of {list(values.dtype.categories)}"
    if values.dtype == object:
        return f"object of {pd.api.types.infer_dtype(values, skipna=True)}"
    return str(values.dtype)


def blanks_among_numbers(values: pd.Series) -> list[str]:
    """Return the blank texts of a column whose first other texts look like numbers."""
    import pandas as pd

    if not (pd.api.types.is_string_dtype(values.dtype) or values.dtype == object):
        return []
    texts = values.dropna()
    first = [str(text) for text in texts.head(_LOOKED_AT) if str(text).strip()]
    if not all(any(map(str.isdigit, text)) and not any(map(str.isalpha, text.lower().replace("e", ""))) for text in first):
        return []
    return sorted({text for text in texts if isinstance(text, str) and not text.strip()})


def with_blank_numbers(frame: pd.DataFrame, dtype: Any = None, *, texts: bool = True) -> pd.DataFrame:
    """Return a frame whose columns of numbers and blanks are numbers, missing where they are blank.

    Args:
        frame: the frame, which is changed.
        dtype: the types that its reader was given; such a column is left as it is.
        texts: whether a text that looks like a number is one.
    """
    import pandas as pd

    chosen: Container[Any] = frame.columns if dtype is not None and not isinstance(dtype, dict) else dtype or ()
    for label in frame.columns:
        blanks = blanks_among_numbers(frame[label]) if label not in chosen else []
        if not blanks:
            continue
        rest = frame[label].where(~frame[label].isin(blanks))
        numbers = pd.to_numeric(rest, errors="coerce").astype("float64")
        if numbers.notna().sum() == rest.notna().sum() and (texts or not rest.map(lambda value: isinstance(value, str)).any()):
            frame[label] = numbers
    return frame
