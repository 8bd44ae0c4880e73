"""A look at a node's inputs finds what is wrong with them, and leaves the plan as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from kedro.io import DataCatalog, MemoryDataset

from kedro_cloudtrain import CloudDataset, TrainingScriptGenerator, training_node
from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.planning.inspection import Look, look_at_inputs
from kedro_cloudtrain.planning.planner import Planner

TABLE = "width,height,price\n1,2,3\n"


def look(folder: Path, key: str = "a.csv", **parameters: Any) -> Look:
    """Plan a training, and look at its inputs twice."""
    volume = {"path": str(folder / "volume")}
    asked = {"model_type": "lightgbm_regression", "target_column": "price", "hyperparameters": {}, **parameters}
    catalog = DataCatalog({"table": CloudDataset(dataset_key=key, volume=volume), "params:price": MemoryDataset(asked)})
    planner = Planner(catalog, make_settings({"volume": volume}), TrainingScriptGenerator(), folder)
    (plan,) = planner.plan([training_node("table", "params:price", model="model", name="train")])
    first, second = look_at_inputs(plan, catalog), look_at_inputs(plan, catalog)
    assert first == second
    assert not plan.problems
    return first


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/a.csv").write_text(TABLE)
    return tmp_path


def test_a_table_that_is_as_the_parameters_name_it_has_its_size_and_no_problem(volume: Path) -> None:
    assert look(volume) == Look({"table": len(TABLE)})


def test_each_missing_column_is_a_problem_with_the_closest_name(volume: Path) -> None:
    width, day = look(volume, feature_columns=["widht", "height"], validation={"time_column": "day"}).problems
    assert "has no column `widht`. Closest: width." in width
    assert "Fix feature_columns of `price` in parameters.yml." in width
    assert "has no column `day`." in day
    assert "Fix validation.time_column" in day


def test_a_missing_table_is_a_problem(volume: Path) -> None:
    (volume / "volume/a.csv").unlink()
    (problem,) = look(volume).problems
    assert problem.startswith("`table`:")
    assert "a.csv" in problem


def test_a_category_that_is_none_is_a_note_and_not_a_problem(volume: Path) -> None:
    (volume / "volume/a.csv").write_text("width,height,price\n" + "".join(f"w{n},{n},3\n" for n in range(300)))
    findings = look(volume)
    assert not findings.problems
    (note,) = findings.notes
    assert note.startswith("`table`: `width` becomes a category of 200 values in 200 rows")
    assert look(volume, feature_columns=["height"]).notes == ()


def test_a_nested_column_is_a_problem_if_it_is_a_feature(volume: Path) -> None:
    pd.DataFrame({"width": [[1], [2]], "height": [1, 2], "price": [3, 4]}).to_parquet(volume / "volume/a.parquet")
    (problem,) = look(volume, key="a.parquet").problems
    assert problem.startswith("`table` has lists, structures or bytes in `width`")
    assert look(volume, key="a.parquet", feature_columns=["height"]).problems == ()
