"""Train a Keras regression model. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, encoding, metrics, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker import TrainingInPieces, auto_batch_size, choose_keras_backend, in_blocks

choose_keras_backend()  # KERAS_BACKEND if it is set, else a backend that is installed
import keras  # noqa: E402  # Keras reads its backend when it is imported

DATASET_KEY = "t.csv"
TARGET_COLUMN = "y"
FEATURE_COLUMNS = None  # every other column
HYPERPARAMETERS = {}
VALIDATION = {"fraction": 0.2, "seed": 42}
EARLY_STOPPING_ROUNDS = 5
SEED = 42
OUTPUTS = ["model", "metrics"]

with TrainingInPieces(
    __file__,
    "keras",
    "regression",
    HYPERPARAMETERS,
    OUTPUTS,
) as job:
    # The encoded rows are on the disk: never more of the table is in memory than a piece of it.
    train, validation, test = job.read_parts(
        TARGET_COLUMN,
        FEATURE_COLUMNS,
        VALIDATION,
        dataset_key=DATASET_KEY,
    )

    params = {
        "hidden_units": [64, 32],
        "activation": "relu",
        "dropout": 0.0,
        "l2": 0.0,
        "batch_normalization": False,
        "embedding_size": 8,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "epochs": 100,
        "batch_size": "auto",
        **HYPERPARAMETERS,
    }
    if params["batch_size"] == "auto":
        params["batch_size"] = auto_batch_size(len(train))
    keras.utils.set_random_seed(SEED)

    # The numbers are standardised, and behind them are the flags of those that may be missing.
    # Each category has an embedding, whose place 0 is a missing or an unknown value.
    numbers, *_ = job.features.network_inputs(train.features[:1])
    inputs = [keras.Input(numbers.shape[1:])]
    parts = [inputs[0]]
    for size in job.features.vocabulary_sizes:
        inputs.append(keras.Input((1,), dtype="int32"))
        width = min(params["embedding_size"], size)
        embedding = keras.layers.Embedding(size, width)(inputs[-1])
        parts.append(keras.layers.Flatten()(embedding))
    hidden = keras.layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    for units in params["hidden_units"]:
        penalty = keras.regularizers.L2(params["l2"])
        dense = keras.layers.Dense(units, params["activation"], kernel_regularizer=penalty)
        hidden = dense(hidden)
        if params["batch_normalization"]:
            hidden = keras.layers.BatchNormalization()(hidden)
        hidden = keras.layers.Dropout(params["dropout"])(hidden)
    # The last layer scales up to the target's own unit, and the loss is in units of its
    # variance: inside the network, numbers stay near 1.
    mean = float(train.target.mean())
    scale = max(float(train.target.std()), 1e-6 * abs(mean)) or 1.0
    prediction = keras.layers.Rescaling(scale, offset=mean)(keras.layers.Dense(1)(hidden))
    unit = scale**-2
    model = keras.Model(inputs, prediction)
    settings = {"learning_rate": params["learning_rate"]}
    optimizer = keras.optimizers.get({"class_name": params["optimizer"], "config": settings})
    # The same layers, fitted in blocks of batches: on JAX, a block is one compiled loop.
    blocks = in_blocks(model, params["batch_size"])
    blocks.compile(optimizer, loss="mse", loss_weights=unit, metrics=["mse", "mae"])

    callbacks = [job.progress.for_keras()]
    if EARLY_STOPPING_ROUNDS:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                "val_loss", patience=EARLY_STOPPING_ROUNDS, restore_best_weights=True
            )
        )
    job.progress.begin(params["epochs"])
    with job.stage("fit"):
        blocks.fit(
            train.for_keras(job.features, blocks.block_rows, (SEED, job.checkpoint.rounds)),
            validation_data=validation.for_keras(job.features, blocks.block_rows),
            shuffle=False,  # each epoch's rows come in an order of their own
            epochs=params["epochs"],
            initial_epoch=job.checkpoint.rounds,  # those in a lost machine's checkpoint
            callbacks=job.checkpoint.for_keras(callbacks, SEED),
            verbose=0,
        )

    job.score(model, validation, test)
    job.save(model, importance=job.permutation_importance(model, validation))
