"""The trials of a search on the machines that it keeps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.cloud import Cloud
from support.toy_backend import TEMPLATE

from kedro_cloudtrain.backends.backend import MachineBackend
from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.config import NodeSettings, RunSettings
from kedro_cloudtrain.errors import BudgetExceededError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.receipt import Receipt
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.running.run import Run
from kedro_cloudtrain.running.search import TrainingSearch
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.running.trial_machines import KeptMachines
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source


def search_on(
    backend: MachineBackend, volume: Any, folder: Path, slots: Slots, *, seconds: float = 0.0, **search: Any
) -> tuple[Any, Receipt]:
    """Search by a template of a project's own; return the outputs and the receipt."""
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates/mine.py.j2").write_text(TEMPLATE)
    generator = TrainingScriptGenerator(folder / "templates")
    run = Run(RunSettings(), backend, generator, Display(""), slots)
    run.display.add(Row("tune", "mine", "penguins"))
    space = {"depth": {"int": [2, 9]}, "rate": {"float": [0.01, 0.5], "log": True}}
    order = TrainingOrder(
        node="tune",
        parameters=TrainingParameters.parse(
            {
                "model_type": "mine",
                "target_column": "body_mass_g",
                "hyperparameters": {"seconds": seconds},
                "search": {"space": space, "n_trials": 6, "metric": "loss", "direction": "minimize", **search},
            },
            "mass",
        ),
        data=make_source(dataset_key="datasets/penguins.csv"),
        outputs=("metrics", "history"),
        volume=volume,
        settings=NodeSettings.model_validate({"timeout_s": 60, "gpu": "none", "install": False, "retries": 1}),
    )
    machines = KeptMachines(run, "tune", search.get("parallel", 1), order.settings)
    receipts: list[Receipt] = []
    values = TrainingSearch(order, generator, machines, run.display.row("tune"), studies=folder / "studies").run(receipts)
    return values, receipts[0]


def test_trials_share_one_machine_and_one_that_is_pruned_is_ended_there(tmp_path: Path) -> None:
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/penguins.csv").write_text("body_mass_g\n1\n")
    slots = Slots(1)
    options = {"pruner": "median", "n_trials": 9, "seconds": 0.4}
    values, receipt = search_on(LocalBackend(), DirectoryVolume(tmp_path), tmp_path, slots, **options)
    trials = values["trials"]
    assert values["metrics"]["loss"] == trials["score"].min()
    assert values["history"]["loss"].item() == values["metrics"]["loss"]
    pruned = list(trials.query("state == 'pruned'")["job"])
    folder = tmp_path / ".cloudtrain/jobs"
    rounds = [len((folder / job / "progress.jsonl").read_text().splitlines()) for job in pruned]
    assert len(pruned) > 0
    assert min(rounds) < 20
    assert len(list(folder.glob("group-tune-*"))) == 1
    assert receipt.why == f"search: 9 trials run, 0 reused; of all {len(pruned)} pruned"
    slots.check_open("another job")
    assert slots._free == 1


def test_trials_on_a_pod_that_is_kept_leave_their_metrics_and_the_best_all_its_outputs(cloud: Cloud, tmp_path: Path) -> None:
    backend = cloud.backend()
    try:
        values, receipt = search_on(backend, cloud.volume, tmp_path, Slots(1), seconds=0.2)
    finally:
        backend.close()
    trials = values["trials"]
    assert list(trials["state"]) == ["complete"] * 6
    assert receipt.why == "search: 6 trials run, 0 reused"
    # One pod, on the receipt of the search; a trial's dollars are its share.
    assert len({use.pod for use in receipt.machines}) == len(receipt.machines) == 1
    assert 0 < trials["usd"].sum() <= receipt.cost_usd * 1.5
    here = {job: Path(cloud.volume.folder(f".cloudtrain/jobs/{job}")) / "outputs" for job in trials["job"]}
    assert [job for job, outputs in here.items() if (outputs / "history.json").exists()] == [receipt.job]
    assert all((outputs / "metrics.json").exists() for outputs in here.values())


def test_two_pods_are_kept_at_once_and_share_the_trials(cloud: Cloud, tmp_path: Path) -> None:
    backend, slots = cloud.backend(), Slots(3)
    try:
        values, receipt = search_on(backend, cloud.volume, tmp_path, slots, seconds=0.6, parallel=2)
    finally:
        backend.close()
    trials = values["trials"]
    assert list(trials["state"]) == ["complete"] * 6
    assert values["metrics"]["loss"] == trials["score"].min()
    assert len({use.pod for use in receipt.machines}) == len(receipt.machines) == len(cloud.runpod.pods) == 2
    # Both have worked, and neither is left.
    folders = list((cloud.bucket / ".cloudtrain/jobs").glob("group-tune-*"))
    begun = [json.loads(line).get("job") for folder in folders for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert set(trials["job"]) <= set(begun)
    assert len(folders) == 2
    assert all((folder / "progress.jsonl").stat().st_size for folder in folders)
    assert cloud.runpod.living == []
    assert slots._free == 3


def test_without_money_for_one_machine_the_run_has_not_failed(tmp_path: Path) -> None:
    class NoMoney(LocalBackend):
        def run(self, request: Any, watcher: Any) -> Any:
            raise BudgetExceededError("run.max_cost_usd is reached.")

    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/penguins.csv").write_text("body_mass_g\n1\n")
    slots = Slots(1)
    with pytest.raises(BudgetExceededError, match=r"No trial of tune has succeeded: none was run, since the budget is used up"):
        search_on(NoMoney(), DirectoryVolume(tmp_path), tmp_path, slots)
    slots.check_open("another job")
