"""Categories by the distinct values of a column are those by the text of each value."""

from __future__ import annotations

import decimal
import enum
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker.encoding import Column, Features


class Size(str, enum.Enum):  # noqa: UP042  # its text is not its value, to which it is equal
    SMALL = "small"


K = np.arange(300)
MOMENT = pd.Timestamp("2026-01-01", tz="UTC")
COLUMNS: dict[str, Any] = {
    "texts": pd.Series(np.array(["b", "a", "ä", ""])[K % 4]),
    "texts with gaps": pd.Series(["b", None, "a"] * 100),
    "texts as objects": pd.Series(["b", None, np.nan, pd.NA, "a", "10", "9"] * 40, dtype=object),
    "strings": pd.Series(["b", None, "a"] * 100, dtype="string"),
    "strings of Python": pd.Series(["b", None, "a"] * 100, dtype="string[python]"),
    "equal, and three texts": pd.Series([1, 1.0, True, "1", None, "x"] * 50, dtype=object),
    "two zeros among texts": pd.Series([0.0, -0.0, "x"] * 100, dtype=object),
    "decimals among texts": pd.Series([decimal.Decimal("1.0"), decimal.Decimal("1.00"), "x"] * 100, dtype=object),
    "a text that is another's equal": pd.Series([Size.SMALL, "small", "large"] * 100, dtype=object),
    "moments in two zones": pd.Series([MOMENT, MOMENT.tz_convert("Europe/Berlin"), "x"] * 100, dtype=object),
    "categories": pd.Series(pd.Categorical(["q", None, "p"] * 100, categories=["unused", "q", "p"])),
    "categories of numbers": pd.Series(pd.Categorical(K % 7 * 10)),
    "categories of float32": pd.Series(pd.Categorical(np.array([0.1, 0.25], dtype=np.float32)[K % 2])),
    "categories of one text": pd.Series(pd.Categorical([1, "1", 2] * 100)),
    "nothing": pd.Series([None] * 300, dtype="string"),
    "one for each row": pd.Series([f"id {number}" for number in K]),
}


def by_each_value(values: pd.Series, training: pd.Series) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the categories of the training rows and the codes of some, from the text of each value."""
    texts, learned = (each.astype(object).map(str, na_action="ignore") for each in (values, training))
    categories = sorted(set(learned.dropna()))
    return tuple(categories), np.array([categories.index(text) if text in categories else np.nan for text in texts], dtype=np.float32)


@pytest.mark.parametrize("name", COLUMNS)
def test_categories_are_those_of_each_values_text(name: str) -> None:
    values = COLUMNS[name].rename("x")
    for training in (values, values[:10], values[::4]):
        column, codes = Column.fit_encode(training)
        assert column.kind == "category"
        assert column.categories == by_each_value(values, training)[0]
        np.testing.assert_array_equal(codes, by_each_value(training, training)[1])
        encoded = column.encode(values)
        assert encoded.dtype == np.float32
        np.testing.assert_array_equal(encoded, by_each_value(values, training)[1])
    assert len(column.encode(values[:0])) == 0


def test_a_value_of_another_type_is_known_by_its_text() -> None:
    column = Column.fit(pd.Series(["1", "2", "True", "x"]))
    np.testing.assert_array_equal(column.encode(pd.Series([2, 1, 3])), [1, 0, np.nan])
    np.testing.assert_array_equal(column.encode(pd.Series([True, False])), [2, np.nan])
    np.testing.assert_array_equal(column.encode(pd.Series([["x"], "x"], dtype=object)), [np.nan, 3])


def test_some_rows_of_a_frame_are_learned_and_encoded_as_a_frame_of_them() -> None:
    frame = pd.DataFrame(
        {
            **{
                name: values[:280].to_numpy(dtype=object) if name == "texts as objects" else values[:280].array
                for name, values in COLUMNS.items()
            },
            "float32": (K[:280] / 7).astype(np.float32),
            "integers": K[:280] % 9,
            "nullable": pd.array([1, None, 3, 4] * 70, dtype="Int64"),
            "truths": K[:280] % 2 == 0,
            "days": pd.Timestamp("2026-01-01") + pd.to_timedelta(K[:280], unit="h"),
            "codes": np.where(K[:280] % 5 == 0, np.nan, K[:280] % 11),
            # A text that only a row of another part has.
            "numbers in the training rows": pd.Series([*range(140), "x", *range(139)], dtype=object),
        },
        index=K[:280] * 3,
    )
    rows = np.array([index for index in range(280) if index != 140 and index % 4])
    rest = np.setdiff1d(np.arange(280), rows)
    features, matrix = Features.fit_matrix(frame, list(frame), ["codes"], rows)
    assert features == Features.fit(frame.iloc[rows], list(frame), ["codes"])
    assert {column.name: column.kind for column in features.columns}["numbers in the training rows"] == "number"
    np.testing.assert_array_equal(matrix, features.matrix(frame.iloc[rows]))
    np.testing.assert_array_equal(features.matrix(frame, rest), features.matrix(frame.iloc[rest]))
    np.testing.assert_array_equal(
        Features.fit_matrix(frame, list(frame), ["codes"])[1], features.fit(frame, list(frame), ["codes"]).matrix(frame)
    )
