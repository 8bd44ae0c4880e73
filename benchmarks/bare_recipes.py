"""Fit what a recipe fits as a careful user would with pandas, scikit-learn and the library alone: the baseline of recipes.py.

Numbers are read as float32 and texts as categories, the rows are split as the recipe splits them, no table is held longer than it is
needed, and of the ways to give a table to a library (a frame, a matrix) it is the one that takes the least time.

    python benchmarks/bare_recipes.py LIBRARY TASK TABLE OUTPUT_FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.model_selection import train_test_split

TEXTS = ["city", "kind"]
TARGETS = {"regression": "amount", "binary_classification": "sold"}
ROUNDS = 10


def main() -> None:
    """Read, split, fit, measure and save."""
    library, task, table, folder = sys.argv[1:5]
    regression = task == "regression"
    frame = read(table, TARGETS[task])
    target = frame.pop(TARGETS[task]).to_numpy()
    rows = np.arange(len(frame))
    train, held = map(np.sort, train_test_split(rows, test_size=0.2, random_state=42, stratify=None if regression else target))
    Path(folder).mkdir(exist_ok=True)
    if library in ("lightgbm", "keras"):
        sizes = [len(frame[name].cat.categories) for name in TEXTS]
        for name in TEXTS:
            frame[name] = frame[name].cat.codes.astype("float32")
        matrix = frame.to_numpy("float32")
        places = [frame.columns.get_loc(name) for name in TEXTS]
        del frame
        parts = matrix[train], target[train], matrix[held], target[held]
        del matrix
        predicted = {"lightgbm": lightgbm, "keras": keras}[library](*parts, places, sizes, regression, folder)
    else:
        parts = frame.iloc[train], target[train], frame.iloc[held], target[held]
        del frame
        predicted = {"xgboost": xgboost, "catboost": catboost}[library](*parts, regression, folder)
    measured = measure_regression(parts[3], predicted) if regression else measure_binary(parts[3], predicted)
    Path(folder, "metrics.json").write_text(json.dumps(measured))


def read(table: str, target: str) -> pd.DataFrame:
    """Read the features and the target."""
    other = next(name for name in TARGETS.values() if name != target)
    if table.endswith(".csv"):
        names = [name for name in pd.read_csv(table, nrows=0).columns if name != other]
        types = {name: "category" if name in TEXTS else "float32" for name in names}
        return pd.read_csv(table, usecols=names, dtype=types)
    frame = pd.read_parquet(table, columns=[name for name in names_of(table) if name != other])
    return frame.astype({name: "category" if name in TEXTS else "float32" for name in frame.columns})


def names_of(table: str) -> list[str]:
    """Return the names of a parquet table's columns."""
    import pyarrow.parquet as pq

    return list(pq.read_schema(table).names)


def xgboost(x: Any, y: Any, held_x: Any, held_y: Any, regression: bool, folder: str) -> Any:
    """Fit with XGBoost, and return the predictions of the rows that are held out."""
    import xgboost as xgb

    train = xgb.QuantileDMatrix(x, y, enable_categorical=True)
    held = xgb.QuantileDMatrix(held_x, held_y, ref=train, enable_categorical=True)
    own = (
        {"objective": "reg:squarederror", "eval_metric": "rmse"}
        if regression
        else {"objective": "binary:logistic", "eval_metric": "logloss"}
    )
    params = {**own, "device": "cpu", "seed": 42, "nthread": 1}
    booster = xgb.train(params, train, ROUNDS, evals=[(train, "train"), (held, "validation")], verbose_eval=False)
    booster.save_model(f"{folder}/model.ubj")
    return booster.predict(xgb.DMatrix(held_x, enable_categorical=True))


def lightgbm(x: Any, y: Any, held_x: Any, held_y: Any, places: list[int], _: list[int], regression: bool, folder: str) -> Any:
    """Fit with LightGBM, and return the predictions of the rows that are held out."""
    import lightgbm as lgb

    train = lgb.Dataset(x, y, categorical_feature=places)
    held = train.create_valid(held_x, held_y)
    own = {"objective": "regression", "metric": "rmse"} if regression else {"objective": "binary", "metric": "binary_logloss"}
    params = {**own, "seed": 42, "deterministic": True, "force_row_wise": True, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(params, train, ROUNDS, valid_sets=[train, held], valid_names=["train", "validation"])
    booster.save_model(f"{folder}/model.txt")
    return booster.predict(held_x)


def catboost(x: Any, y: Any, held_x: Any, held_y: Any, regression: bool, folder: str) -> Any:
    """Fit with CatBoost, and return the predictions of the rows that are held out."""
    from catboost import CatBoost, Pool

    train, held = Pool(x, y, cat_features=TEXTS), Pool(held_x, held_y, cat_features=TEXTS)
    loss = "RMSE" if regression else "Logloss"
    params = {"loss_function": loss, "iterations": ROUNDS, "random_seed": 42, "thread_count": 1, "allow_writing_files": False}
    model = CatBoost(params)
    model.fit(train, eval_set=held, use_best_model=False, logging_level="Silent")
    model.save_model(f"{folder}/model.cbm")
    return model.predict(held) if regression else model.predict(held, prediction_type="Probability")[:, 1]


def keras(x: Any, y: Any, held_x: Any, held_y: Any, places: list[int], sizes: list[int], regression: bool, folder: str) -> Any:
    """Fit with Keras, and return the predictions of the rows that are held out."""
    import keras

    keras.utils.set_random_seed(42)
    numbers = [place for place in range(x.shape[1]) if place not in places]
    means, scales = x[:, numbers].mean(axis=0), x[:, numbers].std(axis=0)

    def inputs_of(matrix: Any) -> list[Any]:
        return [(matrix[:, numbers] - means) / scales, *(matrix[:, [place]].astype("int32") for place in places)]

    inputs = [keras.Input((len(numbers),)), *(keras.Input((1,), dtype="int32") for _ in places)]
    embedded = [keras.layers.Flatten()(keras.layers.Embedding(size, 8)(codes)) for size, codes in zip(sizes, inputs[1:], strict=True)]
    hidden = keras.layers.Concatenate()([inputs[0], *embedded])
    for units in (64, 32):
        hidden = keras.layers.Dense(units, "relu")(hidden)
    model = keras.Model(inputs, keras.layers.Dense(1, None if regression else "sigmoid")(hidden))
    model.compile("adam", "mean_squared_error" if regression else "binary_crossentropy")
    held = inputs_of(held_x)
    model.fit(inputs_of(x), y, validation_data=(held, held_y), epochs=1, batch_size=1024, verbose=0)
    model.save(f"{folder}/model.keras")
    return model.predict(held, batch_size=4096, verbose=0).reshape(-1)


def measure_regression(truth: Any, predicted: Any) -> dict[str, float]:
    """Return the metrics of a regression."""
    mse = metrics.mean_squared_error(truth, predicted)
    return {
        "rmse": float(mse**0.5),
        "mse": float(mse),
        "mae": float(metrics.mean_absolute_error(truth, predicted)),
        "r2": float(metrics.r2_score(truth, predicted)),
        "mape": float(metrics.mean_absolute_percentage_error(truth, predicted)),
    }


def measure_binary(truth: Any, probability: Any) -> dict[str, Any]:
    """Return the metrics of a binary classification."""
    predicted = probability > 0.5
    return {
        "accuracy": float(metrics.accuracy_score(truth, predicted)),
        "roc_auc": float(metrics.roc_auc_score(truth, probability)),
        "pr_auc": float(metrics.average_precision_score(truth, probability)),
        "log_loss": float(metrics.log_loss(truth, probability)),
        "f1": float(metrics.f1_score(truth, predicted)),
        "precision": float(metrics.precision_score(truth, predicted)),
        "recall": float(metrics.recall_score(truth, predicted)),
        "confusion_matrix": metrics.confusion_matrix(truth, predicted).tolist(),
    }


if __name__ == "__main__":
    main()
