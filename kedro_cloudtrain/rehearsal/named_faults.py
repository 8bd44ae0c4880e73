"""The faults that a rehearsal can have, by name."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from kedro_cloudtrain.rehearsal.storage import StorageFault

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.rehearsal.faults import CallFault, Faults
    from kedro_cloudtrain.rehearsal.server import RunPodStandIn
    from kedro_cloudtrain.rehearsal.storage import S3StandIn

_SLOW_S = 10.0


@dataclasses.dataclass(frozen=True)
class NamedFault:
    """A fault by its name.

    Attributes:
        about: what happens, in a few words.
        plan: lets it happen a number of times; returns the counter of how often it has.
    """

    about: str
    plan: Callable[[RunPodStandIn, S3StandIn, int], Callable[[], int]]


@dataclasses.dataclass(frozen=True)
class PlannedFault:
    """A fault that is to happen.

    Attributes:
        name: as it was asked for.
        times: how often it is to happen.
        happened: returns how often it has.
    """

    name: str
    times: int
    happened: Callable[[], int]


def _pod(kind: str) -> Callable[[RunPodStandIn, S3StandIn, int], Callable[[], int]]:
    def plan(runpod: RunPodStandIn, _: S3StandIn, times: int) -> Callable[[], int]:
        faults = runpod.faults.befall(kind, times, in_job=kind == "vanishes")
        return lambda: sum(fault.happened for fault in faults)

    return plan


def _call(fault_of: Callable[[Faults, int], CallFault]) -> Callable[[RunPodStandIn, S3StandIn, int], Callable[[], int]]:
    def plan(runpod: RunPodStandIn, _: S3StandIn, times: int) -> Callable[[], int]:
        fault = fault_of(runpod.faults, times)
        return lambda: times - fault.times

    return plan


def _silent_volume(_: RunPodStandIn, s3: S3StandIn, times: int) -> Callable[[], int]:
    faults = [StorageFault(method, status=503, times=times) for method in ("GET", "HEAD", "PUT", "POST", "DELETE")]
    s3.faults += faults
    return lambda: min(times, sum(times - fault.times for fault in faults))


NAMED_FAULTS = {
    "vanish": NamedFault("a pod is gone as soon as its job begins, with all that it did", _pod("vanishes")),
    "never-starts": NamedFault("a pod is paid for and its container never starts", _pod("never starts")),
    "loops": NamedFault("a pod's command fails at once, over and over", _pod("loops")),
    "errors": NamedFault("a pod is in the state ERROR", _pod("errors")),
    "no-cuda": NamedFault("a pod's host answers, and no library opens its GPU", _pod("no cuda")),
    "dear": NamedFault("a pod is billed at ten times its offer", _pod("dear")),
    "cannot-end": NamedFault("a pod may not terminate itself", _pod("cannot end")),
    "no-capacity": NamedFault("no machine is free", _call(lambda faults, times: faults.no_capacity(times=times))),
    "lost-answer": NamedFault(
        "a pod is created and the answer is lost", _call(lambda faults, times: faults.lose_answer("POST /v2/pods", times))
    ),
    "api-down": NamedFault(
        "the list of pods is answered by 503", _call(lambda faults, times: faults.answer("GET /v2/pods", 503, times=times))
    ),
    "api-slow": NamedFault("the list of pods is answered late", _call(lambda faults, times: faults.slow("GET /v2/pods", _SLOW_S, times))),
    "cannot-terminate": NamedFault(
        "RunPod refuses to terminate a pod", _call(lambda faults, times: faults.answer("DELETE /v2/pods/*", 500, times=times))
    ),
    "volume-down": NamedFault("the volume answers by 503", _silent_volume),
}


def plan_fault(text: str, runpod: RunPodStandIn, s3: S3StandIn) -> PlannedFault:
    """Let a fault happen that is written as `NAME`, once, or as `NAME:TIMES`.

    Raises:
        ValueError: there is no fault of that name, or its number is not 1 or more.
    """
    name, times = parse_fault(text)
    return PlannedFault(name, times, NAMED_FAULTS[name].plan(runpod, s3, times))


def parse_fault(text: str) -> tuple[str, int]:
    """Return a fault's name and how many times it happens, as `NAME` or `NAME:TIMES` has them.

    Raises:
        ValueError: there is no fault of that name, or its number is not 1 or more.
    """
    name, _, times = text.partition(":")
    if name not in NAMED_FAULTS:
        raise ValueError(f"there is no fault {name!r}: {', '.join(NAMED_FAULTS)}")
    if times and (not times.isdigit() or not int(times)):
        raise ValueError(f"{text!r}: write after the colon how many times it happens, 1 or more")
    return name, int(times or 1)
