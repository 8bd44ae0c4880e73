"""A search: the same trials for the same seed, however often it was interrupted and whenever it was looked at."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.toy_backend import ROUNDS, ToyBackend, bowl, studies_of

from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.errors import (
    BackendError,
    BudgetExceededError,
    CloudTrainError,
    HyperparameterError,
    JobCancelledError,
    JobFailedError,
    JobPrunedError,
)
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.search import TrainingSearch
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.running.trial import TrialOrder, TrialWatcher, counts, more_is_better
from kedro_cloudtrain.running.trial_machines import OwnMachines, TrialSlots
from kedro_cloudtrain.storage.directory import DirectoryVolume

DEPTH, RATE = {"int": [2, 9]}, {"float": [0.01, 0.5], "log": True}
SPACE = {"max_depth": DEPTH, "learning_rate": RATE, "grow_policy": {"choice": ["depthwise", "lossguide"]}}
TABLE = pd.DataFrame({"size": range(12), "kind": ["a", "b", "c"] * 4})
FACTS = ["number", "state", *SPACE, "score", "job"]


class SearchResult:
    """What a search has found."""

    def __init__(self, values: dict[str, Any], receipt: Receipt, row: Row) -> None:
        self.outputs, self.receipt, self.row = values, receipt, row
        self.trials: pd.DataFrame = values["trials"]

    @property
    def facts(self) -> list[dict[str, Any]]:
        """Each trial without its seconds and dollars."""
        columns = [name for name in self.trials if name not in ("seconds", "usd")]
        return self.trials[columns].astype(object).where(self.trials[columns].notna(), None).to_dict("records")


def order_of(folder: Path, *, metric: str | None = None, **search: Any) -> TrainingOrder:
    parameters = TrainingParameters.parse(
        {
            "model_type": "xgboost_multiclass_classification",
            "target_column": "kind",
            "search": {"space": SPACE, "n_trials": 8, "metric": metric, **search},
        },
        "species",
    )
    return TrainingOrder("train_species", parameters, TABLE, ("metrics",), DirectoryVolume(folder / "volume"), project=folder)


def search(
    folder: Path, backend: ToyBackend, *, reuse: bool = True, slots: Slots | None = None, kept: bool = False, **options: Any
) -> SearchResult:
    """Search in a folder, where an earlier search may have left its jobs, and, `kept`, its study."""
    row, receipts = Row("train_species", "xgboost", "kinds"), []
    order = order_of(folder, **options)
    studies = studies_of(folder) if kept else None
    runs = TrainingSearch(
        order,
        TrainingScriptGenerator(),
        OwnMachines(backend, None if slots is None else TrialSlots(slots)),
        row,
        reuse=reuse,
        studies=studies,
    )
    try:
        values = runs.run(receipts)
    finally:
        assert len(receipts) == 1
    return SearchResult(values, receipts[0], row)


SAMPLERS = {
    "tpe": {},
    "random": {},
    "grid": {"space": {"max_depth": DEPTH, "grow_policy": SPACE["grow_policy"]}},
    "cmaes": {"space": {"max_depth": DEPTH, "learning_rate": RATE}},
    "qmc": {},
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_that_was_killed_and_then_made_longer_has_the_trials_of_one_run(tmp_path: Path, sampler: str) -> None:
    options = {"sampler": sampler, "pruner": "median", **SAMPLERS[sampler]}
    whole = search(tmp_path / "whole", ToyBackend(), n_trials=12, **options)

    jobs = []
    for killed_at, trials in ((3, 8), (None, 8), (None, 12)):
        backend = ToyBackend()
        if killed_at is not None:
            backend.fail_at[killed_at] = JobCancelledError("killed")
            with pytest.raises(JobCancelledError):
                search(tmp_path / "parts", backend, n_trials=trials, kept=True, **options)
        else:
            parts = search(tmp_path / "parts", backend, n_trials=trials, kept=True, **options)
        jobs.append(len(backend.jobs))

    assert parts.facts == whole.facts
    assert len({str(sorted(trial.items(), key=str)) for trial in whole.facts}) == 12
    # One of the killed search was not done; those that were are not run again.
    assert sum(jobs) == 12 + 1
    assert parts.trials["state"].isin(["complete", "pruned"]).all()


def test_what_a_killed_client_had_no_time_to_write_is_asked_again_and_found_among_the_jobs(tmp_path: Path) -> None:
    first = search(tmp_path, ToyBackend(), pruner="median", n_trials=9)  # whose study is gone with its process
    again = ToyBackend()
    assert search(tmp_path, again, pruner="median", n_trials=9).facts == first.facts
    # A pruned trial has no result, so that it runs once more, to the round at which it is pruned.
    assert again.jobs == list(first.trials.query("state == 'pruned'")["job"])


def test_the_same_seed_asks_the_same_and_another_seed_something_else(tmp_path: Path) -> None:
    first, second, other = (search(tmp_path / name, ToyBackend(), seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.facts == second.facts != other.facts


@pytest.mark.parametrize("pruner", ["median", "hyperband", "successive_halving"])
def test_what_is_pruned_does_not_depend_on_when_the_client_looks(tmp_path: Path, pruner: str) -> None:
    backends = {every: ToyBackend(look_every=every) for every in (1, 7, ROUNDS + 1)}
    searches = {every: search(tmp_path / str(every), backend, n_trials=12, pruner=pruner) for every, backend in backends.items()}

    assert searches[1].facts == searches[7].facts == searches[ROUNDS + 1].facts
    pruned = list(searches[1].trials.query("state == 'pruned'")["job"])
    assert 0 < len(pruned) < 12
    # Looked at in time, a pruned trial ends early; never looked at, it goes on to its end, which counts for nothing.
    assert all(backends[1].rounds[job] < ROUNDS for job in pruned)
    assert all(backends[ROUNDS + 1].rounds[job] == ROUNDS for job in pruned)


def test_the_result_is_the_best_trials_and_the_best_is_the_lowest_loss_or_the_highest_score(tmp_path: Path) -> None:
    lowest = search(tmp_path / "loss", ToyBackend(), pruner="median")
    assert lowest.outputs["metrics"]["log_loss"] == lowest.trials["score"].min()
    highest = search(tmp_path / "accuracy", ToyBackend(lambda values: 1 - bowl(values), "accuracy"), metric="accuracy")
    assert highest.outputs["metrics"]["accuracy"] == highest.trials["score"].max() > highest.trials["score"].min()
    best = highest.trials.loc[highest.trials["score"].idxmax()]
    assert highest.receipt.job == best["job"]
    assert sum(highest.trials.attrs["importance"].values()) == pytest.approx(1)
    assert set(highest.trials.attrs["importance"]) == set(SPACE)


def test_a_search_in_parallel_asks_what_was_under_way_again(tmp_path: Path) -> None:
    backend = ToyBackend(slow_s=0.05)
    backend.fail_at[4] = JobCancelledError("killed")
    with pytest.raises(JobCancelledError):
        search(tmp_path, backend, parallel=3, kept=True)
    before = set(backend.jobs)
    again = ToyBackend()
    result = search(tmp_path, again, parallel=3, kept=True)
    assert list(result.trials["number"]) == list(range(8))
    assert before <= set(result.trials["job"])
    assert len(set(result.trials["job"])) == len(result.trials) == 8


def test_a_search_that_is_done_runs_nothing_again_unless_it_may_not_reuse(tmp_path: Path) -> None:
    first = search(tmp_path, ToyBackend(), kept=True)
    assert first.receipt.why == "search: 8 trials run, 0 reused"
    again = ToyBackend()
    second = search(tmp_path, again, kept=True)
    assert (again.jobs, second.receipt.state, second.receipt.why) == ([], JobState.REUSED, "search: 0 trials run, 8 reused")
    assert second.outputs["metrics"] == first.outputs["metrics"]
    fresh = ToyBackend()
    assert search(tmp_path, fresh, reuse=False, kept=True).facts == first.facts
    # The winner's own outputs are those of this very search.
    assert len(fresh.jobs) == 8
    # A study of its own: nothing of the first is counted, and what both ask for is not run twice.
    other = search(tmp_path, ToyBackend(), sampler="random", kept=True)
    assert other.receipt.why.startswith("search: ")
    assert len(other.trials) == 8


def test_a_study_is_opened_by_optuna_and_by_the_dataset_of_kedro(tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    from kedro_datasets_experimental.optuna import StudyDataset

    result = search(tmp_path, ToyBackend(), pruner="median", n_trials=10, kept=True)
    file = studies_of(tmp_path) / "train_species.db"
    (name,) = optuna.get_all_study_names(f"sqlite:///{file}")
    study = StudyDataset(backend="sqlite", database=str(file), study_name=name).load()
    assert study.best_value == result.trials["score"].min()
    assert [trial.user_attrs["job"] for trial in study.trials] == list(result.trials["job"])
    assert [trial.state.name for trial in study.trials] == [
        {"complete": "COMPLETE", "pruned": "PRUNED"}[state] for state in result.trials["state"]
    ]
    curve = study.trials[0].intermediate_values
    assert list(curve) == [step for step in range(1, ROUNDS + 1) if counts(step)]


def test_where_the_money_ends_the_best_so_far_is_the_result(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kedro.cloudtrain")
    limited = search(tmp_path / "limit", ToyBackend(usd=0.3), max_cost_usd=1.0)
    # A fourth would pass the limit.
    assert len(limited.trials) == 3
    assert limited.receipt.cost_usd == pytest.approx(0.9)
    assert limited.outputs["metrics"]["log_loss"] == limited.trials["score"].min()
    assert "3 of 8 trials, $0.90 spent: $0.90 has been spent, and another trial would pass search.max_cost_usd ($1.00)" in caplog.text

    backend = ToyBackend()
    backend.fail_at[5] = BudgetExceededError("run.max_cost_usd is reached.")
    budget = search(tmp_path / "budget", backend, kept=True)
    assert len(budget.trials) == 5
    assert "5 of 8 trials: the budget is used up: run.max_cost_usd is reached. The best so far is the result." in caplog.text
    # What was not started is asked for again.
    assert search(tmp_path / "budget", ToyBackend(), kept=True).facts == search(tmp_path / "whole", ToyBackend()).facts

    timed = search(tmp_path / "time", ToyBackend(slow_s=0.4), timeout_s=1)
    assert 1 <= len(timed.trials) < 8
    assert "search.timeout_s (1 s) has passed" in caplog.text


def test_a_trial_that_fails_is_not_the_end_unless_all_do(tmp_path: Path) -> None:
    def some_fail(values: dict[str, Any]) -> float:
        if values["grow_policy"] == "depthwise":
            raise JobFailedError("out of memory")
        return bowl(values)

    slots = Slots(1)
    result = search(tmp_path / "some", ToyBackend(some_fail), slots=slots)
    assert set(result.trials["state"]) == {"complete", "failed"}
    assert (result.trials["state"] == "failed").equals(result.trials["grow_policy"] == "depthwise")
    slots.check_open("another job")  # The run goes on.
    assert result.receipt.why == f"search: 8 trials run, 0 reused; of all {(result.trials['state'] == 'failed').sum()} failed"

    def all_fail(values: dict[str, Any]) -> float:
        raise HyperparameterError(f"trial of depth {values['max_depth']} was refused")

    backend = ToyBackend(all_fail)
    with pytest.raises(HyperparameterError, match=r"5 failed, since the first 5 .* failed\. The first one's error:\ntrial of depth"):
        search(tmp_path / "all", backend, kept=True)
    assert len(backend.jobs) == 5
    # Another day may be a better one.
    assert len(search(tmp_path / "all", ToyBackend(), kept=True).trials) == 8

    backend = ToyBackend()
    backend.fail_at[2] = BackendError("RunPod does not answer")
    with pytest.raises(BackendError):
        search(tmp_path / "outage", backend)
    with pytest.raises(CloudTrainError, match=r"`search.metric` is 'roc_auc', and the metrics file has accuracy, log_loss"):
        search(tmp_path / "metric", ToyBackend(), metric="roc_auc")
    with pytest.raises(JobFailedError, match="has no log_loss"):
        search(tmp_path / "nan", ToyBackend(lambda _: float("nan")), n_trials=2)


def test_a_pruned_trial_is_no_result_for_a_node_with_the_same_hyperparameters(tmp_path: Path) -> None:
    result = search(tmp_path, ToyBackend(), pruner="median", n_trials=12)
    pruned = result.trials.query("state == 'pruned'").iloc[0]
    order = order_of(tmp_path)
    values = {name: pruned[name].item() if hasattr(pruned[name], "item") else pruned[name] for name in SPACE}
    parameters = order.parameters.model_copy(update={"search": None, "hyperparameters": values})
    plain = prepare(TrainingOrder(order.node, parameters, TABLE, ("metrics",), order.volume), TrainingScriptGenerator())
    assert plain.name == pruned["job"]

    backend, receipts = ToyBackend(), []
    assert plain.run(backend, Row("train_species", "xgboost", "kinds"), receipts, reuse=True)["metrics"]["log_loss"] == bowl(values)
    assert (backend.jobs, receipts[0].why) == ([plain.name], "a search has ended it early")


ENDLESS = """
import sys, time
from pathlib import Path
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))
from cloudtrain_worker.job import Job

with Job(__file__, []) as job:
    job.progress.begin(10_000)
    try:
        for step in range(10_000):
            job.progress.round({"validation_mlogloss": 1.0})
            time.sleep(0.02)
    except Exception as error:
        raise RuntimeError("as a library puts it") from error
"""


def test_a_trial_that_is_pruned_ends_on_its_machine(tmp_path: Path) -> None:
    order = TrialOrder.of(dataclasses.replace(order_of(tmp_path), given_script=ENDLESS))
    job, backend, row = prepare(order, TrainingScriptGenerator()), LocalBackend(), Row("train_species", "xgboost", "kinds")
    job.folder.path.mkdir(parents=True)
    job.folder.prune.touch()  # an earlier attempt's, which counts for nothing
    reported: list[int] = []

    def report(step: int, name: str, value: float) -> bool:
        assert (name, value) == ("mlogloss", 1.0)
        reported.append(step)
        return step >= 8

    receipts: list[Receipt] = []
    with pytest.raises(JobPrunedError):
        job.run(backend, TrialWatcher(backend.kept(job.folder), row, report), receipts)
    assert reported == list(range(1, 9))
    assert receipts[0].state == job.folder.state() == JobState.PRUNED
    assert "pruned by the search that has asked for it" in job.folder.log.read_text()


def test_lists_are_drawn_as_lists(tmp_path: Path) -> None:
    drawn = []

    def score(values: dict[str, Any]) -> float:
        drawn.append(values["interaction_constraints"])
        return float(len(values["interaction_constraints"]))

    choices = [[["size"]], [["size"], []]]
    result = search(tmp_path, ToyBackend(score), space={"interaction_constraints": {"choice": choices}}, n_trials=4)
    assert all(value in choices for value in drawn)
    assert set(result.trials["interaction_constraints"]) <= {'[["size"]]', '[["size"], []]'}


def test_the_row_of_a_search_shows_its_trials(tmp_path: Path) -> None:
    result = search(tmp_path, ToyBackend())
    assert result.row.trials == f"trial 8 of 8, best log_loss {result.trials['score'].min():.4g}"
    result.row.state = JobState.RUNNING
    assert result.row.trials in [str(cell) for cell in result.row.cells()]


def test_each_librarys_measure_has_its_direction_and_late_rounds_are_reported_seldom() -> None:
    more = "auc aucpr AUC Accuracy TotalF1:average=Macro F1 R2 accuracy roc_auc pr_auc precision average_precision ndcg@5 map"
    less = "mlogloss merror error logloss rmse mae mape multi_logloss multi_error l1 l2 MultiClass Logloss RMSE MAPE loss binary_error"
    assert [name for name in more.split() if not more_is_better(name)] == []
    assert [name for name in less.split() if more_is_better(name)] == []
    steps = [step for step in range(1, 1001) if counts(step)]
    assert steps[:21] == [*range(1, 21), 22]
    assert len(steps) < 80
