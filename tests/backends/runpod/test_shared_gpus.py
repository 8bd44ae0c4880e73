"""A pod of two GPUs, whose processes share a fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.sources import make_source

if TYPE_CHECKING:
    from support.cloud import Cloud


def test_the_gpus_of_a_pod_share_a_fit(cloud: Cloud) -> None:
    order = TrainingOrder(
        node="train",
        parameters=TrainingParameters(model_type="xgboost_regression", target_column="body_mass_g", hyperparameters={"n_estimators": 5}),
        data=make_source(dataset_key="datasets/penguins.csv"),
        outputs=("metrics", "history"),
        volume=cloud.volume,
        settings=NodeSettings.model_validate({"gpu": "NVIDIA L4", "gpu_count": 2, "install": False, "timeout_s": 120}),
        to_pod=True,
    )
    assert {"dask", "distributed"} <= {line.partition("==")[0] for line in order.requirements}
    job = prepare(order, TrainingScriptGenerator())
    with job.folder.held():
        job.write()
    backend = cloud.backend()
    outputs = job.run(backend, Row("train", "xgboost", "datasets/penguins.csv"), cloud.receipts)
    backend.close()
    folder = cloud.bucket / ".cloudtrain/jobs" / job.folder.name
    assert "WORKERS = 2" in (folder / "train.py").read_text(encoding="utf-8")
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["gpu"]["count"] == 2
    assert len(outputs["history"]) == 5
    assert outputs["metrics"]["rmse"] == pytest.approx(outputs["history"]["validation_rmse"].iloc[-1])


def test_machines_of_this_computer_are_processes(cloud: Cloud) -> None:
    order = TrainingOrder(
        node="train",
        parameters=TrainingParameters(model_type="lightgbm_regression", target_column="y"),
        data=make_source(dataset_key="datasets/penguins.csv"),
        outputs=("metrics",),
        volume=cloud.volume,
        settings=NodeSettings(machines=3),
    )
    rendered = order.render(order.inputs(), TrainingScriptGenerator())
    assert "WORKERS = 3" in rendered.script
    assert rendered.spec["workers"] == 3


def test_one_gpu_needs_no_processes(cloud: Cloud) -> None:
    for parameters, settings in (
        ({}, {"gpu": "NVIDIA L4"}),
        ({}, {"gpu": "none", "gpu_count": 2}),
        ({"device": "cpu"}, {"gpu": "NVIDIA L4", "gpu_count": 2}),
    ):
        order = TrainingOrder(
            node="train",
            parameters=TrainingParameters(model_type="xgboost_regression", target_column="y", hyperparameters=parameters),
            data=make_source(dataset_key="datasets/penguins.csv"),
            outputs=("metrics",),
            volume=cloud.volume,
            settings=NodeSettings.model_validate(settings),
            to_pod=True,
        )
        assert not any(line.startswith(("dask", "distributed")) for line in order.requirements)
        assert "WORKERS" not in order.render(order.inputs(), TrainingScriptGenerator()).script
