"""Columns of numbers that float32 makes one of, and of those that it tells apart."""

from __future__ import annotations

import numpy as np
import pandas as pd

K = np.arange(500)
FAR = {
    "ids": pd.Series(4_000_000_000 + K),
    "ids with a gap": pd.Series(4_000_000_000 + K).where(K != 7),
    "nullable ids": pd.Series(4_000_000_000 + K, dtype="Int64").where(K != 7),
    "ids below zero": pd.Series(-4_000_000_000 - K),
    "64-bit ids": pd.Series(1_790_000_000_000_000_000 + K),
    "nullable 64-bit ids": pd.Series(1_790_000_000_000_000_000 + K, dtype="Int64"),
    "64-bit ids without a sign": pd.Series(2**63 + K.astype(np.uint64)),
    "milliseconds of a few minutes": pd.Series(1_767_000_000_000 + 1000 * K),
    "microseconds of a day": pd.Series(1_767_000_000_000_000 + 172_800_000 * K),
    "metres on a map": pd.Series(5_432_100.25 + K / 4),
    "metres on a map, one of them coded": pd.Series(5_432_100.25 + K / 4).where(K != 7, -999.0),
    "near to one": pd.Series(1 + K * 1e-9),
    "as text": pd.Series((4_000_000_000 + K).astype(str), dtype=object).map(int).astype(object),
}
NEAR = {
    "small numbers": pd.Series(K),
    "years": pd.Series(1990 + K % 30),
    "as many as float32 holds": pd.Series(2**24 - K),
    "decimals": pd.Series(K / 7),
    "large and wide": pd.Series(K * 1e9 + 0.5),
    "one number": pd.Series(np.full(500, 0.1)),
    "nothing": pd.Series(np.full(500, np.nan)),
    "truths": pd.Series(K % 2 == 0),
}
