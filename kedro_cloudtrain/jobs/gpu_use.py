"""How busy a job's GPU was over its time, in a bounded number of points."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Seconds since the job's start, and how busy the GPU was, in percent.
Point = tuple[float, float]

MOST_POINTS = 200


class GpuUse:
    """Collects a job's GPU use, however long the job is: once there are too many points, each two become their mean."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._open: list[Point] = []
        # So many observations make a point: all points stand for the same time.
        self._each = 1

    def add(self, seconds: float, percent: float | None) -> None:
        """Add an observation; None where there is no GPU, or nothing is known of it."""
        if percent is None:
            return
        self._open.append((seconds, percent))
        if len(self._open) < self._each:
            return
        self._points.append(_mean(self._open))
        self._open = []
        if len(self._points) > MOST_POINTS:
            # The last one is the first of the next two.
            self._open, self._points = [self._points[-1]] * self._each, _halved(self._points[:-1])
            self._each *= 2

    @property
    def points(self) -> tuple[Point, ...]:
        """The points so far, each the mean of as many observations; the last one may be of fewer."""
        return (*self._points, *([_mean(self._open)] if self._open else []))


def thinned(points: Sequence[Point], most: int) -> Sequence[Point]:
    """Return as many points or fewer that stand for all of them."""
    while len(points) > most:
        points = _halved(points)
    return points


def _halved(points: Sequence[Point]) -> list[Point]:
    return [_mean(points[index : index + 2]) for index in range(0, len(points), 2)]


def _mean(points: Sequence[Point]) -> Point:
    seconds, percents = zip(*points, strict=True)
    return round(sum(seconds) / len(points), 1), round(sum(percents) / len(points), 1)
