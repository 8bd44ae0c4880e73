"""What a search costs beside its trials, and what it finds beside Optuna by hand.

python benchmarks/search.py            # both
python benchmarks/search.py time       # 40 trials of one second each on one kept pod of the stand-in, against their own time
python benchmarks/search.py found      # three tables of scikit-learn, 20 trials each, against Optuna by hand with the same budget
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from bench_cloud import start_cloud, start_s3
from support.toy_backend import TEMPLATE

from kedro_cloudtrain.config import NodeSettings, RunSettings
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.running.run import Run
from kedro_cloudtrain.running.search import TrainingSearch
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.running.trial_machines import KeptMachines
from kedro_cloudtrain.storage.sources import make_source

TRIALS, TRIALS_OF_A_SEARCH = 40, 20


def run_on_pod() -> None:
    with start_s3() as s3, start_cloud(s3, "volume1") as cloud, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "templates").mkdir()
        (folder / "templates/mine.py.j2").write_text(TEMPLATE)
        generator, backend = TrainingScriptGenerator(folder / "templates"), cloud.backend()
        run = Run(RunSettings(), backend, generator, Display(""), Slots(1))
        run.display.add(Row("tune", "mine", "penguins"))
        space = {"depth": {"int": [2, 9]}, "rate": {"float": [0.01, 0.5], "log": True}}
        search = {"space": space, "n_trials": TRIALS, "metric": "loss", "direction": "minimize"}
        parameters = {"model_type": "mine", "target_column": "y", "hyperparameters": {"seconds": 1.0}, "search": search}
        order = TrainingOrder(
            node="tune",
            parameters=TrainingParameters.parse(parameters, "tune"),
            data=make_source(dataset_key="datasets/penguins.csv"),
            outputs=("metrics",),
            volume=cloud.volume,
            settings=NodeSettings.model_validate({"gpu": "none", "install": False}),
        )
        began = time.perf_counter()
        searching = TrainingSearch(order, generator, KeptMachines(run, "tune", 1, order.settings), run.display.row("tune"), studies=folder)
        receipts: list[Any] = []
        trials = searching.run(receipts)["trials"]
        total_s = time.perf_counter() - began
        backend.close()
        results = [json.loads((cloud.bucket / f".cloudtrain/jobs/{job}/result.json").read_text()) for job in trials["job"]]
        first, last = min(result["started_at"] for result in results), max(result["finished_at"] for result in results)
        own_s = sum(result["seconds"]["fit"] for result in results)
        pods = len(receipts[0].machines)
        print(f"{TRIALS} trials on {pods} pod: {own_s:.1f} s of their own, {last - first:.1f} s from the first to the last", end="")
        print(f" ({(last - first) / own_s:.2f} x), {total_s:.1f} s with the pod's start and end ({total_s / own_s:.2f} x)")


def compare_results() -> None:
    import numpy as np
    import optuna
    import xgboost as xgb
    from sklearn import datasets, metrics

    from kedro_cloudtrain.nodes import train
    from kedro_cloudtrain.worker.splitting import split_rows

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    space = {
        "max_depth": {"int": [2, 8]},
        "learning_rate": {"float": [0.01, 0.5], "log": True},
        "subsample": {"float": [0.5, 1.0]},
        "min_child_weight": {"float": [0.5, 20], "log": True},
    }
    tasks = {
        "breast_cancer": ("binary_classification", datasets.load_breast_cancer),
        "diabetes": ("regression", datasets.load_diabetes),
        "wine": ("multiclass_classification", datasets.load_wine),
    }
    for name, (task, load) in tasks.items():
        frame = load(as_frame=True).frame
        classes = None if task == "regression" else frame["target"].to_numpy()
        split = split_rows(frame, classes, fraction=0.2, seed=42)
        features, target = frame.drop(columns="target").to_numpy("float32"), frame["target"].to_numpy()
        fit, held = (xgb.QuantileDMatrix(features[rows], target[rows]) for rows in (split.train, split.validation))
        kind = {"binary_classification": "binary:logistic", "regression": "reg:squarederror"}.get(task, "multi:softprob")
        of_classes = {"num_class": 3} if kind == "multi:softprob" else {}

        def score(
            values: dict[str, Any], kind: str = kind, of_classes: dict[str, int] = of_classes, fit: Any = fit, held: Any = held
        ) -> float:
            booster = xgb.train({"objective": kind, "seed": 42, **of_classes, **values}, fit, 60)
            predicted, truth = booster.predict(held), held.get_label()
            return float(
                np.sqrt(metrics.mean_squared_error(truth, predicted)) if kind.startswith("reg") else metrics.log_loss(truth, predicted)
            )

        def objective(trial: optuna.Trial, score: Any = score) -> float:
            return score(
                {
                    "max_depth": trial.suggest_int("max_depth", 2, 8),
                    "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
                    "subsample": trial.suggest_float("subsample", 0.5, 1.0),
                    "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 20, log=True),
                }
            )

        by_hand = []
        for seed in range(5):
            study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
            study.optimize(objective, n_trials=TRIALS_OF_A_SEARCH)
            by_hand.append(study.best_value)
        parameters = {
            "model_type": f"xgboost_{task}",
            "target_column": "target",
            "hyperparameters": {"n_estimators": 60},
            "validation": {"fraction": 0.2, "seed": 42},
            "search": {"space": space, "n_trials": TRIALS_OF_A_SEARCH, "seed": 0},
        }
        trials = train(frame, parameters, kinds=("metrics", "trials"))["trials"]
        best = trials.loc[trials["score"].idxmin()]
        again = score({name: best[name] for name in space})
        middle = sorted(by_hand)[2]
        spread = f"{min(by_hand):.4f} to {max(by_hand):.4f}, middle {middle:.4f}"
        print(f"{name}: found {best['score']:.4f} (by hand the same hyperparameters have {again:.4f}); Optuna by hand, 5 seeds: {spread}")


if __name__ == "__main__":
    logging.getLogger("kedro.cloudtrain").setLevel(logging.WARNING)
    chosen = sys.argv[1:] or ["time", "found"]
    if "time" in chosen:
        run_on_pod()
    if "found" in chosen:
        compare_results()
