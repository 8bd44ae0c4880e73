"""What is said of a column that holds other values than a model has learned from."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.matching import mismatches, unknown_values
from kedro_cloudtrain.worker.shown_value import shown

FEATURES = Features.fit(pd.DataFrame({"distance": [1.0, 2.5, 4.0]}), ["distance"])
ALL = {
    "infinity": ([np.inf, np.inf], "holds numbers larger than a model can use (such as inf): each would count as missing"),
    "more than 32 bits": ([1e300, -1e300], "holds numbers larger than a model can use (such as 1e+300): each would count as missing"),
    "as objects": (pd.Series([np.inf, -np.inf], dtype=object), "holds numbers larger than a model can use (such as inf): each would"),
    "text": (["far", "near"], "holds text (such as 'far'), and the model was trained on numbers: each would count as missing"),
    "text and infinity": (pd.Series(["far", np.inf], dtype=object), "holds text (such as 'far'), and the model was trained on numbers"),
}
SOME = {
    "infinity": ([1.0, np.inf], "1 of 2 values in its first rows that are numbers larger than a model can use, such as inf"),
    "text": (["1.0", "far"], "1 of 2 values in its first rows that are not numbers, such as 'far'"),
    "text and infinity": (
        pd.Series([1.0, "far", np.inf], dtype=object),
        "2 of 3 values in its first rows that are not numbers, such as 'far'",
    ),
}


@pytest.mark.parametrize(("values", "clause"), ALL.values(), ids=ALL)
def test_a_column_without_a_value_for_the_model_is_named_with_the_reason(values, clause):
    (mismatch,) = mismatches(FEATURES, pd.DataFrame({"distance": values}))

    assert clause in mismatch


@pytest.mark.parametrize(("values", "clause"), SOME.values(), ids=SOME)
def test_some_values_that_a_model_does_not_know_are_named_with_the_reason(values, clause):
    (note,) = unknown_values(FEATURES, pd.DataFrame({"distance": values}))

    assert clause in note


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("far", "'far'"),
        (np.float64(1e300), "1e+300"),
        (np.int64(7), "7"),
        (np.bool_(True), "True"),
        (pd.Timestamp("2026-01-31"), "2026-01-31"),
        (pd.Timestamp("2026-01-31 12:30"), "2026-01-31 12:30:00"),
        (np.datetime64("2026-01-31"), "2026-01-31"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (pd.Timedelta("2h"), "0 days 02:00:00"),
    ],
)
def test_a_message_shows_a_value_without_the_name_of_its_type(value, text):
    assert shown(value) == text
