"""What every job's script has in common: its stages are timed, and at its end `result.json` says what came of it."""

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
from .errors import InputError
from .progress import Progress
from .results import description, peak_memory_bytes, version_of, write_result

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType


class Job:
    """One job, in the folder of its script; a context in which the script does its work.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        packages: those whose versions the result says.

    Attributes:
        folder: the job folder.
        device: `cuda` or `cpu`.
        progress: the work's watcher.
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
        self.progress = Progress(self.folder / "progress.jsonl")

    def __enter__(self) -> Self:
        watch_deadline()
        # By the environment, so that a user's own processes find it, too.
        os.environ["CLOUDTRAIN_CHECKPOINT"] = str(self._checkpoint)
        os.environ["CLOUDTRAIN_WORK"] = self._work
        try:
            self.begin()
        except InputError as error:
            self._refuse(error)
        except Exception as error:
            self._end(error)
            raise
        return self

    def begin(self) -> None:
        """Look at the machine before the work begins.

        Raises:
            InputError: what was asked for cannot be.
        """

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback_: TracebackType | None) -> bool | None:
        self._change_stage("")
        self.progress.close()
        if error is not None and not isinstance(error, Exception | SystemExit):
            return None  # Ended from outside: no result is the truth.
        if isinstance(error, InputError):
            self._refuse(error)
        self._end(error)
        return None

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the work by itself: what comes before it counts as reading, what comes after as saving."""
        self._change_stage(name)
        try:
            yield
        finally:
            if sys.exc_info()[0] is None:
                self._change_stage("save")

    @property
    def _checkpoint(self) -> Path:
        return self.folder / "checkpoint"

    @property
    def _work(self) -> str:
        """Tell one work from another in the same folder: a script that was edited by hand does not go on where the first one stopped."""
        files = [file for file in (self.folder / "train.py", self.folder / "code.zip") if file.is_file()]
        said = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        return hashlib.sha256("\n".join([os.environ.get("CLOUDTRAIN_CHECKPOINT_OF", ""), *said]).encode()).hexdigest()[:16]

    def _output_file(self, name: str) -> Path:
        file = self.folder / "outputs" / name
        file.parent.mkdir(exist_ok=True)
        return file

    def _change_stage(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._stage_began
        if name:
            self._stage, self._stage_began = name, now

    def _versions(self) -> dict[str, str]:
        return {"python": sys.version.split()[0], **{name: version_of(name) for name in self._packages}}

    def _refuse(self, error: InputError) -> NoReturn:
        """End with the message of a user's mistake, which no traceback makes clearer."""
        self._end(error)
        print(error, file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None

    def _end(self, error: BaseException | None) -> None:
        """Write `result.json`, last and by rename: from then on the job is done."""
        said = None
        if error is not None:
            import traceback  # a job that ends well needs none

            said = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
                "stage": self._stage,
                "input_error": isinstance(error, InputError),
            }
        outputs = {kind: description(self.folder, path) for kind, path in self._written.items()} | self._kept
        result = {
            "state": "succeeded" if error is None else "failed",
            "attempt": os.environ.get("CLOUDTRAIN_ATTEMPT"),
            "error": said,
            "outputs": outputs if error is None else {},
            # What a pod has done before: its environment.
            "seconds": json.loads(os.environ.get("CLOUDTRAIN_STAGES") or "{}")
            | {name: round(value, 4) for name, value in self._seconds.items()},
            "rows": self._rows,
            "bytes_read": self._bytes_read,
            "device": self.device,
            "device_name": self._device_name,
            "peak_memory_bytes": peak_memory_bytes(),
            "versions": self._versions(),
            "started_at": self._started_at,
            "finished_at": time.time(),
        }
        write_result(self.folder, result)
        if error is None:
            shutil.rmtree(self._checkpoint, ignore_errors=True)
