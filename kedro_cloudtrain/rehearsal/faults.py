"""Faults on demand: of the next calls, and of the next pods."""

from __future__ import annotations

import dataclasses
import threading
from typing import Literal

NO_CAPACITY = "There are no longer any instances available with the requested specifications. Please refresh and try again."


@dataclasses.dataclass
class CallFault:
    """A fault of the next calls of a method and a path.

    Attributes:
        call: the method and the path, such as `POST /v2/pods`; a `*` stands for one part of the path.
        status: the status of the answer; None cuts the connection without an answer, 0 only delays the right one.
        worked: whether the call is carried out all the same.
        delay_s: the delay before anything else, in seconds.
        times: how many calls it affects.
        gpu: the GPU type that a create asks for; None for any.
        body: with the status 200, the answer, which breaks the contract.
    """

    call: str
    status: int | None = None
    detail: str = ""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    worked: bool = False
    delay_s: float = 0.0
    times: int = 1
    gpu: str | None = None
    body: object = None

    def matches(self, method: str, path: str, gpu: str | None) -> bool:
        """Return whether the fault affects a call."""
        wanted_method, _, wanted_path = self.call.partition(" ")
        wanted_parts, parts = wanted_path.split("/"), path.split("/")
        alike = len(wanted_parts) == len(parts) and all(wanted in ("*", part) for wanted, part in zip(wanted_parts, parts, strict=True))
        return self.times > 0 and method == wanted_method and alike and self.gpu in (None, gpu)


@dataclasses.dataclass(eq=False)
class PodFault:
    """A fault of a pod.

    Attributes:
        kind: `never starts`; `loops`: its command fails at once, over and over; `vanishes`: it is gone, with all its processes;
            `cannot end`: its key does not permit it to terminate itself; `errors`: it is in the state ERROR; `no cuda`: its driver
            answers, and no library opens its GPU, which a pod without one cannot have; `dear`: it is billed at ten times its offer.
        after_s: when the pod vanishes, in seconds from its start.
        when_file: the file on its volume that makes the pod vanish as soon as it exists.
        in_job: whether the pod vanishes as soon as its job begins, however long it takes until then.
        happened: whether it has happened to a pod.
    """

    kind: Literal["never starts", "loops", "vanishes", "cannot end", "errors", "no cuda", "dear"]
    after_s: float | None = None
    when_file: str | None = None
    in_job: bool = False
    happened: bool = False


class Faults:
    """The faults to come."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[CallFault] = []
        self._pods: list[PodFault] = []

    def answer(
        self, call: str, status: int, detail: str = "", times: int = 1, headers: dict[str, str] | None = None, *, worked: bool = False
    ) -> CallFault:
        """Answer the next calls with an error; with `worked` they are carried out first."""
        return self._add(CallFault(call, status, detail, dict(headers or {}), worked=worked, times=times))

    def answer_oddly(self, call: str, body: object, times: int = 1) -> None:
        """Answer the next calls with 200 and a body that breaks the contract."""
        self._add(CallFault(call, 200, body=body, times=times))

    def no_capacity(self, gpu: str | None = None, times: int = 1) -> CallFault:
        """Have no instance of a GPU type, or of any machine, for the next creates."""
        return self._add(CallFault("POST /v2/pods", 400, NO_CAPACITY, times=times, gpu=gpu))

    def lose_answer(self, call: str, times: int = 1, *, worked: bool = True) -> CallFault:
        """Cut the connection of the next calls without an answer; with `worked` they are carried out first."""
        return self._add(CallFault(call, None, worked=worked, times=times))

    def slow(self, call: str, delay_s: float, times: int = 1) -> CallFault:
        """Answer the next calls late."""
        return self._add(CallFault(call, 0, delay_s=delay_s, times=times))

    def befall(
        self, kind: str, times: int = 1, after_s: float | None = None, when_file: str | None = None, *, in_job: bool = False
    ) -> list[PodFault]:
        """Make a fault befall the next pods."""
        faults = [PodFault(kind, after_s, when_file, in_job) for _ in range(times)]  # type: ignore[arg-type]
        with self._lock:
            self._pods += faults
        return faults

    def clear(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._calls.clear()
            self._pods.clear()

    def take_call_fault(self, method: str, path: str, gpu: str | None = None) -> CallFault | None:
        """Return the fault that a call meets, and count it off; None if there is none."""
        with self._lock:
            for fault in self._calls:
                if fault.matches(method, path, gpu):
                    fault.times -= 1
                    return fault
        return None

    def take_pod_fault(self, *, has_gpu: bool = True) -> PodFault | None:
        """Return the fault of a new pod, or of one of a new cluster's, and count it off; None if there is none that it can have."""
        with self._lock:
            fault = next((fault for fault in self._pods if has_gpu or fault.kind != "no cuda"), None)
            if fault is not None:
                self._pods.remove(fault)
            return fault

    def _add(self, fault: CallFault) -> CallFault:
        with self._lock:
            self._calls.append(fault)
        return fault
