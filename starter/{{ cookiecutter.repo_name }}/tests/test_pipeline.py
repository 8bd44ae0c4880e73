"""The project's own function, and a run of the whole pipeline on this computer."""

import json
from pathlib import Path

import pandas as pd
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro_cloudtrain import CloudTrainRunner, ModelDataset

from {{ cookiecutter.python_package }}.nodes import clean_penguins

PROJECT = Path(__file__).parents[1]
PENGUINS = PROJECT / "data/volume/datasets/penguins.csv"


def test_penguins_without_a_sex_are_left_out():
    raw = pd.read_csv(PENGUINS)
    assert clean_penguins(raw)["sex"].notna().all()
    assert len(clean_penguins(raw)) < len(raw)


def test_the_pipeline_trains_both_models():
    bootstrap_project(PROJECT)
    with KedroSession.create(project_path=PROJECT) as session:
        session.run(runner=CloudTrainRunner())
    assert json.loads((PROJECT / "data/08_reporting/species.json").read_text())["accuracy"] > 0.9
    model = ModelDataset(filepath=str(PROJECT / "data/06_models/mass")).load()
    assert model.predict(pd.read_csv(PENGUINS).head(3)).shape == (3,)
