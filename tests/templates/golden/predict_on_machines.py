"""Predict by delay_model, a model of xgboost. By hand: python train.py"""

import sys
from pathlib import Path

# The archive beside this script holds cloudtrain_worker: reading, predicting, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker import SharedPrediction

TABLE = {"dataset_key": "datasets/flights.parquet"}
# The list of the files of the model's folder.
MODEL = {"dataset_file": "inputs/0123456789abcdef.json"}
# The columns that stand beside each row's prediction.
KEEP = ["carrier", "date"]
SAVE = {"dataset_key": "datasets/scores.parquet", "versioned": True}
WORKERS = 4  # processes that share the prediction

with SharedPrediction(__file__, KEEP, SAVE) as job:
    model = job.load_model(**MODEL)

    with job.stage("predict"):
        # Each process reads its own stretch of the table, in pieces, and writes what it predicts.
        job.predict(WORKERS, model, **TABLE)

    job.save()
