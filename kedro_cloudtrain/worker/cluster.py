"""The processes that share a fit: a Dask worker for each GPU of each machine, or on CPUs as many as the fit asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from .devices import whole_cores
from .errors import InputError, LostProcessError, MachineError, PackageError
from .other_machines import OtherMachines
from .relayed_callbacks import relayed_to_lightgbm, relayed_to_xgboost
from .scratch import scratch
from .splitting import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from .gpus import Gpu
    from .relay import Relay

_LOOPBACK = "127.0.0.1"
_PORTS = range(20_000, 32_000)
# A process imports Dask and pandas, which takes a cold disk some ten seconds.
_START_S = 120.0
_END_S = 10.0
_LOOK_EVERY_S = 0.02
_REAPED_S, _REPORTED_S = 0.5, 5.0
_LOOK_AGAIN_S = 0.5
_PROCESS = f"{__package__}.cluster_process"
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
    """A Dask cluster of as many processes as GPUs, each of which sees one of them, on this machine or on all those that share the job.

    The workers are started as programs, not by `multiprocessing`, which would run the job's script once more in each. Each has
    `CUDA_VISIBLE_DEVICES`, which is what `dask-cuda` would add for rows that come from the host's memory; that package asks for one exact
    release of Dask, and brings RAPIDS' own with it.

    Args:
        workers: how many processes.
        gpu: the machine's GPUs, if the fit uses them; None for a fit on CPUs.
        general: whether they do any tasks: those may move to another process, and each process has its part of the memory.
        on_lost: called with the reason once a process has ended that should not have; left out, the client of this cluster is closed,
            which ends the fit that waits for it.

    Attributes:
        client: a `distributed.Client`.

    Raises:
        MachineError: the machine has fewer GPUs, or the processes do not start.
        PackageError: Dask is not installed.
    """

    client: Any

    def __init__(
        self, workers: int, gpu: Gpu | None = None, *, general: bool = False, on_lost: Callable[[str], None] | None = None
    ) -> None:
        self._general, self._on_lost = general, on_lost
        self._others, self._count, self._on_gpus = OtherMachines.of_environment(), workers, gpu is not None
        self._host = self._others.address if self._others is not None else _LOOPBACK
        here = workers // self._others.machines if self._others is not None else workers
        self._environments = [{} for _ in range(here)] if gpu is None or here == 1 else _by_gpu(here, gpu)
        self._stack = contextlib.ExitStack()
        self._scratch = self._stack.enter_context(scratch())
        # Rows that this process has are handed over by files, which the other machines see on the volume.
        self._folder = self._scratch if self._others is None else self._others.folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._relays: list[Relay] = []
        self._shared, self._closing = 0, False
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
        """Return one part of the rows per process, dealt out in turn, so that each part covers a sorted table.

        Raises:
            InputError: there are fewer rows than processes, which LightGBM does not survive.
        """
        count = self._count
        if len(part) < count:
            raise InputError(
                f"The fit has {len(part)} rows, fewer than the {count} processes that are to share them: set gpu_count: 1 and machines: 1 "
                "for the node in cloudtrain.yml."
            )
        return self._dealt(part)

    def _dealt(self, part: Part) -> list[StoredPart]:
        count = self._count
        return [self.store(part.take(np.arange(first, len(part), count))) for first in range(count)]

    def sample(self, part: Part, count: int) -> StoredPart:
        """Return at most `count` of the rows, from all over the table, which each process can load."""
        return self.store(part.take(np.arange(0, len(part), max(1, -(-len(part) // count)))))

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
        relay, relayed = relayed_to_xgboost(callbacks, self._host)
        self._relays.append(relay)
        return relayed

    def for_lightgbm(self, callbacks: Sequence[Any]) -> list[Any]:
        """Return LightGBM's callbacks for its processes: progress and checkpoints are kept in this one."""
        relay, relayed = relayed_to_lightgbm(callbacks, self._host)
        self._relays.append(relay)
        return relayed

    def lightgbm_network(self) -> list[dict[str, Any]]:
        """Return for each process the parameters by which LightGBM finds the others, and adds up their histograms."""
        here, hosts = len(self._processes), [_host_of(address) for address in self.addresses]
        # Each machine is asked once, so that no port comes twice.
        firsts = self.addresses[::here]
        futures = [
            self.client.submit(_free_ports, here, hosts[number * here], workers=[first], pure=False) for number, first in enumerate(firsts)
        ]
        ports = [port for each in self.client.gather(futures) for port in each]
        shared = {
            "machines": ",".join(f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)),
            "num_machines": len(ports),
            "pre_partition": True,
        }
        return [{**shared, "local_listen_port": port} for port in ports]

    def close(self, error: BaseException | None = None) -> BaseException | None:
        """End all processes; return the error of the work, or the death of a process that caused it."""
        if isinstance(error, Exception):
            self._await_reason()
        died, self._closing = self._died, True
        for relay in self._relays:
            relay.close()
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # that its workers end is meant
        _end(self._processes)
        for each in (self.client, self._scheduler):
            if each is not None:
                each.close(timeout=_END_S)
        self._stack.close()
        return error if died is None or error is None else LostProcessError(died)

    def _await_reason(self) -> None:
        """Wait for the reason of an error: a library may notice the end of a process or of a machine before it is reported here."""
        began = time.monotonic()
        while self._died is None:
            is_one_gone = self._scheduler is not None and len(self._scheduler.scheduler.workers) < self._count
            if time.monotonic() - began > (_REPORTED_S if is_one_gone else _REAPED_S):
                return
            time.sleep(_LOOK_EVERY_S)

    def _remove_rows(self) -> None:
        """Remove the row files, which a cross-validation would fill the disk with. Processes keep what they have mapped."""
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
                host=self._host,
                scheduler_port=0,
                dashboard_address=f"{self._host}:0",
                silence_logs=logging.ERROR,
            )
        memory = "auto" if self._general else "0"
        if self._others is not None:
            self._others.ask(_PROCESS, self.scheduler_address, len(self._environments), memory, gpu=self._on_gpus)
        threads = max(1, whole_cores() // len(self._environments))
        for number, environment in enumerate(self._environments):
            self._processes.append(self._process(number, threads, environment))
        self.client = Client(self._scheduler)
        for process in self._processes:
            threading.Thread(target=self._watch, args=(process,), name="cloudtrain-cluster", daemon=True).start()
        self._wait_for_all()
        if self._others is not None:
            threading.Thread(target=self._watch_others, args=(self._others,), name="cloudtrain-machines", daemon=True).start()

    def _wait_for_all(self) -> None:
        within_s = _START_S if self._others is None else self._others.within_s
        deadline = time.monotonic() + within_s
        while len(self._scheduler.scheduler.workers) < self._count:
            failure = self._died or (self._others.failure if self._others is not None else None)
            if failure is not None or time.monotonic() > deadline:
                started = len(self._scheduler.scheduler.workers)
                late = f"of the {self._count} processes that share the work, {started} have started within {within_s:g} s"
                raise MachineError(failure or late)
            time.sleep(_LOOK_EVERY_S)

    def _watch_others(self, others: OtherMachines) -> None:
        """End the fit with the first process of another machine, whether it has ended or the whole machine."""
        while not self._closing and self._died is None:
            if len(self._scheduler.scheduler.workers) < self._count:
                time.sleep(_LOOK_AGAIN_S)  # the machine may say why
                why = others.failure or "a machine does not answer any more"
                self._end_with(f"{why}: {self._count} processes share the work, and not all of them are there any more")
            time.sleep(_LOOK_AGAIN_S)

    def _end_with(self, reason: str) -> None:
        """End the processes for a reason, unless they have ended already."""
        if self._closing or self._died is not None:
            return
        self._died = reason
        print(self._died, flush=True)  # noqa: T201  # the job's log
        _end(self._processes)
        if self._on_lost is not None:
            self._on_lost(reason)
        elif self.client is not None:
            self.client.close(timeout=_END_S)

    def _process(self, number: int, threads: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-P", "-m", _PROCESS, self._scheduler.scheduler_address]
        return subprocess.Popen(
            [*command, str(number), str(threads), str(self._scratch), "auto" if self._general else "0", self._host],
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
        ending = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"has ended with exit code {code}"
        hint = ", most likely since the machine has too little memory" if code == -signal.SIGKILL else ""
        place = self._processes.index(process) + 1
        self._end_with(f"process {place} of the {self._count} that share the work {ending}{hint}")


def _host_of(address: str) -> str:
    """Return the host of a worker's address, as LightGBM finds it among its machine's own: of the loopback's, that has one alone."""
    host = str(urlsplit(address).hostname)
    return _LOOPBACK if host.startswith("127.") else host


def _done(value: Any) -> None:
    """Return None, so that a result stays in its process."""


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


def _free_ports(count: int, host: str) -> list[int]:
    """Return ports of this machine that nobody listens on; they are all held until the last is found, so that none comes twice.

    They are below those that a system hands out by itself (32,768 and more, ip(7)): one of these might be taken by the time that LightGBM
    listens on it.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = secrets.choice(_PORTS)
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                ports.append(port)
        return ports


def _end(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        if process.stdin is not None:
            process.stdin.close()
        process.wait()
