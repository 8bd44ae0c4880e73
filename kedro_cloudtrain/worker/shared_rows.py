"""The encoded rows of a part of the split, in the memory of the processes that have read them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError
from .splitting import Part

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from .shared_calls import SharedCalls

# So much more than its share of the rows a process may have: each round waits for the slowest.
_UNEVEN = 1.1


@dataclasses.dataclass(frozen=True)
class Slice:
    """Rows that follow one another among those that a process has read.

    Attributes:
        source: the process.
        begin: the first one's place.
        end: the place after the last.
    """

    source: int
    begin: int
    end: int


def level(counts: Sequence[int]) -> list[list[Slice]]:
    """Return the rows that each process fits, given how many each has read.

    They are its own, unless one has much more than its share: the validation rows of a split by time are the last ones of the table, for
    example. It gives its last rows to others then.
    """
    share, more = divmod(sum(counts), len(counts))
    shares = [share + (place < more) for place in range(len(counts))]
    if max(counts) <= _UNEVEN * shares[0] and min(counts) > 0:
        shares = list(counts)
    levelled = [[Slice(place, 0, min(count, shares[place]))] for place, count in enumerate(counts)]
    over = [Slice(place, shares[place], count) for place, count in enumerate(counts) if count > shares[place]]
    for place, count in enumerate(counts):
        lacking = shares[place] - count
        while lacking > 0:
            source = over.pop()
            taken = Slice(source.source, max(source.begin, source.end - lacking), source.end)
            levelled[place].append(taken)
            lacking -= taken.end - taken.begin
            if taken.begin > source.begin:
                over.append(dataclasses.replace(source, end=taken.begin))
    return levelled


class SharedRows:
    """Some rows of the table; `shares` has those of each process.

    Args:
        calls: the processes.
        encoded: the futures of the rows that each process has read, as a `Part`.
        counts: how many those are.

    Attributes:
        shares: the futures of the rows that each process fits, as a `Part` in its memory.
    """

    def __init__(self, calls: SharedCalls, encoded: Sequence[Any], counts: Sequence[int]) -> None:
        self._calls = calls
        levelled = level(counts)
        self._counts = [sum(each.end - each.begin for each in slices) for slices in levelled]
        self.shares = []
        for place, slices in enumerate(levelled):
            if slices == [Slice(place, 0, counts[place])]:
                self.shares.append(encoded[place])
                continue
            rows = [calls.on(each.source, _cut, encoded[each.source], each) for each in slices if each.end > each.begin]
            self.shares.append(calls.on(place, joined, rows or [calls.on(place, _cut, encoded[place], Slice(place, 0, 0))]))

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def features(self) -> Any:
        """The matrix as a Dask array of one block a process."""
        return self._array("features")

    @property
    def target(self) -> Any:
        """The targets as a Dask array."""
        return self._array("target")

    @property
    def weight(self) -> Any:
        """The weights as a Dask array; None where all rows count alike."""
        return self._array("weight")

    def copies(self) -> list[Any]:
        """Return for each process the future of all rows, which come from the processes that have them."""
        return [self._calls.on(place, joined, self.shares) for place in range(len(self._calls))]

    def samples(self, count: int) -> list[Any]:
        """Return for each process the future of one shared random sample of rows, about `count`."""
        wanted = [min(each, -(-count * each // max(1, len(self)))) for each in self._counts]
        first = self._calls.on(0, _matrix, self._calls.on_each(_sample, self.shares, wanted))
        return [first, *(self._calls.on(place, _matrix, [first]) for place in range(1, len(self._calls)))]

    def outputs(self, predict: Callable[[NDArray[np.float32]], NDArray[Any]]) -> list[Any]:
        """Return the futures of what a model predicts of each process's rows, given what it predicts of a matrix."""
        return self._calls.on_each(_output, self._calls.spread(predict), self.shares)

    def predicted(self, outputs: Sequence[Any]) -> NDArray[Any]:
        """Return what a model predicts of all rows, in the table's order: it comes to this process."""
        return np.asarray(self._calls.values(self._calls.on(0, _in_order, self._lean(), list(outputs))))

    def targets(self) -> NDArray[Any]:
        """Return the targets of all rows, in the table's order: they come to this process."""
        targets = self._calls.on_each(_target, self.shares)
        return np.asarray(self._calls.values(self._calls.on(0, _narrow, self._calls.on(0, _in_order, self._lean(), targets))))

    def measured(self, measure: Callable[[Part, NDArray[Any]], Any], outputs: Sequence[Any]) -> Any:
        """Return what is measured of all rows, given their targets and outputs: in the first process, to which the others send theirs."""
        return self._calls.values(self._calls.on(0, _measured, measure, self._lean(), list(outputs)))

    def _lean(self) -> list[Any]:
        return self._calls.on_each(_lean, self.shares)

    def _array(self, name: str) -> Any:
        import dask.array
        from dask import delayed
        from distributed import wait

        futures = self._calls.on_each(getattr, self.shares, [name] * len(self.shares))
        kinds = self._calls.values(self._calls.on_each(_kind, futures))
        if None in kinds:
            return None
        wait(futures)
        blocks = [dask.array.from_delayed(delayed(future), shape, dtype) for future, (shape, dtype) in zip(futures, kinds, strict=True)]
        return dask.array.concatenate(blocks)


def joined(parts: Sequence[Part]) -> Part:
    """Return the rows of several parts as one."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    weight = None if first.weight is None else np.concatenate([part.weight for part in parts if part.weight is not None])
    return Part(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.rows for part in parts]),
        weight,
    )


def refuse_few(rows: int, processes: int) -> None:
    """Check that each process has rows to fit.

    Raises:
        InputError: there are fewer rows than processes, which LightGBM does not survive.
    """
    if rows < processes:
        raise InputError(
            f"The fit has {rows} rows, fewer than the {processes} processes that are to share them: set gpu_count: 1 and machines: 1 "
            "for the node in cloudtrain.yml."
        )


def _lean(part: Part) -> Part:
    return part.without_features()


def _target(part: Part) -> NDArray[Any]:
    return part.target


def _narrow(target: NDArray[Any]) -> NDArray[Any]:
    """Return codes of classes in as few bytes as they need."""
    return target.astype(np.min_scalar_type(target.max())) if target.dtype.kind == "i" and len(target) else target


def _in_order(parts: Sequence[Part], values: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(values)[np.argsort(np.concatenate([part.rows for part in parts]))]


def _cut(part: Part, places: Slice) -> Part:
    return part.take(np.arange(places.begin, places.end))


def _sample(part: Part, count: int) -> NDArray[np.float32]:
    places = np.sort(np.random.default_rng(0).choice(len(part), count, replace=False))
    return np.asarray(part.features[places])


def _matrix(blocks: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _kind(array: NDArray[Any] | None) -> tuple[tuple[int, ...], str] | None:
    return None if array is None else (array.shape, array.dtype.str)


def _output(predict: Callable[[NDArray[np.float32]], NDArray[Any]], part: Part) -> NDArray[Any]:
    return part.output(predict)


def _measured(measure: Callable[[Part, NDArray[Any]], Any], parts: Sequence[Part], outputs: Sequence[NDArray[Any]]) -> Any:
    return measure(joined(parts), np.concatenate(outputs))
