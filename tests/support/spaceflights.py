"""A project as Kedro's spaceflights starter is laid out: three raw tables, a modular pipeline that joins them and one that fits a price."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd

from support.kedro_project import Project

NODES = """
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split

from shuttles.pricing import to_number


def preprocess_companies(companies):
    return companies.assign(iata_approved=companies["iata_approved"] == "t", company_rating=to_number(companies["company_rating"]))


def preprocess_shuttles(shuttles):
    return shuttles.assign(price=to_number(shuttles["price"])), {"rows": len(shuttles)}


def create_model_input_table(shuttles, companies, reviews):
    rated = shuttles.merge(reviews, left_on="id", right_on="shuttle_id")
    return rated.merge(companies, left_on="company_id", right_on="id", suffixes=("", "_company")).dropna()


def split_data(data, parameters):
    X, y = data[parameters["features"]], data["price"]
    return train_test_split(X, y, test_size=parameters["test_size"], random_state=parameters["random_state"])


def train_model(X_train: pd.DataFrame, y_train: pd.Series) -> RandomForestRegressor:
    return RandomForestRegressor(n_estimators=20, random_state=0).fit(X_train, y_train)


def evaluate_model(regressor, X_test, y_test):
    return {"r2": r2_score(y_test, regressor.predict(X_test))}
"""
PIPELINE = """
from kedro.pipeline import Pipeline, node

from shuttles.pipelines.price import nodes


def create_pipeline():
    return Pipeline(
        [
            node(nodes.preprocess_companies, "companies", "preprocessed_companies", name="preprocess_companies_node", tags="clean"),
            node(nodes.preprocess_shuttles, "shuttles", ["preprocessed_shuttles", "counts"], name="preprocess_shuttles_node", tags="clean"),
            node(
                nodes.create_model_input_table,
                {"shuttles": "preprocessed_shuttles", "companies": "preprocessed_companies", "reviews": "reviews"},
                "model_input_table",
                name="create_model_input_table_node",
            ),
            node(
                nodes.split_data,
                ["model_input_table", "params:model_options"],
                ["X_train", "X_test", "y_train", "y_test"],
                name="split_data_node",
            ),
            node(nodes.train_model, ["X_train", "y_train"], "regressor", name="train_model_node"),
            node(nodes.evaluate_model, ["regressor", "X_test", "y_test"], "metrics", name="evaluate_model_node"),
        ]
    )
"""
REGISTRY = """
from shuttles.pipelines import price


def register_pipelines():
    return {"__default__": price.create_pipeline()}
"""
CATALOG = """
companies:
  type: kedro_cloudtrain.CloudDataset
  dataset_key: datasets/companies.csv
  volume: ${globals:volume}
shuttles: {type: pandas.ExcelDataset, filepath: data/01_raw/shuttles.xlsx}
reviews: {type: pandas.CSVDataset, filepath: data/01_raw/reviews.csv}
preprocessed_companies:
  type: kedro_cloudtrain.CloudDataset
  dataset_key: clean/companies.parquet
  volume: ${globals:volume}
model_input_table: {type: pandas.ParquetDataset, filepath: data/03_primary/model_input_table.parquet}
regressor: {type: pickle.PickleDataset, filepath: data/06_models/regressor.pickle, versioned: true}
metrics: {type: kedro_cloudtrain.MetricsDataset, filepath: data/08_reporting/metrics.json}
"""
PARAMETERS = """
model_options:
  test_size: 0.2
  random_state: 3
  features: [engines, passenger_capacity, crew, iata_approved, company_rating, review_scores_rating]
"""
PYPROJECT = """
[project]
name = "shuttles"
version = "0.1"
dependencies = ["kedro", "pandas>=2", "scikit-learn>=1.4"]

[tool.kedro]
package_name = "shuttles"
project_name = "Shuttles"
kedro_init_version = "1.0.0"
source_dir = "src"
"""


def make_spaceflights(folder: Path) -> Project:
    """Write the project, with raw tables of a fixed seed, as a git repository."""
    made = Project(folder / "shuttles")
    made.write("pyproject.toml", PYPROJECT)
    for package in ("", "pipelines/", "pipelines/price/"):
        made.write(f"src/shuttles/{package}__init__.py", "")
    made.write("src/shuttles/pipelines/price/__init__.py", "from shuttles.pipelines.price.pipeline import create_pipeline\n")
    made.write("src/shuttles/pipelines/price/nodes.py", NODES)
    made.write("src/shuttles/pipelines/price/pipeline.py", PIPELINE)
    made.write("src/shuttles/pricing.py", "def to_number(text):\n    return text.str.replace('[$,%]', '', regex=True).astype(float)\n")
    made.write("src/shuttles/pipeline_registry.py", REGISTRY)
    made.write("src/shuttles/settings.py", 'CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}\n')
    made.write("src/shuttles/secrets.env", "A=b\n")
    made.write(".gitignore", "*.env\n__pycache__/\ndata/\n")
    made.write("conf/base/globals.yml", "volume: {path: data/volume}\n")
    made.write("conf/base/catalog.yml", CATALOG)
    made.write("conf/base/parameters.yml", PARAMETERS)
    made.write("conf/local/.gitkeep", "")
    made.write(".telemetry", "consent: false\n")
    write_tables(made.path / "data/01_raw", made.path / "data/volume/datasets")
    subprocess.run(["git", "init", "-q"], cwd=made.path, check=True)  # noqa: S607
    return made


def write_tables(raw: Path, volume: Path) -> None:
    for place in (raw, volume):
        place.mkdir(parents=True)
    random = np.random.default_rng(7)
    companies = pd.DataFrame(
        {
            "id": range(40),
            "company_rating": [f"{rating}%" for rating in random.integers(50, 101, 40)],
            "iata_approved": random.choice(["t", "f"], 40),
        }
    )
    count = 200
    engines, crew = random.integers(1, 5, count), random.integers(1, 7, count)
    price = 900 * engines + 250 * crew + random.normal(0, 40, count)
    shuttles = pd.DataFrame(
        {
            "id": range(count),
            "company_id": random.integers(0, 40, count),
            "engines": engines,
            "crew": crew,
            "passenger_capacity": random.integers(1, 12, count),
            "price": [f"${value:,.1f}" for value in price],
        }
    )
    reviews = pd.DataFrame({"shuttle_id": range(count), "review_scores_rating": random.integers(60, 101, count)})
    companies.to_csv(volume / "companies.csv", index=False)
    shuttles.to_excel(raw / "shuttles.xlsx", index=False)
    reviews.to_csv(raw / "reviews.csv", index=False)


def select(project: Project, *selectors: str) -> None:
    project.write("conf/base/cloudtrain.yml", f"nodes: {json.dumps({selector: {} for selector in selectors})}\n")


def score(project: Project) -> float:
    value: float = json.loads((project.path / "data/08_reporting/metrics.json").read_text())["r2"]
    return value


def ran(output: str) -> set[str]:
    """The nodes that a run has started on machines."""
    words = output.replace("\n", " ").split()
    return {words[at - 1] for at, word in enumerate(words) if word == "started:"}


def job(project: Project, node: str) -> Path:
    folders = [folder for folder in project.jobs if folder.name.startswith(f"{node}-")]
    return folders[-1]
