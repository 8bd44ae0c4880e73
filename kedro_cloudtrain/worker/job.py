"""The common part of all jobs' scripts: the stages are timed, and at the end `result.json` has the outcome."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from .deadline import watch_deadline
from .errors import InputError, LostProcessError, MachineError
from .gpus import GpuUse, described
from .memory import release_memory
from .progress import Progress
from .protocol import (
    ATTEMPT_VARIABLE,
    CHECKPOINT,
    CHECKPOINT_OF_VARIABLE,
    CHECKPOINT_VARIABLE,
    CODE,
    GPU_VARIABLE,
    OUTPUTS,
    PROGRESS,
    PRUNED,
    SCRIPT,
    STAGES_VARIABLE,
    WORK_VARIABLE,
)
from .results import describe_output, peak_memory_bytes, version_of, write_result
from .tracebacks import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from .cluster import Cluster
    from .gpus import Gpu


class Job:
    """One job, in the folder of its script; a context in which the script does its work.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        packages: the packages whose versions are in the result.

    Attributes:
        folder: the job folder.
        device: `cuda` or `cpu`.
        progress: the progress of the work.
    """

    def __init__(self, script: str, packages: Sequence[str]) -> None:
        self.folder = Path(script).resolve().parent
        self._packages = packages
        self._started_at = time.time()
        self._stage = "read"
        self._stage_began = time.perf_counter()
        self._seconds: dict[str, float] = {}
        self._rows: dict[str, int] = {}
        self._bytes_read = 0
        self._written: dict[str, Path] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self.device, self._device_name = "cpu", ""
        self._gpu: Gpu | None = None
        self._gpu_use_percent: float | None = None
        self._cluster: Cluster | None = None
        self.progress = Progress(self.folder / PROGRESS)

    def __enter__(self) -> Self:
        watch_deadline()
        # In the environment, so that a user's own processes find the checkpoint, too.
        os.environ[CHECKPOINT_VARIABLE] = str(self._checkpoint)
        os.environ[WORK_VARIABLE] = self._work
        try:
            self.begin()
        except (InputError, MachineError) as error:
            self._refuse(error)
        except Exception as error:
            self._end(error)
            raise
        return self

    def begin(self) -> None:
        """Check the machine and the parameters before the work begins.

        Raises:
            InputError: a parameter is not valid.
            MachineError: this machine cannot do the job.
        """

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback_: TracebackType | None) -> bool | None:
        if self._cluster is not None:
            error = self._cluster.close(error)
        self._change_stage("")
        self.progress.close()
        if error is not None and not isinstance(error, Exception | SystemExit):
            return None  # The job was ended from outside, and must not leave a result.
        if error is not None and self.progress.pruned:
            # Whatever the library has made of it: CatBoost raises an error of its own.
            print("pruned by the search that has asked for it")  # noqa: T201
            self._end(None, PRUNED)
            raise SystemExit(0)
        error = self.explained(error)
        if isinstance(error, InputError | LostProcessError):
            self._refuse(error)
        self._end(error)
        return None

    def cluster(self, workers: int) -> Cluster:
        """Return the processes that share the job's fits, one for each GPU; they are started once, and end with the job.

        Args:
            workers: how many.

        Raises:
            MachineError: the machine has fewer GPUs, or the processes do not start.
            PackageError: Dask is not installed.
        """
        from .cluster import Cluster

        if self._cluster is None:
            self._cluster = Cluster(workers, self._gpu)
        return self._cluster

    @property
    def rows_per_s(self) -> float | None:
        """The rows that the work went through in a second; None where that is not known."""
        return None

    def explained(self, error: BaseException | None) -> BaseException | None:
        """Return an error of the work, or the user's mistake that it means."""
        return error

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the work separately: all before it counts as reading, all after it as saving."""
        release_memory()  # what was read has become the library's by now
        self._change_stage(name)
        use = GpuUse() if self._gpu is not None else None
        try:
            yield
        finally:
            self._gpu_use_percent = use.close() if use is not None else None
            if self._gpu_use_percent is not None:
                idle = ": it was paid for and not used" if self._gpu_use_percent == 0 and GPU_VARIABLE in os.environ else ""
                print(f"the GPU was busy for {self._gpu_use_percent:g} % of the {name}{idle}")  # noqa: T201
            if sys.exc_info()[0] is None:
                self._change_stage("save")

    @property
    def _checkpoint(self) -> Path:
        return self.folder / CHECKPOINT

    @property
    def _work(self) -> str:
        """The identity of the work: a script that was edited by hand must not go on from the checkpoint of the one before."""
        files = [file for file in (self.folder / SCRIPT, self.folder / CODE) if file.is_file()]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return hashlib.sha256("\n".join([os.environ.get(CHECKPOINT_OF_VARIABLE, ""), *digests]).encode()).hexdigest()[:16]

    def _output_file(self, name: str) -> Path:
        file = self.folder / OUTPUTS / name
        file.parent.mkdir(exist_ok=True)
        return file

    def _described(self, name: str, path: Path) -> dict[str, Any]:
        """Return what the result has of an output in the job folder."""
        del name
        return describe_output(self.folder, path)

    def _change_stage(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_began
        if name:
            self._stage, self._stage_began = name, now

    def _versions(self) -> dict[str, str]:
        return {"python": sys.version.split()[0], **{name: version_of(name) for name in self._packages}}

    def _refuse(self, error: InputError | MachineError | LostProcessError) -> NoReturn:
        """End the job with the message of a user's mistake or of a machine's fault, which a traceback would not make clearer."""
        self._end(error)
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None

    def _end(self, error: BaseException | None, state: str = "succeeded") -> None:
        """Write `result.json`, last and by rename: once it exists, the job is done."""
        failure = None
        if error is not None:
            failure = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": text_of(error),
                "stage": self._stage,
                "input_error": isinstance(error, InputError),
                "about": getattr(error, "about", ""),
            }
        outputs = {name: self._described(name, path) for name, path in self._written.items()} | self._kept
        result = {
            "state": state if error is None else "failed",
            "attempt": os.environ.get(ATTEMPT_VARIABLE),
            "error": failure,
            "outputs": outputs if error is None and state == "succeeded" else {},
            # With the stages that a pod went through before the script: its environment.
            "seconds": json.loads(os.environ.get(STAGES_VARIABLE) or "{}")
            | {name: round(value, 4) for name, value in self._seconds.items()},
            "rows": self._rows,
            "rows_per_s": self.rows_per_s,
            "bytes_read": self._bytes_read,
            "device": self.device,
            "device_name": self._device_name,
            "gpu": described(self._gpu, self._gpu_use_percent) if self._gpu is not None else None,
            "peak_memory_bytes": peak_memory_bytes(),
            "versions": self._versions(),
            "started_at": self._started_at,
            "finished_at": time.time(),
        }
        write_result(self.folder, result)
        if error is None:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
