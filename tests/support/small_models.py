"""Models of a few rounds, made in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.models import TrainedModel, load_model, save_model
from kedro_cloudtrain.worker.target import Target


def flights(rows: int = 60, seed: int = 3) -> pd.DataFrame:
    """Return a table of numbers, whole numbers, texts, truths and dates, some of them missing."""
    random = np.random.default_rng(seed)
    carriers = np.array(["AA", "B6", "7", "UA"])[random.integers(0, 4, rows)]
    frame = pd.DataFrame(
        {
            "distance": random.normal(800, 300, rows).round(1),
            "seats": random.integers(50, 300, rows),
            "carrier": carriers,
            "weekend": random.random(rows) < 0.3,
            "date": pd.to_datetime("2026-01-01") + pd.to_timedelta(random.integers(0, 300, rows), unit="D"),
        }
    )
    frame.loc[::7, "distance"] = np.nan
    frame.loc[3::11, "carrier"] = None
    return frame


def train(folder: Path, frame: pd.DataFrame, task: str = "regression", library: str = "xgboost", classes: Any = None) -> TrainedModel:
    """Train a model on all columns of a frame; what it learns is made up of them."""
    features, matrix = Features.fit_matrix(frame, list(frame.columns))
    score = np.nan_to_num(matrix).astype(np.float64) @ np.linspace(1, 2, matrix.shape[1])
    if task == "regression":
        target, values = Target("delay", task), score
    else:
        names = classes or (["late", "on time"] if task.startswith("binary") else ["early", "late", "on time"])
        target = Target("delay", task, tuple(names))  # type: ignore[arg-type]
        values = np.argsort(np.argsort(score)) * len(names) // len(score)
    save_model(folder, library, _fitted(library, task, features, matrix, values, len(target.classes)), features, target, versions={})
    return load_model(folder)


def _fitted(library: str, task: str, features: Features, matrix: Any, values: Any, classes: int) -> Any:
    if library == "lightgbm":
        import lightgbm as lgb

        objective = {"regression": "regression", "binary_classification": "binary"}.get(task, "multiclass")
        more = {"num_class": classes} if objective == "multiclass" else {}
        params = {"objective": objective, "num_leaves": 7, "min_data_in_leaf": 2, "verbose": -1, "num_threads": 1, **more}
        return lgb.train(params, lgb.Dataset(matrix, values, categorical_feature=features.category_indexes), 5)
    if library == "catboost":
        import catboost

        kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
        model = kind(iterations=5, depth=3, verbose=False, allow_writing_files=False, thread_count=1)
        frame = features.mixed_frame(matrix)
        return model.fit(frame, values, cat_features=[str(index) for index in features.category_indexes])
    if library == "keras":
        from kedro_cloudtrain.worker.devices import import_keras

        keras = import_keras()
        keras.utils.set_random_seed(0)
        parts = [keras.Input((each.shape[1],)) for each in features.network_inputs(matrix)]
        together = keras.layers.Concatenate()([keras.layers.Rescaling(1.0)(part) for part in parts])
        last = {"regression": (1, None), "binary_classification": (1, "sigmoid")}.get(task, (classes, "softmax"))
        return keras.Model(parts, keras.layers.Dense(last[0], activation=last[1])(keras.layers.Dense(8, activation="relu")(together)))
    import xgboost as xgb

    objective = {"regression": "reg:squarederror", "binary_classification": "binary:logistic"}.get(task, "multi:softprob")
    more = {"num_class": classes} if objective == "multi:softprob" else {}
    rows = xgb.DMatrix(matrix, values, feature_types=features.types, enable_categorical=True)
    return xgb.train({"objective": objective, "max_depth": 3, "nthread": 1, **more}, rows, 5)
