"""Run single trainings on pods from Python: for a service or a notebook without a pipeline."""

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
from kedro_cloudtrain.backends.runpod.bucket_folder import remote_folder
from kedro_cloudtrain.backends.runpod.budget import budget_of
from kedro_cloudtrain.backends.runpod.claim import Claim
from kedro_cloudtrain.backends.runpod.launching import Launcher
from kedro_cloudtrain.backends.runpod.offers import choose
from kedro_cloudtrain.backends.runpod.pace import Pace
from kedro_cloudtrain.backends.runpod.spending import Spending
from kedro_cloudtrain.backends.runpod.watching import PodWatch
from kedro_cloudtrain.config import Settings, make_settings
from kedro_cloudtrain.errors import ApiError, ConfigError, JobTimeoutError
from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of, plain
from kedro_cloudtrain.jobs.preflight import check_training, problems_on_pod
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.worker.protocol import LOG

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.backends.runpod.placement import Placement
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


@dataclasses.dataclass
class _Launched:
    """A training: its folder on the volume, its pod, what the pod cost in the end, in dollars, and whether it left no result."""

    remote: RemoteFolder
    placement: Placement
    ended_usd: float | None = None
    is_lost: bool = False

    @property
    def cost_usd(self) -> float:
        return self.placement.cost_usd if self.ended_usd is None else self.ended_usd


class RunPodPodManager:
    """Starts trainings on pods, one per call, and monitors each by its pod's id.

    A pod that is left alone ends itself when its job is done, or at its deadline.

    Args:
        config: the settings of `cloudtrain.yml`, as a mapping or as `Settings`; `volume` names the network volume.
        project: part of the pods' names, by which `kedro cloudtrain reap` finds them.

    Raises:
        ConfigError: a setting is not valid.
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
        self._budget = budget_of(self._settings.run, volume, self._api)
        self._watch = PodWatch(self._api, Pace())
        self._launcher = Launcher(self._api, volume, project, self._watch)
        self._launched: dict[str, _Launched] = {}
        self._lock = threading.Lock()

    def launch_training(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Start one training without waiting for it.

        Args:
            job: `gpu_type`, exactly one of `dataset_url` and `dataset_key`, `model_id`, `user_id`, `model_type`, `target_column`,
                `feature_columns` (None takes every column but the target) and `hyperparameters`; optional are `docker_image`,
                `volume_size_gb` (the size of the container's disk), `training_script_b64` (your own script instead of the recipe's), and
                `validation`, `early_stopping_rounds`, `seed`, `file_format` and `load_args`, as in a catalog and in parameters.

        Returns:
            `pod_id`, `gpu_type`, `launch_time` (ISO 8601, UTC) and `status`.

        Raises:
            SourceError: both or neither of URL and key are given, or the given one is not valid.
            ConfigError: a key is missing, unknown, or its value is not valid.
            CapacityError: no machine is free.
            ApiError: RunPod refuses; the message has its own words.
        """
        training, generator = self._training(job)
        prepared = prepare(training, generator)
        with prepared.folder.held():
            prepared.write()
        remote = remote_folder(prepared.folder, self._volume)
        self._settle_ended()
        remote.send()
        request = prepared.request(resume=True)
        claim = Claim(remote, is_contested=request.attach)
        placement = self._launcher.launch(request, claim, Spending(request, self._budget), detached=True)
        with self._lock:
            self._launched[placement.pod_id] = _Launched(remote, placement)
        return {
            "pod_id": placement.pod_id,
            "gpu_type": placement.candidate.gpu or placement.candidate.cpu,
            "launch_time": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "status": "starting",
        }

    def monitor_training(self, pod_id: str) -> dict[str, Any]:
        """Report a training's state.

        Returns:
            `pod_id`; `status`: starting, running, succeeded, failed, timed out, lost or gone; `pod_status`, RunPod's word, None if the pod
            is gone; `progress` (step, of, metrics) and `error`, if there are any; `cost_usd`.
        """
        launched = self._launched.get(pod_id)
        pod = self._api.pod(pod_id)
        report: dict[str, Any] = {"pod_id": pod_id, "status": "gone", "pod_status": None, "cost_usd": None}
        if pod is not None:
            uptime_s = pod.runtime.uptime if pod.runtime is not None else 0
            report |= {"status": "running" if pod.runtime is not None else "starting", "pod_status": pod.status}
            report["cost_usd"] = round(pod.cost * uptime_s / 3600, 4)
        if launched is None:
            return report
        if pod is None:
            self._note_end(launched)
        if launched.remote.heartbeat(launched.placement.attempt) is not None:
            launched.remote.follow()
        progress = launched.remote.folder.last_progress()
        attempt, has_ended = launched.placement.attempt, pod is None or pod.has_ended
        # Of a training that is known to be lost, a result is not waited for again.
        is_awaited = has_ended and not launched.is_lost
        result = launched.remote.result_after_end(attempt) if is_awaited else launched.remote.result(attempt)
        if progress is not None:
            report["progress"] = progress.model_dump(exclude={"seconds"})
        if result is not None:
            report |= {"status": result.state, "cost_usd": round(launched.cost_usd, 4)}
            if result.error is not None:
                report["error"] = result.error.message
        elif has_ended:
            launched.is_lost, report["status"] = True, "lost"
        return report

    def get_pod_logs(self, pod_id: str, lines: int = 100) -> list[str]:
        """Return the last lines of a pod's log: from RunPod while the pod exists, afterwards from the volume."""
        streamed: list[str] = []
        # RunPod's stream never ends by itself: the log is what has arrived until it pauses, or within a few seconds.
        reader = threading.Thread(target=self._read_log, args=(pod_id, lines, streamed), daemon=True)
        reader.start()
        count_before = -1
        give_up_at = time.monotonic() + _LOG_WAIT_S
        while reader.is_alive() and time.monotonic() < give_up_at and (len(streamed) != count_before or not streamed):
            count_before = len(streamed)
            reader.join(_POLL_S)
        if streamed:
            return streamed[-lines:]
        launched = self._launched.get(pod_id)
        content = self._volume.read_bytes(launched.remote.key(LOG)) if launched is not None else None
        return (content or b"").decode(errors="replace").splitlines()[-lines:]

    def terminate_pod(self, pod_id: str) -> None:
        """Terminate a pod; one that is already gone is not an error.

        Raises:
            ApiError: RunPod refuses.
        """
        self._api.terminate_pod(pod_id)
        launched = self._launched.get(pod_id)
        if launched is not None:
            self._watch.note_terminated(pod_id, launched.placement.name)
            self._note_end(launched)

    def _note_end(self, launched: _Launched) -> None:
        """Settle what a pod that is gone has cost, once."""
        with self._lock:
            if launched.ended_usd is not None:
                return
            launched.ended_usd = launched.placement.cost_usd
        self._budget.settle(launched.placement.name, launched.ended_usd)

    def _settle_ended(self) -> None:
        """Settle the pods that have ended by themselves, so that what they might have cost may be spent on others."""
        with self._lock:
            running = {pod_id: launched for pod_id, launched in self._launched.items() if launched.ended_usd is None}
        living = {pod.id for pod in self._api.pods()} if running else set()
        for pod_id, launched in running.items():
            if pod_id not in living:
                self._note_end(launched)

    def wait_for_completion_and_terminate(self, pod_id: str, max_wait_seconds: float = 3600) -> dict[str, Any]:
        """Wait for a training to end, and terminate its pod, even after an error.

        Returns:
            The last report of `monitor_training`.

        Raises:
            JobTimeoutError: the training has not ended in time; its pod is terminated.
        """
        give_up_at = time.monotonic() + max_wait_seconds
        try:
            while True:
                report = self.monitor_training(pod_id)
                if report["status"] not in ("starting", "running"):
                    return report
                if time.monotonic() >= give_up_at:
                    raise JobTimeoutError(f"Pod {pod_id} was not done after {max_wait_seconds:g} s, and was terminated.")
                time.sleep(min(_POLL_S * 2, max(0.05, give_up_at - time.monotonic())))
        finally:
            self.terminate_pod(pod_id)

    def select_compute_type(self, dataset_size_mb: float, model_type: str) -> str:
        """Choose the machine for a table of this size: the id of a GPU type, or of a CPU flavour if a GPU is not worth it.

        Raises:
            CapacityError: RunPod has no such machine in the volume's data centre.
        """
        workload = Workload(library_of(model_type), size_bytes=int(dataset_size_mb * 1e6))
        settings = self._settings.defaults.model_copy(update={"gpu": "auto"})
        first = choose(self._api, settings, self._volume.data_center, workload).candidates[0]
        return str(first.gpu or first.cpu)

    def result(self, pod_id: str) -> JobResult | None:
        """Return the result of a training that this manager has launched, or None while there is none."""
        launched = self._launched.get(pod_id)
        return launched.remote.result(launched.placement.attempt) if launched is not None else None

    def _read_log(self, pod_id: str, lines: int, streamed: list[str]) -> None:
        try:
            # Line by line: the thread that waits takes what has arrived so far.
            for line in self._api.logs(pod_id, tail=lines):
                streamed.append(line.line)  # noqa: PERF401
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
            raise ConfigError(f"launch_training needs {', '.join(f'`{key}`' for key in missing)}. The job has: {', '.join(job)}.")
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
            check_training(parameters, generator, local=False)
        overrides: dict[str, Any] = {"gpu": _gpu(job["gpu_type"])}
        if script is None and (problems := list(problems_on_pod(parameters, overrides["gpu"], self._settings.defaults.gpu_count))):
            raise ConfigError("\n".join(problems))
        if job.get("docker_image"):
            overrides["image"] = str(job["docker_image"])
        if job.get("volume_size_gb"):
            overrides["disk_gb"] = max(20, int(job["volume_size_gb"]))
        training = TrainingOrder(
            node=f"{job['user_id']}-{job['model_id']}",
            parameters=parameters,
            data=source,
            outputs=("model", "metrics", "history", "importance"),
            volume=self._volume,
            settings=self._settings.defaults.model_copy(update=overrides),
            given_script=script,
            to_pod=True,
        )
        return training, generator


def _gpu(value: object) -> str | tuple[str, ...]:
    if isinstance(value, str) and value.strip():
        name = value.strip()
        return {"cpu": "none", "none": "none", "auto": "auto"}.get(name.lower(), (name,))
    if isinstance(value, list | tuple) and value and all(isinstance(name, str) for name in value):
        return tuple(value)
    raise ConfigError(f"gpu_type is {value!r}: name a GPU type such as `NVIDIA L4`, or write auto or cpu.")


def _decoded(script: object) -> str | None:
    """Decode a script from base64; return None if there is none.

    Raises:
        ConfigError: it is not base64, or not Python.
    """
    if script is None or script == "":
        return None
    try:
        text = base64.b64decode(str(script), validate=True).decode()
        compile(text, "training_script_b64", "exec")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"training_script_b64 is not the base64 of a text in UTF-8: {error}.") from None
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"training_script_b64 is not Python: {error}.") from None
    return text
