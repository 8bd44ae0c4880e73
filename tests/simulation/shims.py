"""What stands in the place of `time`, `threading` and the like in the client's modules."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from typing import IO, TYPE_CHECKING, Any

from kedro_cloudtrain.running import group_watcher
from kedro_cloudtrain.storage import cache, files
from kedro_cloudtrain.storage import disk as disk_of_client
from kedro_cloudtrain.storage.life_locks import LifeLocks
from kedro_cloudtrain.storage.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from simulation.scheduler import Scheduler, Task

# The first of January 2026, when each world begins.
EPOCH_S = 1_767_225_600.0


class Time:
    """The module `time`, by the world's clock."""

    CLOCK_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    CLOCK_MONOTONIC = time.CLOCK_MONOTONIC

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def sleep(self, seconds: float) -> None:
        self._scheduler.sleep(seconds)

    def clock_gettime(self, clock: int) -> float:
        return self._scheduler.now

    def monotonic(self) -> float:
        return self._scheduler.now - self._scheduler.current.process.asleep_s

    perf_counter = monotonic

    def time(self) -> float:
        return EPOCH_S + self._scheduler.now + self._scheduler.current.process.clock_ahead_s

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Event:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(self.is_set, timeout)


class Lock:
    def __init__(self, scheduler: Scheduler, *, reentrant: bool = False) -> None:
        self._scheduler = scheduler
        self._reentrant = reentrant
        self._holder: Task | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        task = self._scheduler.current
        if self._holder is not None and not (self._reentrant and self._holder is task):
            if not blocking:
                return False
            if not self._scheduler.wait(lambda: self._holder is None, None if timeout < 0 else timeout):
                return False
        self._holder = task
        self._count += 1
        return True

    def release(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._holder = None

    def locked(self) -> bool:
        return self._holder is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition(Lock):
    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__(scheduler, reentrant=True)
        self._notified = 0

    def wait(self, timeout: float | None = None) -> bool:
        before = self._notified
        self.release()
        try:
            return self._scheduler.wait(lambda: self._notified > before, timeout)
        finally:
            self.acquire()

    def notify_all(self) -> None:
        self._notified += 1

    notify = notify_all


class Semaphore:
    def __init__(self, scheduler: Scheduler, value: int = 1) -> None:
        self._scheduler = scheduler
        self._value = value

    def acquire(self, blocking: bool = True, timeout: float | None = None) -> bool:
        if not self._value and (not blocking or not self._scheduler.wait(lambda: self._value > 0, timeout)):
            return False
        self._value -= 1
        return True

    def release(self, count: int = 1) -> None:
        self._value += count


class Thread:
    def __init__(
        self,
        scheduler: Scheduler,
        target: Callable[..., object] | None = None,
        name: str = "thread",
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        daemon: bool | None = None,
    ) -> None:
        self.name = name
        self.daemon = daemon
        self._scheduler = scheduler
        self._call = lambda: target(*args, **(kwargs or {})) if target is not None else None
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._scheduler.spawn(self._scheduler.current.process, self._call, self.name)

    def join(self, timeout: float | None = None) -> None:
        task = self._task
        assert task is not None
        self._scheduler.wait(lambda: task.done, timeout)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done


class Threading:
    """The module `threading`, with threads that take turns."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def Event(self) -> Event:  # noqa: N802  # as the module has it
        return Event(self._scheduler)

    def Lock(self) -> Lock:  # noqa: N802
        return Lock(self._scheduler)

    def RLock(self) -> Lock:  # noqa: N802
        return Lock(self._scheduler, reentrant=True)

    def Condition(self) -> Condition:  # noqa: N802
        return Condition(self._scheduler)

    def Semaphore(self, value: int = 1) -> Semaphore:  # noqa: N802
        return Semaphore(self._scheduler, value)

    def Thread(self, *args: Any, **options: Any) -> Thread:  # noqa: N802
        return Thread(self._scheduler, *args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


class OfProcess(dict[Any, Any]):
    """What a process has one of each of, of several processes."""

    def __init__(self, scheduler: Scheduler) -> None:
        super().__init__()
        self._scheduler = scheduler

    def setdefault(self, name: Any, value: Any = None) -> Any:
        return super().setdefault((self._scheduler.current.process, name), value)


class Secrets:
    """The module `secrets`, by a seed."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def token_hex(self, count: int) -> str:
        return f"{self._chance.getrandbits(8 * count):0{2 * count}x}"

    def token_bytes(self, count: int) -> bytes:
        return self._chance.randbytes(count)


@contextlib.contextmanager
def installed(scheduler: Scheduler, chance: random.Random, home: Callable[[], Path], disk: Callable[[], None]) -> Iterator[None]:
    """Have the client's modules use the world's time, threads, chance, home and disk while the block runs.

    Args:
        scheduler: has the time and the threads.
        chance: decides what names are drawn.
        home: returns the cache folder of the current task's computer.
        disk: raises an OSError where that computer's disk is full.
    """
    import secrets

    own_time, own_threading = Time(scheduler), Threading(scheduler)
    real_whole, real_member = files.whole, group_watcher.Member

    @contextlib.contextmanager
    def whole(path: Path, **options: Any) -> Iterator[Path]:
        with disk_of_client.writing(path):
            disk()
        with real_whole(path, **options) as temporary:
            yield temporary

    real_locked = LifeLocks._locked

    def locked(locks: LifeLocks) -> IO[str]:
        file = real_locked(locks)
        scheduler.current.process.open_files.append(file)
        return file

    replaced = [
        (time, own_time),
        (threading, own_threading),
        (secrets, Secrets(chance)),
        (random, chance),
        (time.sleep, own_time.sleep),
        (time.monotonic, own_time.monotonic),
        (time.time, own_time.time),
        (cache.cache_folder, home),
        (real_whole, whole),
        # A dataclass has taken its event's class from the real module.
        (group_watcher.Member, lambda request, watcher: real_member(request, watcher, own_threading.Event())),
    ]
    undo_locked = (LifeLocks, "_locked", real_locked)
    LifeLocks._locked = locked  # type: ignore[method-assign]
    # What a process has logged or knows of a server, another one has not.
    undo: list[tuple[Any, str, Any]] = [(Silence, "_of", Silence._of), (disk_of_client, "_logged", disk_of_client._logged), undo_locked]
    Silence._of = OfProcess(scheduler)  # type: ignore[assignment]
    disk_of_client._logged = set()
    for name, module in list(sys.modules.items()):
        parts = name.split(".")
        if parts[0] != "kedro_cloudtrain" or module is None or "worker" in parts or "pod" in parts:
            continue
        for attribute, value in list(vars(module).items()):
            for real, own in replaced:
                if value is real:
                    undo.append((module, attribute, value))
                    setattr(module, attribute, own)
    try:
        yield
    finally:
        for module, attribute, value in undo:
            setattr(module, attribute, value)
