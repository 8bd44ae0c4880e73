"""Encoded rows on the disk as Keras loads them: in another order each epoch, and ahead of the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .encoded_rows import PartInPieces
    from .encoding import Features

# Rows that stay together on their way from the disk: few enough for a block to have rows from everywhere in the table.
_TOGETHER = 64


class EpochOrder:
    """The order of the rows in an epoch, by stretches of rows that stay together.

    Args:
        rows: how many rows there are.
        shuffled: the seed and the first epoch; None leaves the rows in their order.
    """

    def __init__(self, rows: int, shuffled: tuple[int, int] | None = None) -> None:
        self._rows = rows
        self._seed: int | None = None if shuffled is None else shuffled[0]
        self._epoch = 0 if shuffled is None else shuffled[1]
        self._lay_out()

    def next(self) -> None:
        """Begin the next epoch."""
        self._epoch += 1
        self._lay_out()

    def stretches(self, start: int, stop: int) -> list[slice]:
        """Return the rows, as stretches, that stand from one place of the order to another."""
        slices = []
        for number in range(start // _TOGETHER, -(-stop // _TOGETHER)):
            begins, before = int(self._begins[number]), number * _TOGETHER
            slices.append(slice(begins + max(start - before, 0), begins + min(stop - before, _TOGETHER, self._rows - begins)))
        return slices

    def within(self, number: int, rows: int) -> Any:
        """Return the places of a block's rows, in which its stretches are mixed."""
        return slice(None) if self._seed is None else np.random.default_rng([self._seed, self._epoch, number]).permutation(rows)

    def _lay_out(self) -> None:
        self._begins = np.arange(0, self._rows, _TOGETHER)
        if self._seed is not None:
            # The last one may be short: it stays last, so that the others have their places.
            np.random.default_rng([self._seed, self._epoch]).shuffle(self._begins[:-1])


def make_loader(part: PartInPieces, features: Features, rows: int, shuffled: tuple[int, int] | None) -> Any:
    """Return a `keras.utils.PyDataset` of a part's rows; see `PartInPieces.for_keras` for the arguments."""
    import keras  # the script has imported it already

    order = EpochOrder(len(part), shuffled)
    weight = None if part.weight is None else (part.weight / part.weight.mean()).astype(np.float32)

    class Loader(keras.utils.PyDataset):
        def __len__(self) -> int:
            return (len(part) + rows - 1) // rows

        def __getitem__(self, number: int) -> Any:
            stretches = order.stretches(number * rows, min((number + 1) * rows, len(part)))
            places = np.concatenate([np.arange(each.start, each.stop) for each in stretches])
            mixed = order.within(number, len(places))
            matrix, places = np.concatenate([part.features[each] for each in stretches])[mixed], places[mixed]
            block = (tuple(features.network_inputs(matrix)), part.target[places])
            return block if weight is None else (*block, weight[places])

        def on_epoch_end(self) -> None:
            order.next()

    # A thread loads blocks while the device computes with the ones before.
    return Loader(workers=1, max_queue_size=8)
