"""Calls whose results stay in a cluster's processes; a process passes its results to others directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .cluster import Cluster


class SharedCalls:
    """Calls in the processes of a cluster.

    Args:
        cluster: the cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.client = cluster.client
        self.addresses = cluster.addresses

    def __len__(self) -> int:
        return len(self.addresses)

    def on(self, place: int, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in one process, and return the future of its value, which stays there.

        Args:
            place: the process's.
            function: what is called.
            arguments: values, or futures of values in any process.
        """
        return self.client.submit(function, *arguments, workers=[self.addresses[place]], pure=False, allow_other_workers=False)

    def on_each(self, function: Callable[..., Any], *arguments: Sequence[Any]) -> list[Any]:
        """Call a function in each process, and return the futures of its values.

        Args:
            function: what is called.
            arguments: for each argument, a value or a future a process.
        """
        return [self.on(place, function, *given) for place, given in enumerate(zip(*arguments, strict=True))]

    def sent(self, values: Sequence[Any]) -> list[Any]:
        """Send a value to each process, and return their futures."""
        return [self._sent(value, place) for place, value in enumerate(values)]

    def spread(self, value: Any) -> list[Any]:
        """Return for each process the future of a value: it leaves this process once, and goes on from process to process."""
        first = self._sent(value, 0)
        return [first, *(self.on(place, _same, first) for place in range(1, len(self)))]

    def values(self, futures: Any) -> Any:
        """Return what futures stand for, in this process."""
        return self.client.gather(futures)

    def _sent(self, value: Any, place: int) -> Any:
        return self.client.scatter([value], workers=[self.addresses[place]], hash=False)[0]


def _same(value: Any) -> Any:
    return value
