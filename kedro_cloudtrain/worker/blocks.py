"""Keras's fit in blocks of many batches: between two steps of a small network, Python takes longer than the steps themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

# A block's rows: with a hundred columns it is 13 MB, which a GPU takes in a millisecond.
_ROWS = 32_768
_SMALLEST, _LARGEST = 128, 8192
# The share of a GPU's memory that the training rows may take: the network and its optimiser are small beside them.
_SHARE_OF_ROWS = 0.3
_STEPS_OF_AN_EPOCH = 1000


def auto_batch_size(rows: int) -> int:
    """Return the batch size for a table: 128, or for more than 181,000 rows the power of two that makes about 1,000 steps of an epoch."""
    fitting = 2 ** round(math.log2(max(1, rows) / _STEPS_OF_AN_EPOCH))
    return int(min(_LARGEST, max(_SMALLEST, fitting)))


def in_blocks(model: Any, batch_size: int) -> Any:
    """Return a model of the same layers that is fitted in blocks of batches, each block in one compiled loop (on PyTorch, step by step).

    Its steps are those of the model itself, in the same order, an epoch's incomplete batch among them. What it learns, the model has
    learned: they share their variables. `compile` compiles both, and `fit` takes all that the model's own takes, except `batch_size`.
    On JAX, the rows of a batch are spread over all of the machine's devices. A single GPU gets the training rows once, where its memory
    holds them, and picks those of a block itself: it would wait for a computer that gathers them.

    Args:
        model: a functional Keras model, not compiled yet.
        batch_size: the rows of a step.
    """
    import keras  # the script has imported it already

    steps, backend = max(1, _ROWS // batch_size), keras.backend.backend()
    # Keras's own `steps_per_execution` is a compiled loop on TensorFlow. On JAX it is one in Python, which the callbacks alone are spared
    # (keras/src/backend/jax/trainer.py, `_make_function`), and PyTorch refuses it.
    compiled = backend == "jax" and keras.distribution.distribution() is None

    class Blocks(keras.Model):
        # How many rows a loader gives at a time.
        block_rows = batch_size * steps if compiled else batch_size

        def compile(self, optimizer: Any, **more: Any) -> None:
            model.compile(optimizer, **more)
            super().compile(optimizer, **more, steps_per_execution=steps if backend == "tensorflow" else 1)

        def fit(self, *args: Any, **more: Any) -> Any:
            rows = batch_size * steps
            return super().fit(*args, batch_size=rows if compiled else batch_size, **{"validation_batch_size": rows, **more})

    class CompiledBlocks(Blocks):
        # "Customizing what happens in `fit()` with JAX" of Keras's guides: the state goes in, and comes out changed.
        def train_step(self, state: Any, data: Any) -> Any:
            return _scan(super().train_step, state, data, batch_size)

        def fit(self, x: Any, y: Any = None, *, sample_weight: Any = None, validation_data: Any, **more: Any) -> Any:
            if isinstance(x, keras.utils.PyDataset):
                return super().fit(x, validation_data=validation_data, **more)
            table = (x, y) if sample_weight is None else (x, y, sample_weight)
            if not _fits_device(table):
                return super().fit(x, y, sample_weight=sample_weight, validation_data=validation_data, **more)
            self._begin_on_device(table)
            # By the rows' numbers Keras could not build its loss and its metrics. A block of validation rows is what it evaluates later.
            self.test_on_batch(*_rows_of(validation_data, slice(batch_size * steps)))
            self.reset_metrics()
            self.optimizer.build(self.trainable_variables)
            return super().fit(np.arange(len(y), dtype="int32"), validation_data=validation_data, **more)

        def _begin_on_device(self, table: Any) -> None:
            """Pass each block as row numbers; the compiled step reads the rows from the device."""
            import jax

            table, step = jax.device_put(table), super().train_step

            def train(state: Any, rows: Any, table: Any) -> tuple[Any, Any]:
                return _scan(step, state, _rows_of(table, rows), batch_size)

            compiled_step = jax.jit(train, donate_argnums=0)  # as Keras compiles its own
            self.train_function = lambda state, blocks: compiled_step(state, next(blocks), table)

    return (CompiledBlocks if compiled else Blocks)(model.input, model.output)


def _rows_of(table: Any, rows: Any) -> Any:
    """Return some rows of each array."""
    import jax

    return jax.tree.map(lambda array: array[rows], table)


def _fits_device(table: Any) -> bool:
    """Return whether JAX has a single device, with a memory of its own that holds a table."""
    import jax

    device, *others = jax.local_devices()
    memory = device.memory_stats() or {}  # a CPU's are the host's
    return not others and sum(array.nbytes for array in jax.tree.leaves(table)) <= _SHARE_OF_ROWS * memory.get("bytes_limit", 0)


def _scan(step: Callable[[Any, Any], tuple[Any, Any]], state: Any, block: Any, batch_size: int) -> tuple[Any, Any]:
    """Take a step with each batch of a block, and return the last step's logs and the state after it; for JAX to compile."""
    import jax
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    # Keras's `DataParallel` takes no batch that its devices cannot share out equally, which an epoch's last may be.
    mesh = Mesh(np.array(jax.local_devices()), ("devices",))

    def lay(tree: Any, *axes: str | None) -> Any:
        if mesh.size == 1:
            return tree  # A constraint that changes nothing would have the step compiled once more.
        return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, PartitionSpec(*axes)))

    def one(state: Any, batch: Any) -> tuple[Any, Any]:
        logs, state = step(state, batch)
        return lay(state), logs

    rows = jax.tree.leaves(block)[0].shape[0]
    whole = rows // batch_size * batch_size
    logs: Any = {}
    state = lay(state)
    if whole:
        batches = jax.tree.map(lambda array: array[:whole].reshape(whole // batch_size, batch_size, *array.shape[1:]), block)
        state, all_logs = jax.lax.scan(one, state, lay(batches, None, "devices"))
        logs = jax.tree.map(lambda values: values[-1], all_logs)
    if whole < rows:
        logs, state = step(state, jax.tree.map(lambda array: array[whole:], block))
    return logs, state
