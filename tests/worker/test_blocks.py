"""Keras's fit in blocks of batches, against Keras's own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kedro_cloudtrain.worker import blocks, models
from kedro_cloudtrain.worker.devices import choose_keras_backend

pytestmark = pytest.mark.no_cover  # other tests go through the same lines
ROWS = 301
random = np.random.default_rng(2)
X = random.normal(size=(ROWS, 6)).astype("float32")
CODES = random.integers(0, 4, size=(ROWS, 1)).astype("int32")
Y = (X[:, 0] + np.sin(3 * X[:, 1]) + CODES[:, 0]).astype("float32")


@pytest.mark.parametrize(
    ("rows", "size"),
    [(1, 128), (344, 128), (128_000, 128), (181_000, 128), (182_000, 256), (1_000_000, 1024), (8_000_000, 8192), (10**9, 8192)],
)
def test_an_epoch_has_about_a_thousand_steps_of_at_least_128_rows(rows: int, size: int) -> None:
    assert blocks.auto_batch_size(rows) == size


def network() -> Any:
    import keras

    keras.utils.set_random_seed(4)
    inputs = [keras.Input((6,)), keras.Input((1,), dtype="int32")]
    hidden = keras.layers.Concatenate()([inputs[0], keras.layers.Flatten()(keras.layers.Embedding(4, 2)(inputs[1]))])
    hidden = keras.layers.Dense(8, "relu", kernel_regularizer=keras.regularizers.L2(0.01))(hidden)
    hidden = keras.layers.Dropout(0.2)(keras.layers.BatchNormalization()(hidden))
    return keras.Model(inputs, keras.layers.Rescaling(2.0, offset=1.0)(keras.layers.Dense(1)(hidden)))


def fit(model: Any, **more: Any) -> Any:
    import keras

    # As the job's checkpoint does it; what Keras draws before the first epoch is not part of the fit.
    seeding = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: keras.utils.set_random_seed(5 + epoch))
    stopping = keras.callbacks.EarlyStopping("val_loss", patience=1, restore_best_weights=True)
    held = ([X[:77], CODES[:77]], Y[:77])
    return model.fit(
        [X, CODES], Y, sample_weight=1 + X[:, 2] ** 2, validation_data=held, epochs=3, callbacks=[seeding, stopping],
        verbose=0, **more,
    ).history  # fmt: skip


def compiled(model: Any) -> Any:
    """Compile a model, or its blocks, and return it."""
    import keras

    model.compile(keras.optimizers.Adam(0.01), loss="mse", loss_weights=0.25, metrics=["mse", "mae"])
    return model


@functools.cache
def fitted_in_single_steps() -> tuple[Any, dict[str, list[float]]]:
    choose_keras_backend()
    plain = compiled(network())
    return plain, fit(plain, batch_size=33)


@pytest.mark.parametrize("on_device", [False, True], ids=["rows come block by block", "the device has all rows"])
def test_a_fit_in_blocks_is_the_fit_of_single_steps(*, on_device: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plain, wanted = fitted_in_single_steps()
    import keras

    # A CPU has no memory of its own to fit them into.
    monkeypatch.setattr(blocks, "_fits_device", lambda _: on_device)
    # An epoch is four blocks of two batches, and one of a whole batch and an incomplete one.
    monkeypatch.setattr(blocks, "_ROWS", 66)
    model = network()
    history = fit(compiled(blocks.in_blocks(model, 33)))
    assert set(history) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6, err_msg=name)
    for mine, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)

    # What is saved is Keras's own, compiled, and goes on from the optimiser's state.
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(plain)
    assert int(loaded.optimizer.iterations) == int(plain.optimizer.iterations) > 0


# PyTorch refuses to take several steps in one execution; JAX would take them in Python.
@pytest.mark.parametrize(("backend", "steps"), [("jax", 1), ("tensorflow", 32_768 // 128), ("torch", 1)])
def test_a_block_is_an_execution_of_many_steps_where_the_backend_compiles_it(
    backend: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_keras_backend()
    import keras

    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    model = network()
    faster = blocks.in_blocks(model, 128)
    faster.compile("sgd", loss="mse")
    assert faster.steps_per_execution == steps
    assert model.steps_per_execution == 1


def test_a_model_predicts_without_the_backend_that_has_fitted_it(tmp_path: Path) -> None:
    """PyTorch's optimisers are classes of its own, which are named in the model's file."""
    choose_keras_backend()
    network_of_jax = compiled(network())
    network_of_jax.save(tmp_path / "jax.keras")
    ours, theirs = b'"module": "keras.optimizers"', b'"module": "keras.src.backend.torch.optimizers.torch_adam"'
    with zipfile.ZipFile(tmp_path / "jax.keras") as whole, zipfile.ZipFile(tmp_path / "torch.keras", "w") as changed:
        for name in whole.namelist():
            content = whole.read(name)
            changed.writestr(name, content.replace(ours, theirs))
            assert name != "config.json" or ours in content
    import keras

    with pytest.raises(TypeError, match="torch_adam"):
        keras.saving.load_model(tmp_path / "torch.keras")
    loaded = models._load_keras(tmp_path / "torch.keras")
    inputs = [X[:9], CODES[:9]]
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), network_of_jax.predict(inputs, verbose=0))


DEVICES = """
import json, sys
sys.path[:0] = sys.argv[1:]
import jax, test_blocks
from kedro_cloudtrain.worker import blocks, models
model = test_blocks.network()
history = test_blocks.fit(test_blocks.compiled(blocks.in_blocks(model, 33)))
print(json.dumps({"history": history, "devices": len(model.optimizer.iterations.value.sharding.device_set)}))
"""


def test_two_devices_share_the_rows_of_a_batch_and_learn_what_one_does() -> None:
    _, wanted = fitted_in_single_steps()
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    environment = {**os.environ, "XLA_FLAGS": flags, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-c", DEVICES, str(Path(__file__).parent), str(Path(__file__).parents[2])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    fit = json.loads(done.stdout.splitlines()[-1])
    assert fit["devices"] == 2
    for name, values in wanted.items():
        np.testing.assert_allclose(fit["history"][name], values, rtol=1e-5, err_msg=name)
