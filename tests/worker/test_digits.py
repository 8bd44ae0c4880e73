"""Numbers that float32 makes one of keep their digits: from the file to the matrix, through the model's description, at prediction too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score
from support.far_numbers import FAR, NEAR, K

from kedro_cloudtrain.nodes import train
from kedro_cloudtrain.worker.digits import narrowed
from kedro_cloudtrain.worker.doubts import doubts
from kedro_cloudtrain.worker.encoding import Column
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import read_table


def kept(column: Column) -> Column:
    """Return a column as a model's description holds it."""
    return Column(**{**json.loads(json.dumps(dataclasses.asdict(column))), "categories": ()})


@pytest.mark.parametrize("name", FAR)
def test_numbers_far_from_zero_stay_apart_and_in_their_order(name: str) -> None:
    values = FAR[name].rename("x")
    column = Column.fit(values)
    assert column.origin
    for encoded in (column.encode(values), kept(column).encode(values), kept(column).encode(values[::-1])[::-1]):
        assert encoded.dtype == np.float32
        present = ~values.isna().to_numpy()
        assert np.isnan(encoded[~present]).all()
        assert len(np.unique(encoded[present])) == values.nunique()
        assert (np.argsort(encoded[present], kind="stable") == np.argsort(values[present].to_numpy(), kind="stable")).all()
    # Values that no training row had, on both sides.
    span = values.max() - values.min()
    ends = pd.Series([values.min() - span, values.max() + span], dtype=values.dtype)
    below, above = kept(column).encode(ends.rename("x"))
    assert below < np.nanmin(column.encode(values))
    assert above > np.nanmax(column.encode(values))


@pytest.mark.parametrize("name", NEAR)
def test_other_numbers_are_what_they_were(name: str) -> None:
    values = NEAR[name].rename("x")
    column = Column.fit(values)
    assert column.origin == 0
    np.testing.assert_array_equal(column.encode(values), values.to_numpy(dtype=np.float32))
    if name != "truths":
        assert narrowed(values).dtype == np.float32 or name == "one number"


@pytest.mark.parametrize("file", ["t.csv", "t.parquet", "t.jsonl"])
@pytest.mark.parametrize("name", [name for name in FAR if name not in ("as text", "64-bit ids without a sign")])
def test_a_reader_keeps_them_and_narrows_the_others(name: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_cloudtrain.worker.delimited.FIRST_ROWS", 50)
    monkeypatch.setattr("kedro_cloudtrain.worker.delimited.PIECE_CELLS", 100)
    frame = pd.DataFrame({"far": FAR[name], "near": K / 7})
    match file:
        case "t.csv":
            frame.to_csv(tmp_path / file, index=False)
        case "t.parquet":
            frame.to_parquet(tmp_path / file)
        case _:
            frame.to_json(tmp_path / file, orient="records", lines=True, double_precision=15)
    read = read_table(Location(str(tmp_path / file)), columns=["far", "near"], float32=["far", "near"]).frame
    assert read["far"].nunique() == FAR[name].nunique()
    assert read["near"].dtype == np.float32


def test_ids_that_grow_through_what_float32_holds_keep_their_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_cloudtrain.worker.delimited.FIRST_ROWS", 50)
    monkeypatch.setattr("kedro_cloudtrain.worker.delimited.PIECE_CELLS", 50)
    ids = 2**24 - 250 + K
    pd.DataFrame({"id": ids}).to_csv(tmp_path / "t.csv", index=False)
    frame = read_table(Location(str(tmp_path / "t.csv")), columns=["id"], float32=["id"]).frame
    assert list(frame["id"]) == list(ids)
    assert len(np.unique(Column.fit(frame["id"]).encode(frame["id"]))) == 500


def test_a_span_that_is_too_wide_is_named_with_the_cure() -> None:
    frame = pd.DataFrame({"order": 10**9 * K, "day": 20_000_000 + K, "price": K * 1e9 + 0.25})
    (doubt,) = doubts(frame, ["order", "day", "price"])
    assert "`order` has whole numbers that are 499,000,000,000 apart" in doubt
    assert "leave it out of feature_columns" in doubt


def stores() -> pd.DataFrame:
    """500 stores by their long numbers: the signal is in them."""
    random = np.random.default_rng(0)
    store = random.integers(0, 500, 12_000)
    return pd.DataFrame({"x": 4_000_000_000 + store, "y": random.normal(size=500)[store] + random.normal(size=len(store))})


def minutes() -> pd.DataFrame:
    """Twenty minutes in milliseconds since 1970, and a wave of them."""
    random = np.random.default_rng(0)
    time = random.integers(0, 1_200_000, 12_000)
    return pd.DataFrame({"x": 1_767_000_000_000 + time, "y": np.sin(time / 60_000) + 0.15 * random.normal(size=len(time))})


@pytest.mark.no_cover
@pytest.mark.parametrize("table", [stores, minutes])
def test_lightgbm_learns_what_it_learns_by_itself(table) -> None:
    import lightgbm

    frame = table().assign(noise=np.random.default_rng(1).normal(size=12_000), held=lambda frame: np.arange(len(frame)) % 4 == 0)
    frame["held"] = np.where(frame["held"], "validation", "train")
    hyperparameters = {"n_estimators": 80, "learning_rate": 0.2, "num_leaves": 63, "min_data_in_leaf": 10}
    parameters = {"model_type": "lightgbm_regression", "target_column": "y", "hyperparameters": hyperparameters}
    outputs = train(frame, {**parameters, "validation": {"column": "held"}}, kinds=("metrics",))
    fitted, held = frame[frame["held"] == "train"], frame[frame["held"] == "validation"]
    given = {**hyperparameters, "objective": "regression", "verbosity": -1, "seed": 42, "deterministic": True, "force_row_wise": True}
    bare = lightgbm.train(given, lightgbm.Dataset(fitted[["x", "noise"]], fitted["y"]))
    alone = r2_score(held["y"], bare.predict(held[["x", "noise"]]))
    assert outputs["metrics"]["r2"] == pytest.approx(alone, abs=0.005)
    assert alone > 0.1


def test_long_numbers_with_a_gap_keep_their_digits_in_parquet_and_are_named_in_a_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    ids = [None if number == 7 else 2**60 + number for number in range(500)]
    pq.write_table(pa.table({"id": pa.array(ids, pa.int64()), "x": pa.array([1.5] * 500)}), tmp_path / "t.parquet")
    frame = read_table(Location(str(tmp_path / "t.parquet")), columns=["id", "x"], float32=["id", "x"]).frame
    assert frame["id"].nunique() == 499
    assert len(np.unique(Column.fit(frame["id"]).encode(frame["id"].dropna()))) == 499
    assert list(doubts(frame, ["id", "x"])) == []
    pd.DataFrame({"id": pd.array(ids, "Int64")}).to_csv(tmp_path / "t.csv", index=False)
    frame = read_table(Location(str(tmp_path / "t.csv")), columns=["id"], float32=["id"]).frame
    assert any("Read it by load_args: {dtype: {id: Int64}}" in doubt for doubt in doubts(frame, ["id"]))
    cured = read_table(Location(str(tmp_path / "t.csv"), load_args={"dtype": {"id": "Int64"}}), columns=["id"], float32=["id"]).frame
    assert cured["id"].nunique() == 499
