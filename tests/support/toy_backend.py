"""A backend whose jobs cost nothing: a formula instead of a fit, in the files of a real job."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro_cloudtrain.backends.kept_process import KeptProcess
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.failures import failed_on
from kedro_cloudtrain.jobs.receipt import MachineUse
from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.worker.progress import finite
from kedro_cloudtrain.worker.results import describe_output, write_result

ROUNDS = 30
# The same as a template of a project's own, whose trials take so long: twenty rounds, and a note of the time that they took.
TEMPLATE = """
import hashlib, json, math, os, time
from pathlib import Path

HYPERPARAMETERS = {{ hyperparameters | literal }}
began, state = time.time(), "succeeded"
score = 0.1 + (HYPERPARAMETERS["depth"] - 5) ** 2 / 20 + math.log(HYPERPARAMETERS["rate"] / 0.1) ** 2 / 5
with open("progress.jsonl", "w", buffering=1) as progress:
    for step in range(1, 21):
        line = {"step": step, "of": 20, "metrics": {"validation_loss": score + 1 / step}, "seconds": step / 20}
        progress.write(json.dumps(line) + "\\n")
        time.sleep(HYPERPARAMETERS["seconds"] / 20)
        if Path("prune").exists():
            state = "pruned"
            break
Path("outputs").mkdir(exist_ok=True)
outputs = {}
for name, value in {"metrics": {"loss": score}, "history": [{"round": 1, "loss": score}]}.items():
    content = json.dumps(value).encode()
    Path(f"outputs/{name}.json").write_bytes(content)
    outputs[name] = {"path": f"outputs/{name}.json", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
result = {"state": state, "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT"), "outputs": outputs if state == "succeeded" else {}}
result |= {"started_at": began, "finished_at": time.time(), "seconds": {"fit": time.time() - began}}
Path("result.new").write_text(json.dumps(result))
Path("result.new").replace("result.json")
"""  # which reads job.progress no further


def bowl(values: dict[str, Any]) -> float:
    """Return a loss whose lowest value is at a depth of 5, a rate of 0.1 and lossguide."""
    rate = math.log(values.get("learning_rate", 0.1) / 0.1)
    return 0.1 + (values.get("max_depth", 5) - 5) ** 2 / 20 + rate**2 / 5 + 0.05 * (values.get("grow_policy") != "lossguide")


class ToyBackend:
    """Runs jobs by a formula.

    Args:
        score: returns the metric of some hyperparameters; it may raise the error of a job.
        metric: its name in the metrics file.
        look_every: after so many rounds the client looks at the progress; a job that ends sooner is never looked at.
        usd: what each job costs.
        slow_s: how long each takes.

    Attributes:
        jobs: the names of those that were run.
        rounds: how many rounds each has gone through.
    """

    name = "toy"

    def __init__(
        self,
        score: Callable[[dict[str, Any]], float] = bowl,
        metric: str = "log_loss",
        *,
        look_every: int = 1,
        usd: float | None = None,
        slow_s: float = 0.0,
    ) -> None:
        self._score, self._metric, self._look_every, self._usd, self._slow_s = score, metric, look_every, usd, slow_s
        self._lock = threading.Lock()
        self.jobs: list[str] = []
        self.rounds: dict[str, int] = {}
        self.fail_at: dict[int, CloudTrainError] = {}

    def run(self, request: Any, watcher: Any) -> Any:
        folder = request.folder
        with self._lock:
            self.jobs.append(folder.name)
            number = len(self.jobs) - 1
        if number in self.fail_at:
            raise self.fail_at[number]
        time.sleep(self._slow_s)
        watcher.moved(folder.name, JobState.STARTING)
        if self._usd is not None:
            watcher.used(folder.name, MachineUse("pod", "NVIDIA L4", 0.43, 1.0, self._usd, "done"))
        values = json.loads(folder.spec.read_text())["parameters"]["hyperparameters"]
        state = self._fit(folder, watcher, self._score(values))
        if state == "succeeded":
            folder.outputs.mkdir()
            file = folder.outputs / "metrics.json"
            file.write_text(json.dumps({"accuracy": 0.5, self._metric: self._score(values)}))
            write_result(folder.path, {"state": state, "outputs": {"metrics": describe_output(folder.path, file)}})
        else:
            write_result(folder.path, {"state": state})
        result = folder.read_result()
        if result.state != "succeeded":
            raise failed_on(folder, result, 60.0)
        return result

    def _fit(self, folder: Any, watcher: Any, score: float) -> str:
        with folder.progress.open("w") as progress:
            for step in range(1, ROUNDS + 1):
                self.rounds[folder.name] = step
                value = score + 1 / step
                line = {"step": step, "of": ROUNDS, "metrics": {"validation_mlogloss": finite(value)}, "seconds": step}
                progress.write(json.dumps(line) + "\n")
                progress.flush()
                if step % self._look_every == 0:
                    watcher.progressed(folder.name, JobProgress.model_validate(line))
                    if folder.prune.is_file():
                        return "pruned"
        return "succeeded"

    def submit(self, request: Any) -> None:
        raise NotImplementedError

    def kept(self, folder: Any) -> KeptProcess:
        return KeptProcess(folder)

    def close(self) -> None:
        """Do nothing."""

    def left(self) -> tuple[str, ...]:
        return ()


def studies_of(folder: Path) -> Path:
    """Return the folder of a project's studies."""
    return folder / ".cloudtrain/studies"
