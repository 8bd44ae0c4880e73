"""The jobs of all worlds, prepared once: what differs between worlds is put into them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.rehearsal.storage import ACCESS_KEY, SECRET_KEY
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.sources import make_source
from simulation.account import DATA_CENTER, VOLUME
from simulation.volume import ENDPOINT

if TYPE_CHECKING:
    from kedro_cloudtrain.running.job import Job


class _Client:
    """As much of boto3's client as preparing a job needs."""

    meta = type("Meta", (), {"endpoint_url": ENDPOINT})()

    def head_object(self, **_: object) -> dict[str, Any]:
        return {"ContentLength": 20, "ETag": '"0"'}


@functools.cache
def templates() -> list[Job]:
    """Prepare the jobs once: what differs between worlds is put into them."""
    volume = NetworkVolume(VOLUME, DATA_CENTER, ENDPOINT, {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY})
    volume.__dict__["client"] = _Client()
    jobs = []
    for name in ("train_a", "train_b", "train_c"):
        order = TrainingOrder(
            node=name,
            parameters=TrainingParameters(model_type="lightgbm_regression", target_column="body_mass_g", seed=len(jobs)),
            data=make_source(dataset_key="datasets/penguins.csv"),
            outputs=("metrics",),
            volume=volume,
            settings=NodeSettings.model_validate({"gpu": "none", "install": False}),
            given_script="print('simulated')\n",
        )
        jobs.append(prepare(order, TrainingScriptGenerator()))
    return jobs
