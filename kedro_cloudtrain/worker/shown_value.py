"""A value of a table as a message shows it."""

from __future__ import annotations

import datetime as dt

import numpy as np


def shown(value: object) -> str:
    """Return a value without the name of its type: text in quotes, numbers and dates bare."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, dt.date | dt.timedelta):  # pandas' times are of these types too
        return str(value).removesuffix(" 00:00:00")
    return repr(value)
