"""Fit the recipe `xgboost_regression` as a careful user would with pandas and xgboost alone: the baseline of overhead.py.

python benchmarks/bare_xgboost.py TABLE.csv ROUNDS OUTPUT_FOLDER
"""

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xgboost as xgb
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, mean_squared_error, r2_score
from sklearn.model_selection import train_test_split

table, rounds, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
header = pd.read_csv(table, nrows=0).columns
features = [name for name in header if name != "target"]
frame = pd.read_csv(table, dtype=dict.fromkeys(features, "float32"))
train, validation = (np.sort(rows) for rows in train_test_split(np.arange(len(frame)), test_size=0.2, random_state=42))
x, y = frame[features].to_numpy(), frame["target"].to_numpy("float32")
dtrain = xgb.QuantileDMatrix(x[train], y[train])
dvalidation = xgb.QuantileDMatrix(x[validation], y[validation], ref=dtrain)
history: dict[str, dict[str, list[float]]] = {}
began = time.perf_counter()
booster = xgb.train(
    {"objective": "reg:squarederror", "eval_metric": "rmse", "device": "cpu", "seed": 42, "max_depth": 6},
    dtrain,
    rounds,
    evals=[(dtrain, "train"), (dvalidation, "validation")],
    evals_result=history,
    verbose_eval=False,
)
fit_s = time.perf_counter() - began
predicted = booster.predict(xgb.DMatrix(x[validation]))
mse = mean_squared_error(y[validation], predicted)
metrics = {
    "rmse": mse**0.5,
    "mae": mean_absolute_error(y[validation], predicted),
    "r2": r2_score(y[validation], predicted),
    "mape": mean_absolute_percentage_error(y[validation], predicted),
}
folder.mkdir(exist_ok=True)
booster.save_model(folder / "booster.ubj")
(folder / "history.json").write_text(json.dumps(history))
peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"fit_s": fit_s, "rmse": float(metrics["rmse"]), "peak_bytes": peak_bytes}))
