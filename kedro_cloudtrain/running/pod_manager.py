"""One training on one pod, from Python: for a service or a notebook that has no pipeline."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime as dt
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.account import connect
from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.offers import choose
from kedro_cloudtrain.config import Settings, make_settings
from kedro_cloudtrain.errors import ApiError, ConfigError, JobTimeoutError
from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of, plain
from kedro_cloudtrain.jobs.preflight import check_training
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.storage.sources import make_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.following import Placement
    from kedro_cloudtrain.backends.runpod.remote_folder import RemoteFolder
    from kedro_cloudtrain.jobs.result import JobResult

_REQUIRED = ("gpu_type", "model_id", "user_id", "model_type", "target_column", "feature_columns", "hyperparameters")
_OPTIONAL = (
    "dataset_url",
    "dataset_key",
    "docker_image",
    "volume_size_gb",
    "training_script_b64",
    "validation",
    "early_stopping_rounds",
    "seed",
    "file_format",
    "load_args",
)
_POLL_S = 1.0
_LOG_WAIT_S = 5.0


@dataclasses.dataclass(frozen=True)
class _Launched:
    remote: RemoteFolder
    placement: Placement


class RunPodPodManager:
    """Starts trainings on pods, one at a call, and looks after them by their pod's id.

    A pod that is left alone ends itself: when its job is done, or at its deadline.

    Args:
        config: what `cloudtrain.yml` says, as a mapping or as `Settings`; `volume` names the network volume.
        project: the beginning of the pods' names, so that `kedro cloudtrain reap` finds them.

    Raises:
        ConfigError: a setting is not what it can be.
        AuthError: there is no API key.

    Example:
        ```python
        manager = RunPodPodManager({"volume": {"id": "abc123xyz", "data_center": "EU-RO-1"}})
        pod = manager.launch_training(
            {
                "gpu_type": "NVIDIA L4",
                "dataset_key": "datasets/user_123/data.csv",
                "model_id": "model_123",
                "user_id": "user_123",
                "model_type": "xgboost_regression",
                "target_column": "price",
                "feature_columns": ["sqft", "bedrooms"],
                "hyperparameters": {"n_estimators": 100},
            }
        )
        manager.wait_for_completion_and_terminate(pod["pod_id"], max_wait_seconds=3600)
        ```
    """

    def __init__(self, config: Mapping[str, Any] | Settings, project: str = "service") -> None:
        self._settings = config if isinstance(config, Settings) else make_settings({"backend": "runpod", **config})
        volume = self._settings.volume.make(Path.cwd())
        if not isinstance(volume, S3Store):
            raise ConfigError("RunPodPodManager needs a network volume in its config: volume: {id: …, data_center: …}.")
        self._volume = volume
        self._api: RunPodApi = connect()
        self._budget = Budget(self._settings.run.max_cost_usd)
        self._backend = RunPodBackend(self._api, volume, project, self._budget)
        self._launched: dict[str, _Launched] = {}
        self._lock = threading.Lock()

    def launch_training(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Start one training, and do not wait for it.

        Args:
            job: `gpu_type`, exactly one of `dataset_url` and `dataset_key`, `model_id`, `user_id`, `model_type`, `target_column`,
                `feature_columns` (None takes every column but the target) and `hyperparameters`; optional are `docker_image`,
                `volume_size_gb` (of the container's disk), `training_script_b64` (a script of one's own instead of the recipe's), and
                `validation`, `early_stopping_rounds`, `seed`, `file_format` and `load_args` as elsewhere.

        Returns:
            `pod_id`, `gpu_type`, `launch_time` (ISO 8601, UTC) and `status`.

        Raises:
            SourceError: both or neither of URL and key are given, or the one that is given is no such thing.
            ConfigError: a key is missing, unknown, or not what it can be.
            CapacityError: no machine is free.
            ApiError: RunPod refuses, in its own words.
        """
        training, generator = self._training(job)
        attempt = training.write(generator)
        remote = self._backend.remote(attempt.folder)
        remote.send()
        placement = self._backend.launch(attempt.request, remote)
        with self._lock:
            self._launched[placement.pod_id] = _Launched(remote, placement)
        return {
            "pod_id": placement.pod_id,
            "gpu_type": placement.candidate.gpu or placement.candidate.cpu,
            "launch_time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "status": "starting",
        }

    def monitor_training(self, pod_id: str) -> dict[str, Any]:
        """Say how a training goes.

        Returns:
            `pod_id`; `status`: starting, running, succeeded, failed, timed out, lost or gone; `pod_status` as RunPod has it, None when the
            pod is gone; `progress` (step, of, metrics), `metrics` of the finished model and `error`, where there are some; `cost_usd`.
        """
        launched = self._launched.get(pod_id)
        pod = self._api.pod(pod_id)
        said: dict[str, Any] = {"pod_id": pod_id, "status": "gone", "pod_status": None, "cost_usd": None}
        if pod is not None:
            uptime_s = pod.runtime.uptime if pod.runtime is not None else 0
            said |= {"status": "running" if pod.runtime is not None else "starting", "pod_status": pod.status}
            said["cost_usd"] = round(pod.cost * uptime_s / 3600, 4)
        if launched is None:
            return said
        if launched.remote.heartbeat(launched.placement.attempt) is not None:
            launched.remote.follow()
        progress = launched.remote.folder.last_progress()
        result = launched.remote.result(launched.placement.attempt)
        if progress is not None:
            said["progress"] = progress.model_dump(exclude={"seconds"})
        if result is not None:
            said |= {"status": result.state, "cost_usd": round(launched.placement.cost_usd, 4)}
            if result.error is not None:
                said["error"] = result.error.message
        elif pod is None:
            said["status"] = "lost"
        return said

    def get_pod_logs(self, pod_id: str, lines: int = 100) -> list[str]:
        """Give the last lines of a pod's log: from RunPod while the pod is, else from the volume."""
        found: list[str] = []
        # The stream never ends by itself: what has come after a few seconds is what there is.
        reader = threading.Thread(target=self._read_log, args=(pod_id, lines, found), daemon=True)
        reader.start()
        before = -1
        give_up_at = time.monotonic() + _LOG_WAIT_S
        while reader.is_alive() and time.monotonic() < give_up_at and (len(found) != before or not found):
            before = len(found)
            reader.join(_POLL_S)
        if found:
            return found[-lines:]
        launched = self._launched.get(pod_id)
        content = self._volume.read_bytes(launched.remote.key("log.txt")) if launched is not None else None
        return (content or b"").decode(errors="replace").splitlines()[-lines:]

    def terminate_pod(self, pod_id: str) -> None:
        """End a pod for good; one that is gone already is no error.

        Raises:
            ApiError: RunPod refuses.
        """
        self._api.terminate_pod(pod_id)
        launched = self._launched.get(pod_id)
        if launched is not None:
            self._budget.settle(launched.placement.name, launched.placement.cost_usd)

    def wait_for_completion_and_terminate(self, pod_id: str, max_wait_seconds: float = 3600) -> dict[str, Any]:
        """Wait for a training to end, and see to it that its pod is gone, whatever came of it.

        Returns:
            What `monitor_training` says at the end.

        Raises:
            JobTimeoutError: it has not ended by then; its pod has been ended.
        """
        give_up_at = time.monotonic() + max_wait_seconds
        try:
            while True:
                said = self.monitor_training(pod_id)
                if said["status"] not in ("starting", "running"):
                    return said
                if time.monotonic() >= give_up_at:
                    raise JobTimeoutError(f"Pod {pod_id} was not done after {max_wait_seconds:g} s, and was ended.")
                time.sleep(min(_POLL_S * 2, max(0.05, give_up_at - time.monotonic())))
        finally:
            self.terminate_pod(pod_id)

    def select_compute_type(self, dataset_size_mb: float, model_type: str) -> str:
        """Choose the machine for a table of a size: the id of a GPU, or of a CPU flavour where a GPU is not worth it.

        Raises:
            CapacityError: RunPod has none in the volume's data centre.
        """
        work = Workload(library_of(model_type), size_bytes=int(dataset_size_mb * 1e6))
        settings = self._settings.defaults.model_copy(update={"gpu": "auto"})
        first = choose(self._api, settings, self._volume.data_center, work).candidates[0]
        return str(first.gpu or first.cpu)

    def result(self, pod_id: str) -> JobResult | None:
        """Give the result of a training that was launched from here, or None while there is none."""
        launched = self._launched.get(pod_id)
        return launched.remote.result(launched.placement.attempt) if launched is not None else None

    def _read_log(self, pod_id: str, lines: int, found: list[str]) -> None:
        try:
            # Not in one go: whoever has started this takes what has come.
            for line in self._api.logs(pod_id, tail=lines):
                found.append(line.line)  # noqa: PERF401
        except ApiError:
            return  # The pod is gone; its log is on the volume.

    def _training(self, job: Mapping[str, Any]) -> tuple[TrainingOrder, TrainingScriptGenerator]:
        source = make_source(
            dataset_url=job.get("dataset_url"),
            dataset_key=job.get("dataset_key"),
            file_format=job.get("file_format"),
            load_args=job.get("load_args"),
        )
        missing = [key for key in _REQUIRED if key not in job]
        if missing:
            raise ConfigError(f"launch_training needs {', '.join(f'`{key}`' for key in missing)}. It has: {', '.join(job)}.")
        unknown = [key for key in job if key not in _REQUIRED + _OPTIONAL]
        if unknown:
            raise ConfigError(f"launch_training does not know `{unknown[0]}`. Known: {', '.join(_REQUIRED + _OPTIONAL)}.")
        columns = job["feature_columns"]
        parameters = TrainingParameters.parse(
            {
                "model_type": job["model_type"],
                "target_column": job["target_column"],
                "feature_columns": None if columns is None else tuple(columns),
                "hyperparameters": plain(dict(job["hyperparameters"] or {})),
                **{key: job[key] for key in ("validation", "early_stopping_rounds", "seed") if key in job},
            },
            where="launch_training",
        )
        generator = TrainingScriptGenerator()
        script = _decoded(job.get("training_script_b64"))
        if script is None:
            check_training(parameters, generator, here=False)
        changed: dict[str, Any] = {"gpu": _gpu(job["gpu_type"])}
        if job.get("docker_image"):
            changed["image"] = str(job["docker_image"])
        if job.get("volume_size_gb"):
            changed["disk_gb"] = max(20, int(job["volume_size_gb"]))
        training = TrainingOrder(
            node=f"{job['user_id']}-{job['model_id']}",
            parameters=parameters,
            data=source,
            outputs=("model", "metrics", "history", "importance"),
            volume=self._volume,
            settings=self._settings.defaults.model_copy(update=changed),
            given_script=script,
        )
        return training, generator


def _gpu(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and value.strip():
        named = value.strip()
        return {"cpu": "none", "none": "none", "auto": "auto"}.get(named.lower(), (named,))
    if isinstance(value, list | tuple) and value and all(isinstance(one, str) for one in value):
        return tuple(value)
    raise ConfigError(f"gpu_type is {value!r}: name a GPU type, `NVIDIA L4` say, or auto, or cpu.")


def _decoded(script: object) -> str | None:
    """Read a script that came as base64.

    Raises:
        ConfigError: it is no base64, or no Python.
    """
    if script is None or script == "":
        return None
    try:
        text = base64.b64decode(str(script), validate=True).decode()
        compile(text, "training_script_b64", "exec")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"training_script_b64 is no base64 of a text in UTF-8: {error}.") from None
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"training_script_b64 is no Python: {error}.") from None
    return text
