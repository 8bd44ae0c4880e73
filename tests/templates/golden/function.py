"""Call score of shop.pipelines.scoring.nodes. By hand: python train.py"""

import sys
from pathlib import Path

from kedro.io import DataCatalog

# The archive beside this script holds cloudtrain_worker: loading, saving.
sys.path.insert(0, str(Path(__file__).with_name("worker.zip")))

from cloudtrain_worker import FunctionJob, unpacked_code

sys.path.insert(0, unpacked_code(__file__))  # the project's own package, out of code.zip
from shop.pipelines.scoring.nodes import score

SALES = {"dataset_key": "datasets/sales.parquet"}
CUSTOMERS = {
    "dataset_url": "https://example.org/customers",
    "file_format": "csv",
    "load_args": {"sep": ";"},
}
MODEL = {"dataset_file": "inputs/model-0123456789abcdef.pickle"}
SCORE_2 = {
    "threshold": 0.5,
    "columns": ["age", "city", "first purchase", "last purchase", "visits"],
    "deep": {},
}
RETURNS = ["scores", "report"]
SAVES = {
    "scores": {"dataset_key": "datasets/scores.parquet", "file_format": "parquet"},
}
# Entries of the project's catalog.
ENTRIES = {
    "rates": {"type": "pandas.CSVDataset", "filepath": "s3://shop/rates.csv", "versioned": True},
    "report": {
        "type": "json.JSONDataset",
        "filepath": "s3://shop/report.json",
        "credentials": "shop",
    },
}
LOAD_VERSIONS = {"rates": "2026-01-31T12.00.00.000Z"}

if __name__ == "__main__":  # a process that the function spawns imports this file
    with FunctionJob(__file__, RETURNS, SAVES) as job:
        catalog = DataCatalog.from_config(
            ENTRIES,
            job.credentials,
            load_versions=LOAD_VERSIONS,
            save_version=job.save_version,
        )
        sales = job.load(**SALES)
        customers = job.load(**CUSTOMERS)
        model = job.load(**MODEL)
        rates = catalog.load("rates")

        with job.stage("call"):
            returned = score(sales, customers, model, rates, SCORE_2)

        job.save(returned, catalog)
