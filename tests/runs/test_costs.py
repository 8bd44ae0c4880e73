"""Dollars of runs: each pod once, by node, pipeline, GPU or month, beside the bill."""

from __future__ import annotations

import time

import pytest

from kedro_cloudtrain.runs.comparison import Comparison
from kedro_cloudtrain.runs.costs import costs, job_costs, reconcile
from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord

L4, A40 = "NVIDIA L4", "NVIDIA A40"


def machine(pod: str, kind: str, usd: float, billed: float | None = None) -> MachineRecord:
    return MachineRecord(pod=pod, machine=kind, usd_per_hour=0.4, seconds=1800, cost_usd=usd, billed_usd=billed)


@pytest.fixture
def runs() -> list[RunRecord]:
    october, november = 1_759_400_000.0, 1_762_100_000.0
    return [
        RunRecord(
            id="a",
            started_at=october,
            finished_at=october + 60,
            nodes=[
                NodeRecord(node="train", job="train-1", machines=[machine("p1", L4, 0.25, 0.5), machine("p2", A40, 0.5)]),
                NodeRecord(node="clean"),
            ],
        ),
        RunRecord(
            id="b",
            pipeline="nightly",
            started_at=november,
            finished_at=november + 60,
            # It has waited for the other run's second pod, which is paid for once.
            nodes=[
                NodeRecord(node="train", job="train-1", machines=[machine("p2", A40, 0.5)]),
                NodeRecord(node="score", job="score-2", machines=[machine("p3", L4, 1.0, 0.75)]),
            ],
        ),
    ]


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("node", [("score", 1, 1, 1.0, 0.75, -0.25), ("train", 1, 2, 0.75, 0.5, 0.25)]),
        ("pipeline", [("nightly", 1, 1, 1.0, 0.75, -0.25), ("__default__", 1, 2, 0.75, 0.5, 0.25)]),
        ("gpu", [(L4, 2, 2, 1.25, 1.25, 0.0), (A40, 1, 1, 0.5, 0.0, None)]),
        ("month", [("2025-10", 1, 2, 0.75, 0.5, 0.25), ("2025-11", 1, 1, 1.0, 0.75, -0.25)]),
    ],
)
def test_each_pod_counts_once_whatever_the_dollars_are_added_up_by(runs: list[RunRecord], by: str, expected: list[tuple]) -> None:
    groups = costs(runs, by)
    assert [(g.name, g.runs, g.pods, g.cost_usd, g.billed_usd, g.difference_usd) for g in groups] == expected
    assert sum(group.hours for group in groups) == pytest.approx(1.5)


def test_a_job_keeps_its_dollars_by_the_bill_where_that_is_known(runs: list[RunRecord]) -> None:
    assert job_costs(runs) == {"train-1": 1.0, "score-2": 0.75}
    assert runs[0].cost_usd == pytest.approx(1.0)
    assert RunRecord(id="c", nodes=[NodeRecord(node="clean")]).cost_usd is None


def test_a_bill_is_entered_once_it_is_complete(runs: list[RunRecord]) -> None:
    bills = {"p1": 0.5, "p2": 0.6, "p9": 3.0}
    assert reconcile(runs[0], bills)
    assert [use.billed_usd for use in runs[0].machines] == [0.5, 0.6]
    assert not reconcile(runs[0], bills)
    young = RunRecord(id="y", finished_at=time.time() - 600, nodes=[NodeRecord(node="train", machines=[machine("p2", L4, 0.1)])])
    assert not reconcile(young, bills)
    assert not reconcile(young.model_copy(update={"finished_at": None}), bills)


def test_a_comparison_has_what_differs_and_marks_the_better_scores(runs: list[RunRecord]) -> None:
    first, second = runs
    first.parameters, second.parameters = {"depth": 3, "seed": 1, "old": None}, {"depth": 4, "seed": 1, "new": "x"}
    first.nodes[0].scores, second.nodes[0].scores = {"rmse": 2.0, "profit": 1.0}, {"rmse": 1.5, "profit": 2.0, "r2": 0.5}
    first.nodes[0].data, second.nodes[0].data = {"table": "aaa"}, {"table": "bbb"}
    comparison = Comparison.of(runs)
    assert {line.name: line.values for line in comparison.parameters} == {"depth": (3, 4), "new": (None, "x")}
    assert {line.name: (line.values, set(line.best)) for line in comparison.scores} == {
        "train.rmse": ((2.0, 1.5), {1}),
        "train.profit": ((1.0, 2.0), set()),
        "train.r2": ((None, 0.5), set()),
    }
    assert [line.name for line in comparison.data] == ["train.table"]
    assert [line.name for line in comparison.facts] == ["pipeline"]
    assert [line.name for line in comparison.costs] == ["seconds", "dollars"]
    assert comparison.json()["scores"][0] == {"name": "train.rmse", "values": [2.0, 1.5], "best": [1]}
