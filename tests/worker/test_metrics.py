from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from kedro_cloudtrain.worker.metrics import measure
from kedro_cloudtrain.worker.target import Target

RANDOM = np.random.default_rng(0)


def test_a_regression_is_measured_as_scikit_learn_does() -> None:
    truth, output = RANDOM.normal(size=50).astype(np.float32), RANDOM.normal(size=(50, 1))
    measured = measure(Target("y", "regression"), truth, output)
    flat, exact = output.reshape(-1), truth.astype(np.float64)
    assert measured == pytest.approx(
        {
            "rmse": sk.root_mean_squared_error(exact, flat),
            "mse": sk.mean_squared_error(exact, flat),
            "mae": sk.mean_absolute_error(exact, flat),
            "r2": sk.r2_score(exact, flat),
            "mape": sk.mean_absolute_percentage_error(exact, flat),
        }
    )
    assert measure(Target("y", "regression"), truth[:1], flat[:1])["r2"] is None


def test_a_binary_classification_is_measured_as_scikit_learn_does() -> None:
    truth, output = RANDOM.integers(0, 2, 60), RANDOM.random(60)
    measured = measure(Target("y", "binary_classification", ("n", "y")), truth, output)
    predicted = output > 0.5
    assert measured.pop("classes") == ["n", "y"]
    assert measured.pop("confusion_matrix") == sk.confusion_matrix(truth, predicted).tolist()
    assert measured == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, predicted),
            "roc_auc": sk.roc_auc_score(truth, output),
            "pr_auc": sk.average_precision_score(truth, output),
            "log_loss": sk.log_loss(truth, output),
            "f1": sk.f1_score(truth, predicted),
            "precision": sk.precision_score(truth, predicted),
            "recall": sk.recall_score(truth, predicted),
        }
    )


def test_a_multiclass_classification_is_measured_as_scikit_learn_does() -> None:
    truth, output = RANDOM.integers(0, 3, 60), RANDOM.dirichlet([1, 1, 1], 60)
    measured = measure(Target("y", "multiclass_classification", (3, 5, 9)), truth, output)
    predicted = output.argmax(axis=1)
    assert measured.pop("classes") == [3, 5, 9]
    assert measured.pop("confusion_matrix") == sk.confusion_matrix(truth, predicted).tolist()
    assert measured == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, predicted),
            "macro_f1": sk.f1_score(truth, predicted, average="macro"),
            "log_loss": sk.log_loss(truth, output),
        }
    )


def test_rows_of_one_class_have_no_auc_and_give_no_error() -> None:
    measured = measure(
        Target("y", "binary_classification", (False, True)), np.zeros(4, int), np.array([0.1, 0.2, 0.3, 0.9], dtype=np.float32)
    )
    assert (measured["roc_auc"], measured["pr_auc"], measured["recall"], measured["accuracy"]) == (None, None, 0, 0.75)
    assert measured["confusion_matrix"] == [[3, 1], [0, 0]]
    certain = measure(Target("y", "binary_classification", (0, 1)), np.array([0, 1]), np.array([0.0, 1.0]))
    assert certain["log_loss"] == pytest.approx(0)
    many = measure(Target("y", "multiclass_classification", ("a", "b", "c")), np.array([1]), np.array([[0.2, 0.5, 0.3]]))
    assert many["confusion_matrix"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    json.dumps([measured, certain, many], allow_nan=False)


def test_a_row_of_no_weight_is_no_row() -> None:
    truth, output, weight = RANDOM.integers(0, 2, 40), RANDOM.random(40), RANDOM.integers(0, 3, 40).astype(float)
    target = Target("y", "binary_classification", ("n", "y"))
    repeated = measure(target, truth.repeat(weight.astype(int)), output.repeat(weight.astype(int)))
    weighted = measure(target, truth, output, weight)
    assert weighted.pop("classes") == repeated.pop("classes")
    assert np.array_equal(weighted.pop("confusion_matrix"), repeated.pop("confusion_matrix"))
    assert weighted == pytest.approx(repeated)
    of_one_class = measure(target, truth, output, (truth == 1) * 2.0)
    assert of_one_class["roc_auc"] is None
    assert of_one_class["confusion_matrix"][0] == [0, 0]


def test_a_deviance_that_is_not_defined_is_none() -> None:
    truth, output = np.array([0.0, 1.0, 2.0], dtype=np.float32), np.array([0.5, 1.0, 2.0])
    assert measure(Target("y", "regression"), truth, output, loss=("poisson_deviance", 1))["poisson_deviance"] > 0
    assert measure(Target("y", "regression"), truth, output, loss=("gamma_deviance", 2))["gamma_deviance"] is None
    assert measure(Target("y", "regression"), truth, -output, loss=("tweedie_deviance", 1.5))["tweedie_deviance"] is None
