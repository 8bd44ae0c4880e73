"""What a record has of parameters and scores, and what it must not have."""

from __future__ import annotations

import pytest

from kedro_cloudtrain.runs.record import flat_parameters
from kedro_cloudtrain.runs.scores import best_of, higher_is_better, main_score, scores_of


def test_parameters_are_flat_whole_and_without_secrets() -> None:
    values = {
        "model": {"depth": 3, "learning": {"rate": 0.1}, "columns": ["a", "b"], "empty": {}},
        "seed": 1,
        "source": {"url": "https://anna:geheim123@example.org/x?token=abcdef123456", "api_key": "sk-geheim"},
        "listed": [{"password": "geheim456"}, "ghp_0123456789abcdefghijklmnopqrstuvwxyz"],
        "odd": {1: object, "when": {"at"}},
        "long": list(range(5000)),
    }
    flat, digest = flat_parameters(values)
    assert (flat["model.depth"], flat["model.learning.rate"], flat["model.columns"], flat["model.empty"]) == (3, 0.1, ["a", "b"], {})
    assert flat["seed"] == 1
    assert flat["long"].startswith("sha256 ")
    assert "geheim" not in str(flat)
    assert "abcdef123456" not in str(flat)
    assert "ghp_" not in str(flat)
    assert flat_parameters(values)[1] == digest
    # What is hidden or shortened still counts.
    assert len({flat_parameters(values | {"long": list(range(last))})[1] for last in (4999, 5000, 5001)}) == 3
    assert flat_parameters({"token": "one-secret"})[0] == {"token": "***"}
    assert flat_parameters({"token": "one-secret"})[1] != flat_parameters({"token": "other-secret"})[1]


@pytest.mark.parametrize(
    ("metrics", "scores"),
    [
        ({"rmse": 1, "n": True, "auc": None, "classes": ["a"], "nan": float("nan"), "inf": float("inf")}, {"rmse": 1.0}),
        ("no mapping", {}),
        (None, {}),
    ],
)
def test_scores_are_the_finite_numbers(metrics: object, scores: dict[str, float]) -> None:
    assert scores_of(metrics) == scores


@pytest.mark.parametrize(
    ("scores", "main"),
    [
        ({"accuracy": 0.9, "roc_auc": 0.95}, ("roc_auc", 0.95)),
        ({"accuracy": 0.9, "macro_f1": 0.8, "log_loss": 0.3}, ("macro_f1", 0.8)),
        ({"mse": 4.0, "rmse": 2.0, "r2": 0.5}, ("rmse", 2.0)),
        ({"profit": 12.0, "other": 1.0}, ("profit", 12.0)),
        ({}, None),
    ],
)
def test_one_score_stands_for_a_node(scores: dict[str, float], main: tuple[str, float] | None) -> None:
    assert main_score(scores) == main


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        *((name, False) for name in ("rmse", "test_rmse", "log_loss", "val-loss", "mape", "mean_error", "validation RMSE")),
        *((name, True) for name in ("accuracy", "roc_auc", "test_macro_f1", "r2", "ndcg@10", "f1-score")),
        *((name, None) for name in ("profit", "glossary", "closure", "")),
    ],
)
def test_the_better_end_of_a_score_is_known_by_its_name(name: str, higher: bool | None) -> None:
    assert higher_is_better(name) is higher


def test_the_best_are_marked_only_where_one_is_better() -> None:
    assert best_of("rmse", {0: 2.0, 1: 1.0, 2: 1.0}) == {1, 2}
    assert best_of("auc", {0: 0.5, 2: 0.7}) == {2}
    assert best_of("auc", {0: 0.5, 1: 0.5}) == set()
    assert best_of("auc", {0: 0.5}) == set()
    assert best_of("profit", {0: 1.0, 1: 2.0}) == set()
