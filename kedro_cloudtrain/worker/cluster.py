"""The processes that share a fit on this machine: a Dask worker for each of its GPUs, or on CPUs as many as the fit asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .devices import whole_cores
from .errors import InputError, LostProcessError, MachineError, PackageError
from .relayed_callbacks import relayed_to_lightgbm, relayed_to_xgboost
from .splitting import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .gpus import Gpu
    from .relay import Relay

_LOOPBACK = "127.0.0.1"
# A process imports Dask and pandas, which takes a cold disk some ten seconds.
_START_S = 120.0
_END_S = 10.0
_LOOK_EVERY_S = 0.02
_REAPED_S = 0.2
# Work stealing would move rows from one process to another, and with them the sums' order.
_SCHEDULER = {"distributed.scheduler.work-stealing": False}


@dataclasses.dataclass(frozen=True)
class StoredPart:
    """Rows in files of this machine, which each process maps into its memory.

    Attributes:
        files: by the name of the part's array; None for rows without weights.
        shapes: the arrays' shapes.
        types: the arrays' types.
    """

    files: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]

    @classmethod
    def of(cls, part: Part, folder: Path) -> StoredPart:
        """Write rows to a folder."""
        arrays = {name: value for name in ("features", "target", "rows", "weight") if (value := getattr(part, name)) is not None}
        folder.mkdir(parents=True)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array)
        files = {name: str(folder / f"{name}.npy") for name in arrays}
        return cls(files, {name: each.shape for name, each in arrays.items()}, {name: each.dtype.str for name, each in arrays.items()})

    def load(self) -> Part:
        """Return the rows, which are read from their files as they are needed."""
        return Part(**{name: np.load(file, mmap_mode="r") for name, file in self.files.items()})

    def array(self, name: str) -> Any:
        """Return one of the arrays, as `load` does."""
        return np.load(self.files[name], mmap_mode="r")


class Cluster:
    """A Dask cluster on this machine, of as many processes as GPUs, each of which sees one of them.

    The workers are started as programs, not by `multiprocessing`, which would run the job's script once more in each. Each has
    `CUDA_VISIBLE_DEVICES`, which is what `dask-cuda` would add for rows that come from the host's memory; that package asks for one exact
    release of Dask, and brings RAPIDS' own with it.

    Args:
        workers: how many processes.
        gpu: the machine's GPUs, if the fit uses them; None for a fit on CPUs.
        general: whether they do any tasks: those may move to another process, and each process has its part of the memory.

    Attributes:
        client: a `distributed.Client`.

    Raises:
        MachineError: the machine has fewer GPUs, or the processes do not start.
        PackageError: Dask is not installed.
    """

    client: Any

    def __init__(self, workers: int, gpu: Gpu | None = None, *, general: bool = False) -> None:
        self._general = general
        self._environments = [{} for _ in range(workers)] if gpu is None else _by_gpu(workers, gpu)
        self._scratch = tempfile.TemporaryDirectory(prefix="cloudtrain-cluster-", ignore_cleanup_errors=True)
        self._folder = Path(self._scratch.name)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._relays: list[Relay] = []
        self._shared = 0
        self._closing = False
        self._scheduler: Any = None
        self.client = None
        self._died: str | None = None
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    @property
    def scheduler_address(self) -> str:
        """The scheduler's address, for further clients."""
        return str(self._scheduler.scheduler_address)

    @property
    def addresses(self) -> list[str]:
        """The workers' addresses, the first one's first."""
        names = self.client.run(_name_of)
        return sorted(names, key=lambda address: int(names[address]))

    def deal(self, part: Part) -> list[StoredPart]:
        """Return some of the rows for each process: each gets every so manyth, so that all see what a table that is sorted holds.

        Raises:
            InputError: there are fewer rows than processes, which LightGBM does not survive.
        """
        count = len(self._processes)
        if len(part) < count:
            raise InputError(
                f"The fit has {len(part)} rows, fewer than the {count} processes that are to share them: set gpu_count: 1 and machines: 1 "
                "for the node in cloudtrain.yml."
            )
        return self._dealt(part)

    def _dealt(self, part: Part) -> list[StoredPart]:
        count = len(self._processes)
        return [self.store(part.take(np.arange(first, len(part), count))) for first in range(count)]

    def store(self, part: Part) -> StoredPart:
        """Return rows that each process can load."""
        self._shared += 1
        return StoredPart.of(part, self._folder / f"rows-{self._shared}")

    def share_out(self, part: Part) -> Part:
        """Return rows as Dask arrays of one block a process, each in the memory of its own process."""
        import dask.array
        from dask import delayed
        from distributed import wait

        dealt, addresses = self._dealt(part), self.addresses
        arrays: dict[str, Any] = {}
        futures = []
        for name in dealt[0].files:
            blocks = []
            for stored, address in zip(dealt, addresses, strict=True):
                futures.append(self.client.submit(stored.array, name, workers=[address], pure=False))
                blocks.append(dask.array.from_delayed(delayed(futures[-1]), shape=stored.shapes[name], dtype=stored.types[name]))
            arrays[name] = dask.array.concatenate(blocks)
        wait(futures)
        self._remove_rows()
        return Part(**arrays)

    def each(self, function: Callable[..., Any], *arguments: Sequence[Any]) -> Any:
        """Call a function in each process, and return the value that it has in the first; then no stored rows are left.

        Args:
            function: what is called.
            arguments: for each argument, a value a process.
        """
        futures = [
            self.client.submit(function, *given, workers=[address], pure=False, allow_other_workers=False)
            for address, *given in zip(self.addresses, *arguments, strict=True)
        ]
        others = [self.client.submit(_done, future, pure=False) for future in futures[1:]]  # their errors count, their models stay there
        try:
            return self.client.gather([futures[0], *others])[0]
        finally:
            self._remove_rows()

    def for_xgboost(self, callbacks: Sequence[Any]) -> list[Any]:
        """Return XGBoost's callbacks for `xgboost.dask`: progress and checkpoints are kept in this process."""
        relay, relayed = relayed_to_xgboost(callbacks)
        self._relays.append(relay)
        return relayed

    def for_lightgbm(self, callbacks: Sequence[Any]) -> list[Any]:
        """Return LightGBM's callbacks for its processes: progress and checkpoints are kept in this one."""
        relay, relayed = relayed_to_lightgbm(callbacks)
        self._relays.append(relay)
        return relayed

    def lightgbm_network(self) -> list[dict[str, Any]]:
        """Return for each process the parameters by which LightGBM finds the others, and adds up their histograms."""
        ports = _free_ports(len(self._processes))
        shared = {
            "machines": ",".join(f"{_LOOPBACK}:{port}" for port in ports),
            "num_machines": len(ports),
            "pre_partition": True,
        }
        return [{**shared, "local_listen_port": port} for port in ports]

    def close(self, error: BaseException | None = None) -> BaseException | None:
        """End all processes, and return the error of the work, or the end of a process that it follows from."""
        if isinstance(error, Exception) and self._died is None:
            time.sleep(_REAPED_S)  # A library may notice the end of another process before the system has reported it.
        died, self._closing = self._died, True
        for relay in self._relays:
            relay.close()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # that its workers end is meant
        _end(self._processes)
        for each in (self.client, self._scheduler):
            if each is not None:
                each.close(timeout=_END_S)
        self._scratch.cleanup()
        return error if died is None or error is None else LostProcessError(died)

    def _remove_rows(self) -> None:
        """Remove the files of rows: what a process has mapped it keeps, and a cross-validation would fill the disk."""
        for folder in self._folder.glob("rows-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self) -> None:
        try:
            import dask
            from distributed import Client, LocalCluster
        except ImportError as error:
            named = f"a fit in several processes needs Dask, and {error.name} is not installed"
            raise PackageError(f'{named}: pip install "kedro-cloudtrain[dask]"') from error

        logging.getLogger("distributed").setLevel(logging.ERROR)  # it sets INFO itself, which a function's log would show
        with dask.config.set({} if self._general else _SCHEDULER):
            self._scheduler = LocalCluster(
                n_workers=0,
                processes=True,
                host=_LOOPBACK,
                scheduler_port=0,
                dashboard_address=f"{_LOOPBACK}:0",
                silence_logs=logging.ERROR,
            )
        threads = max(1, whole_cores() // len(self._environments))
        for number, environment in enumerate(self._environments):
            self._processes.append(self._process(number, threads, environment))
        self.client = Client(self._scheduler)
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), name="cloudtrain-cluster", daemon=True).start()
        self._wait_for_all()

    def _wait_for_all(self) -> None:
        deadline = time.monotonic() + _START_S
        while len(self._scheduler.scheduler.workers) < len(self._processes):
            if self._died is not None or time.monotonic() > deadline:
                raise MachineError(self._died or f"the processes that share the work have not started within {_START_S:g} s")
            time.sleep(_LOOK_EVERY_S)

    def _process(self, number: int, threads: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", f"{__package__}.cluster_process", self._scheduler.scheduler_address]
        return subprocess.Popen(
            [*command, str(number), str(threads), str(self._folder), "auto" if self._general else "0"],
            stdin=subprocess.PIPE,  # closed by the end of this process, whatever ends it
            start_new_session=True,  # what ends this one's group leaves them the time to remove the rows
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                "OMP_NUM_THREADS": str(threads),
                "DASK_LOGGING__DISTRIBUTED": "critical",  # what a process has raised, the job raises
                **environment,
            },
        )

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """End the fit with the first of its processes: the others would wait for it."""
        code = process.wait()
        if self._closing or self._died is not None:
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
        hint = ", most likely since the machine has too little memory" if code == -signal.SIGKILL else ""
        self._died = f"process {self._processes.index(process) + 1} of the {len(self._processes)} that share the work {how}{hint}"
        print(self._died, flush=True)  # noqa: T201  # the job's log
        _end(self._processes)
        if self.client is not None:
            self.client.close(timeout=_END_S)


def _done(value: Any) -> None:  # it stays in its process
    """Return nothing of a value, once it is there."""


def _name_of(dask_worker: Any) -> Any:
    """Return a worker's name; Dask passes the worker to an argument of this name."""
    return dask_worker.name


def _by_gpu(workers: int, gpu: Gpu) -> list[dict[str, str]]:
    """Return for each process the GPU that it sees.

    Raises:
        MachineError: there are fewer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(number) for number in range(gpu.count)]
    if len(names) < workers:
        raise MachineError(f"the fit asks for {workers} GPUs, and this machine shows it {len(names)} ({gpu})")
    return [{"CUDA_VISIBLE_DEVICES": name.strip()} for name in names[:workers]]


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; they are all held until the last is found, so that none comes twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((_LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
