"""Faults on demand: what a call is answered instead, and what befalls the next pods; each for so many times."""

from __future__ import annotations

import dataclasses
import threading
from typing import Literal

NO_CAPACITY = "There are no longer any instances available with the requested specifications. Please refresh and try again."


@dataclasses.dataclass
class CallFault:
    """What becomes of the next calls of a method and a path.

    Attributes:
        call: `POST /v2/pods`, say; a path's `*` stands for one part.
        status: what is answered; None where nothing is, and the connection is cut.
        worked: whether the call is carried out all the same.
        delay_s: before anything else.
        times: for so many calls.
    """

    call: str
    status: int | None = None
    detail: str = ""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    worked: bool = False
    delay_s: float = 0.0
    times: int = 1
    gpu: str | None = None

    def matches(self, method: str, path: str, gpu: str | None) -> bool:
        """Tell whether it is meant for a call."""
        wanted_method, _, wanted_path = self.call.partition(" ")
        ours, theirs = wanted_path.split("/"), path.split("/")
        alike = len(ours) == len(theirs) and all(one in ("*", other) for one, other in zip(ours, theirs, strict=True))
        return self.times > 0 and method == wanted_method and alike and self.gpu in (None, gpu)


@dataclasses.dataclass
class PodFault:
    """What befalls a pod.

    Attributes:
        kind: `never starts`; `loops`: its command fails at once, over and over; `vanishes`: it is gone, with all its processes;
            `cannot end`: it does not have its key's permission to end itself; `errors`: it is in the state ERROR.
        after_s: when it vanishes, in seconds from its start.
        when_file: or as soon as this file is on its volume.
    """

    kind: Literal["never starts", "loops", "vanishes", "cannot end", "errors"]
    after_s: float | None = None
    when_file: str | None = None


class Faults:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[CallFault] = []
        self._pods: list[PodFault] = []

    def answer(
        self, call: str, status: int, detail: str = "", times: int = 1, headers: dict[str, str] | None = None, *, worked: bool = False
    ) -> None:
        """Answer the next calls with an error; `worked`: they are carried out first."""
        self._add(CallFault(call, status, detail, dict(headers or {}), worked=worked, times=times))

    def no_capacity(self, gpu: str | None = None, times: int = 1) -> None:
        """Have no instance of a GPU type, or of any machine."""
        self._add(CallFault("POST /v2/pods", 400, NO_CAPACITY, times=times, gpu=gpu))

    def lose_answer(self, call: str, times: int = 1, *, worked: bool = True) -> None:
        """Cut the connection without an answer; `worked`: after the call has been carried out."""
        self._add(CallFault(call, None, worked=worked, times=times))

    def slow(self, call: str, delay_s: float, times: int = 1) -> None:
        """Answer late."""
        self._add(CallFault(call, 0, delay_s=delay_s, times=times))

    def befall(self, kind: str, times: int = 1, after_s: float | None = None, when_file: str | None = None) -> None:
        """Let something happen to the next pods."""
        with self._lock:
            self._pods += [PodFault(kind, after_s, when_file) for _ in range(times)]  # type: ignore[arg-type]

    def clear(self) -> None:
        """Let all be well again."""
        with self._lock:
            self._calls.clear()
            self._pods.clear()

    def of_call(self, method: str, path: str, gpu: str | None = None) -> CallFault | None:
        """Take the fault that a call meets."""
        with self._lock:
            for fault in self._calls:
                if fault.matches(method, path, gpu):
                    fault.times -= 1
                    return fault
        return None

    def of_pod(self) -> PodFault | None:
        """Take the fault that a new pod has."""
        with self._lock:
            return self._pods.pop(0) if self._pods else None

    def _add(self, fault: CallFault) -> None:
        with self._lock:
            self._calls.append(fault)
