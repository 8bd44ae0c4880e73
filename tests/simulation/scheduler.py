"""Threads that take turns, and time that passes only while all of them wait: the same seed gives the same run."""

from __future__ import annotations

import threading
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

# One thread in a hundred waits for longer than anybody would.
FOREVER_S = 1e9


class Killed(BaseException):
    """The process of a task was killed: it does nothing any more."""


class Interrupted(BaseException):
    """A signal has arrived at the main task of a process."""


class StuckError(AssertionError):
    """All tasks wait for one another, or do not end."""


class Process:
    """A process of the simulated world.

    Attributes:
        name: the process's name.
        alive: whether it runs; what a dead one tries to do has no effect.
        clock_ahead_s: how far its wall clock is ahead.
        asleep_s: for how long its computer has been asleep.
        asleep_until: when its computer wakes up.
        open_files: what it holds locks by.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.clock_ahead_s = 0.0
        self.asleep_s = 0.0
        self.asleep_until = 0.0
        self.open_files: list[IO[str]] = []

    def exit(self) -> None:
        """Close what the process has open, as the kernel does: its locks end with it, whenever its memory is given back."""
        for file in self.open_files:
            file.close()

    def __repr__(self) -> str:
        return self.name


class Task:
    """A thread that runs only when it is its turn."""

    def __init__(self, scheduler: Scheduler, process: Process, call: Callable[[], object], name: str) -> None:
        self.process = process
        self.name = name
        self.done = False
        self.error: BaseException | None = None
        self.wakes_at = scheduler.now
        self.ready: Callable[[], bool] | None = None
        self.pending: BaseException | None = None
        self.turn = threading.Semaphore(0)
        self._scheduler = scheduler
        self._call = call
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)
        self.thread.start()

    def _live(self) -> None:
        self.turn.acquire()
        try:
            self._raise_pending()
            self._call()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001  # the thread that joins it sees the error
            self.error = error
        self.done = True
        self._scheduler.back.release()

    def _raise_pending(self) -> None:
        if not self.process.alive:
            raise Killed
        if self.pending is not None:
            error, self.pending = self.pending, None
            raise error

    def pause(self, until: float, ready: Callable[[], bool] | None = None) -> bool:
        """Wait until a time or until something is so, whichever comes first; return whether it is so."""
        self._raise_pending()
        self.wakes_at, self.ready = until, ready
        self._scheduler.back.release()
        self.turn.acquire()
        self._raise_pending()
        return ready() if ready is not None else False


class Scheduler:
    """Runs tasks one at a time, in an order that a seed decides.

    Args:
        chance: decides.

    Attributes:
        now: the seconds since the world began.
        turns: how many turns were given.
    """

    def __init__(self, chance: random.Random) -> None:
        self.now = 0.0
        self.turns = 0
        self.back = threading.Semaphore(0)
        self._chance = chance
        self._tasks: list[Task] = []
        self._events: list[tuple[float, Callable[[], object]]] = []
        self._current: Task | None = None

    @property
    def current(self) -> Task:
        """The task whose turn it is."""
        assert self._current is not None, "only a task of the simulation may wait"
        return self._current

    def spawn(self, process: Process, call: Callable[[], object], name: str) -> Task:
        """Start a task."""
        task = Task(self, process, call, name)
        self._tasks.append(task)
        return task

    def sleep(self, seconds: float) -> None:
        """Let the current task wait."""
        self.current.pause(self.now + _passing(seconds))

    def wait(self, ready: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Let the current task wait until something is so; return whether it is."""
        if ready():
            self.current.pause(self.now)
            return True
        return self.current.pause(self.now + (FOREVER_S if timeout_s is None else _passing(timeout_s)), ready)

    def at(self, time_s: float, happen: Callable[[], object]) -> None:
        """Have something happen at a time, between two turns."""
        self._events.append((time_s, happen))

    def forget_events(self) -> None:
        """Have nothing happen any more of what was to happen."""
        self._events.clear()

    def kill(self, process: Process) -> None:
        """End a process as `kill -9` does: its tasks unwind at once, and nothing that they do counts; for what happens between turns."""
        process.alive = False
        for task in [task for task in self._tasks if task.process is process]:
            self._unwind(task)
        process.exit()

    def put_to_sleep(self, process: Process, seconds: float) -> None:
        """Suspend a process's computer: its tasks wait for so much longer, by a clock that goes on."""
        process.asleep_until = self.now + seconds
        process.asleep_s += seconds
        for task in self._tasks:
            if task.process is process and not task.done:
                task.wakes_at += seconds

    def run(self, until: Callable[[], bool], most_s: float, most_turns: int = 200_000) -> None:
        """Run the tasks, one at a time, until something is so.

        Raises:
            StuckError: it does not become so.
        """
        end = self.now + most_s
        while not until():
            due = min(self._events, default=None, key=lambda event: event[0])
            if due is not None and due[0] <= self.now:
                self._events.remove(due)
                due[1]()
                continue
            self._tasks = [task for task in self._tasks if not task.done]
            awake = [task for task in self._tasks if task.process.asleep_until <= self.now]
            able = [task for task in awake if self._is_able(task)]
            if not able:
                times = [max(task.wakes_at, task.process.asleep_until) for task in self._tasks if task.wakes_at < self.now + FOREVER_S / 2]
                times += [task.process.asleep_until for task in self._tasks if task.process.asleep_until > self.now]
                times += [due[0]] if due is not None else []
                if not times or min(times) > end:
                    raise StuckError(f"nothing happens any more after {self.now:.0f} s: {[task.name for task in self._tasks]}")
                self.now = max(self.now, min(times))
                continue
            self.turns += 1
            if self.turns > most_turns:
                raise StuckError(f"{most_turns} turns in {self.now:.0f} s, and no end: {[task.name for task in self._tasks]}")
            self._give_turn(able[self._chance.randrange(len(able))])

    def close(self) -> None:
        """End all tasks."""
        for task in self._tasks:
            task.process.alive = False
        for task in list(self._tasks):
            self._unwind(task)

    def _is_able(self, task: Task) -> bool:
        woken = task.wakes_at <= self.now or task.pending is not None or not task.process.alive
        return woken or (task.ready is not None and task.ready())

    def _give_turn(self, task: Task) -> None:
        before, self._current = self._current, task
        task.ready = None if task.pending else task.ready
        task.turn.release()
        self.back.acquire()
        self._current = before

    def _unwind(self, task: Task) -> None:
        for _ in range(1000):
            if task.done:
                return
            self._give_turn(task)
        raise StuckError(f"{task.name} does not end though its process was killed")


def _passing(seconds: float) -> float:
    """Return how much time passes in a wait: of the shortest one enough to be seen in the sum."""
    return max(seconds, 1e-6) if seconds > 0 else 0.0
