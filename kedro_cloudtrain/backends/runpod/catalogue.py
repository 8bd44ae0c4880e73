"""RunPod's catalogue, asked for once however many jobs want to know."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kedro_cloudtrain.backends.runpod.api import Cpu, Gpu
    from kedro_cloudtrain.backends.runpod.offers import Catalogue

Kind = TypeVar("Kind")


class KnownCatalogue:
    """A catalogue that is asked for each kind of pod once in a while; safe to be used from many threads.

    Args:
        catalogue: whom it asks.
        known_s: for how long an answer holds, in seconds. Stock moves, and reserves nothing anyway: a create finds out.
    """

    def __init__(self, catalogue: Catalogue, known_s: float = 20.0) -> None:
        self._catalogue = catalogue
        self._known_s = known_s
        self._lock = threading.Lock()
        self._gpus: dict[int, tuple[float, Sequence[Gpu]]] = {}
        self._cpus: dict[int, tuple[float, Sequence[Cpu]]] = {}

    def gpus(self, count: int = 1) -> Sequence[Gpu]:
        """Give the GPU types, for pods of so many."""
        return self._known(self._gpus, count, self._catalogue.gpus)

    def cpus(self, vcpu_count: int = 4) -> Sequence[Cpu]:
        """Give the CPU flavours, for pods of so many vCPUs."""
        return self._known(self._cpus, vcpu_count, self._catalogue.cpus)

    def _known(self, answers: dict[int, tuple[float, Sequence[Kind]]], count: int, ask: Callable[[int], Sequence[Kind]]) -> Sequence[Kind]:
        # Whoever comes meanwhile waits for the one answer.
        with self._lock:
            known = answers.get(count)
            if known is None or time.monotonic() > known[0]:
                found = ask(count)
                known = answers[count] = (time.monotonic() + self._known_s, found)
            return known[1]
