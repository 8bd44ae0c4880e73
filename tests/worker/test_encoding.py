from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import warnings

import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker.encoding import Column, Features
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.target import Target


def fit(values, name="x"):
    return Column.fit(pd.Series(values, name=name))


@pytest.mark.parametrize(
    ("values", "kind", "encoded"),
    [
        ([1, 2, 3], "number", [1, 2, 3]),
        ([1.5, np.nan, np.inf], "number", [1.5, np.nan, np.nan]),
        (np.array([1.5, -np.inf], dtype=np.float32), "number", [1.5, np.nan]),
        (np.array([1.5, 2], dtype=np.float32), "number", [1.5, 2]),
        (np.array([1, 255], dtype=np.uint8), "number", [1, 255]),
        ([1e300, 1.0], "number", [np.nan, 1]),
        (pd.array([1, None, 3], dtype="Int64"), "number", [1, np.nan, 3]),
        (pd.array([1.5, None], dtype="Float32"), "number", [1.5, np.nan]),
        ([decimal.Decimal("1.5"), None], "number", [1.5, np.nan]),
        (pd.Series([1, 2.5, None], dtype=object), "number", [1, 2.5, np.nan]),
        (pd.Series([None, None], dtype=object), "number", [np.nan, np.nan]),
        (pd.Series([None, None], dtype="string"), "category", [np.nan, np.nan]),
        ([np.nan, np.nan], "number", [np.nan, np.nan]),
        ([True, False], "boolean", [1, 0]),
        (pd.Series([True, None, False], dtype=object), "boolean", [1, np.nan, 0]),
        (pd.array([True, None, False], dtype="boolean"), "boolean", [1, np.nan, 0]),
        (pd.to_datetime(["1970-01-02", None]), "date", [1, np.nan]),
        (pd.to_datetime(["1970-01-02T12:00"]).tz_localize("UTC"), "date", [1.5]),
        (pd.to_datetime(["1970-01-02T01:00"]).tz_localize("Europe/Berlin"), "date", [1]),
        (["1970-01-03", None, "1970-01-01"], "date", [2, np.nan, 0]),
        (["1970-01-01T12:00:00Z", "1970-01-02T00:00:00+00:00"], "date", [0.5, 1]),
        (["1970-01-01 12:00:00.5"], "date", [0.5 + 0.5 / 86400]),
        (pd.Series([dt.date(1970, 1, 3), None], dtype=object), "date", [2, np.nan]),
        (pd.to_timedelta([36, None], unit="h"), "date", [1.5, np.nan]),
        (["b", "a", None, "b"], "category", [1, 0, np.nan, 1]),
        (pd.Series(["b", "a"], dtype="string"), "category", [1, 0]),
        (pd.Series([1, "a"], dtype=object), "category", [0, 1]),
        (pd.Categorical([10, 9, None]), "category", [0, 1, np.nan]),
        (["2024-01-01", "no date"], "category", [0, 1]),
        (["2024-01-01", "2024-13-45"], "category", [0, 1]),
        (["2024-01-01"] * 100 + ["later"], "category", [0] * 100 + [1]),
    ],
)
def test_a_column_becomes_numbers(values, kind, encoded) -> None:
    column = fit(values)
    assert column.kind == kind
    numbers = column.encode(pd.Series(values, name="x"))
    assert numbers.dtype == np.float32
    np.testing.assert_allclose(numbers + column.origin, np.array(encoded, dtype=np.float32))


def test_encoding_leaves_the_frame_as_it_was() -> None:
    frame = pd.DataFrame({"a": np.array([np.inf, 1], dtype=np.float32)})
    Features.fit(frame, ["a"]).matrix(frame)
    assert np.isinf(frame["a"].iloc[0])


def test_values_unlike_the_training_rows_count_as_missing() -> None:
    assert np.isnan(fit(["a", "b"]).encode(pd.Series(["c", None, 3]))).all()
    np.testing.assert_array_equal(fit([1, 2]).encode(pd.Series(["3", "x", None])), [3, np.nan, np.nan])
    np.testing.assert_array_equal(fit([True, False]).encode(pd.Series(["x", None, True], dtype=object)), [np.nan, np.nan, 1])
    np.testing.assert_array_equal(fit([True, False]).encode(pd.Series([1.0, np.nan])), [1, np.nan])
    np.testing.assert_array_equal(fit(["1970-01-02"]).encode(pd.Series(["gone", "1970-01-03"])), [np.nan, 1])
    np.testing.assert_array_equal(fit(["1970-01-02"]).encode(pd.to_datetime(pd.Series(["1970-01-05"]))), [3])


def test_the_far_future_is_a_date_too() -> None:
    values = pd.Series(np.array(["1970-01-02", "9999-12-31"], dtype="datetime64[us]"))
    np.testing.assert_allclose(fit(values).encode(values), [0, 2932895])


def test_times_a_second_apart_stay_apart() -> None:
    values = pd.Series(pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(60), unit="s"))
    column = fit(values)
    np.testing.assert_allclose(column.encode(values) * 86_400, np.arange(60), atol=1e-3)
    assert column.scale == pytest.approx(np.std(np.arange(60)) / 86_400, rel=1e-4)


def test_numbers_in_a_header_are_names() -> None:
    frame = pd.DataFrame({2024: [1.0, 2.0], "2025": [3.0, 4.0]})
    features = Features.fit(frame.rename(columns=str), ["2024", "2025"])
    np.testing.assert_array_equal(features.matrix(frame), [[1, 3], [2, 4]])


def test_an_output_that_is_no_prediction_is_refused() -> None:
    two, three = target(["a", "b"], "binary_classification"), target(["a", "b", "c"])
    for kind, output in (
        (target([1.0, 2.0], "regression"), np.zeros((4, 2))),
        (two, np.array([0.5, 1.5])),
        (two, np.array([0.5, -0.1])),
        (two, np.zeros((4, 2))),
        (three, np.array([0.0, 1.0])),
        (three, np.array([[0.0, 1.0]])),
        (three, np.array([[0.0, 2.0, 1.0]])),
    ):
        with pytest.raises(InputError, match="objective"):
            kind.check_output(output)
    target([1.0, 2.0], "regression").check_output(np.array([-5.0, 5.0]))
    two.check_output(np.array([0.0, 1.0]))
    three.check_output(np.array([[0.2, 0.3, 0.5000001]]))


def test_a_constant_has_the_scale_one_whatever_its_rounding() -> None:
    column = fit(np.full(1003, 0.1))
    assert column.scale == 1
    assert column.mean == pytest.approx(0.1)
    assert fit([5.0]).scale == 1
    assert fit([1.0, 3.0]).scale == 1
    assert fit([2.0, 6.0]).scale == 2
    assert (fit([np.nan]).mean, fit([np.nan]).scale) == (0, 1)


def test_a_frame_becomes_what_each_library_wants() -> None:
    frame = pd.DataFrame({"n": [1.0, 3.0, np.nan], "c": ["x", None, "y"], "b": [True, False, True], "unused": 0})
    features = Features.fit(frame, ["n", "c", "b"])
    matrix = features.matrix(frame)
    np.testing.assert_array_equal(matrix, np.array([[1, 0, 1], [3, np.nan, 0], [np.nan, 1, 1]], dtype=np.float32))
    assert features.category_indexes == [1]
    assert features.types == ["q", "c", "q"]
    assert features.vocabulary_sizes == [3]
    mixed = features.mixed_frame(matrix)
    assert list(mixed["1"]) == [0, -1, 1]
    assert list(mixed["1"].cat.categories) == [-1, 0, 1]
    few = features.mixed_frame(matrix[:2])  # no more rows than categories
    assert list(few["1"]) == [0, -1]
    assert few["1"].dtype == np.int32
    assert mixed["0"].dtype == np.float32
    numbers, codes = features.network_inputs(matrix)
    np.testing.assert_allclose(numbers[:, 0], [-1, 1, 0])
    np.testing.assert_array_equal(numbers[:, 2:], [[0], [0], [1]])  # `b` has no gap, and therefore no flag
    np.testing.assert_array_equal(codes, [[1], [0], [2]])
    assert codes.dtype == np.int32
    with pytest.raises(InputError, match=r"no column `n`. Did you mean `nn`\? The model needs n, c, b"):
        features.matrix(frame.rename(columns={"n": "nn"}))
    with pytest.raises(InputError, match=r"no column `n`. The model"):
        features.matrix(pd.DataFrame({"other thing": [1]}))


@pytest.mark.parametrize(
    ("values", "gaps"),
    [
        ([1.0, 2.0], False),
        ([1.0, None], True),
        ([None, None], False),
        ([1.0, np.inf], True),
        ([True, None], True),
        (["2024-01-01", None], True),
    ],
)
def test_a_network_has_a_flag_for_what_some_training_rows_lack(values, gaps) -> None:
    frame = pd.DataFrame({"x": values, "whole": [1.0, 2.0]})
    features = Features.fit(frame, ["x", "whole"])
    assert features.columns[0].gaps is gaps
    # Rows of later on have the columns of the training rows, whatever they lack.
    later = pd.DataFrame({"x": [None, None, values[0]], "whole": [None, 1.0, 2.0]})
    numbers = features.network_inputs(features.matrix(later))[0]
    assert numbers.shape == (3, 2 + gaps)
    assert not np.isnan(numbers).any()
    if gaps:
        np.testing.assert_array_equal(numbers[:, 2], [1, 1, 0])


def test_a_model_of_before_flags_were_told_apart_has_one_for_each_column() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0], "y": [1.0, None]})
    fields = [
        {name: value for name, value in dataclasses.asdict(column).items() if name != "gaps"}
        for column in Features.fit(frame, ["x", "y"]).columns
    ]
    before = Features(tuple(Column(**each) for each in fields))
    np.testing.assert_array_equal(before.network_inputs(before.matrix(frame))[0][:, 2:], [[0, 0], [0, 1]])


def target(values, task="multiclass_classification"):
    return Target.fit(pd.Series(values, name="t"), task)


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([9, 3, 5, 3], (3, 5, 9)),
        ([9.0, 3.0], (3, 9)),
        ([0.5, 1.0], (0.5, 1.0)),
        ([-1, 1], (-1, 1)),
        (pd.array([2, 1], dtype="Int64"), (1, 2)),
        ([True, False], (False, True)),
        (pd.array([True, False], dtype="boolean"), (False, True)),
        (pd.Series([True, False], dtype=object), (False, True)),
        (["b", "ä", "a"], ("a", "b", "ä")),
        (pd.Categorical(["b", "a"], categories=["b", "a", "unused"]), ("a", "b")),
        (pd.Categorical([10, 9]), (9, 10)),
        (pd.Series([1, "a"], dtype=object), ("1", "a")),
    ],
)
def test_classes_keep_their_type(values, classes) -> None:
    learned = target(values)
    assert learned.classes == classes
    assert [type(each) for each in learned.classes] == [type(each) for each in classes]
    codes = learned.encode(pd.Series(values))
    assert codes.dtype == np.int32
    decoded = learned.decode(np.eye(len(classes))[codes])
    assert decoded.tolist() == [type(classes[0])(each) for each in pd.Series(values)]


def test_targets_that_do_not_fit_are_refused() -> None:
    for values, task, words in (
        (["a", "b"], "regression", "holds text"),
        (["2024-01-01"], "regression", "holds dates"),
        ([1.0, np.inf], "regression", "infinite"),
        ([3, 3], "binary_classification", "one class only, 3"),
        (["x"], "multiclass_classification", "one class only, 'x'"),
        (list(range(20)), "binary_classification", r"20 classes \(0, 1, 2, 3, 4, 5, 6, 7, …\)"),
    ):
        with pytest.raises(InputError, match=words):
            target(values, task)
    with pytest.raises(InputError, match="classes that no training row has: c, d"):
        target(["a", "b"]).encode(pd.Series(["a", "d", "c"]))
    learned = target([1, 2], "regression")
    for values in (["x", "y"], [1.0, np.inf]):
        with pytest.raises(InputError, match="`t`"):
            learned.encode(pd.Series(values, name="t"))


def test_a_regression_takes_numbers_of_any_kind() -> None:
    for values in ([1, 2], [True, False], pd.array([1, 2], dtype="Int64"), pd.array([True, False], dtype="boolean")):
        learned = target(values, "regression")
        numbers = learned.encode(pd.Series(values, name="t"))
        assert numbers.dtype == np.float32
        assert learned.decode(numbers).dtype == np.float64
    decimals = pd.Series([decimal.Decimal("1.5")], name="t")
    assert target(decimals, "regression").encode(decimals).tolist() == [1.5]


def test_probabilities_are_one_column_a_class() -> None:
    binary = target(["n", "y"], "binary_classification")
    np.testing.assert_allclose(binary.probabilities(np.array([[0.25], [0.75]])), [[0.75, 0.25], [0.25, 0.75]])
    assert binary.decode(np.array([0.25, 0.75, 0.5])).tolist() == ["n", "y", "n"]
    wide = target([1, 2, 3]).probabilities(np.array([[1, 1, 2]], dtype=np.float32))
    np.testing.assert_allclose(wide, [[0.25, 0.25, 0.5]])


def test_no_warning_reaches_the_log() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = pd.DataFrame({"huge": [1e300, 1.0], "date": ["2024-01-01", None], "c": ["a", None], "b": [None, True]})
        Features.fit(frame, list(frame)).network_inputs(Features.fit(frame, list(frame)).matrix(frame))
