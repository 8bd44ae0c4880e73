"""A table in pieces: each is a part of the frame that the whole table is, whatever a later piece shows of a column."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.http_server import Server
from support.small_models import flights, train

from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.models import TrainedModel
from kedro_cloudtrain.worker.pieces import Wanted, pieces_of
from kedro_cloudtrain.worker.tables import read_table

ROWS = 7
KEEP = ("carrier", "seats")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    return train(tmp_path_factory.mktemp("model") / "model", flights(), "multiclass_classification")


def write(frame: pd.DataFrame, file: Path) -> Path:
    match file.suffix:
        case ".csv":
            frame.to_csv(file, index=False)
        case ".tsv":
            frame.to_csv(file, index=False, sep="\t")
        case ".jsonl":
            frame.to_json(file, orient="records", lines=True, date_format="iso")
        case ".xlsx":
            frame.to_excel(file, index=False)
        case _:
            frame.to_parquet(file, row_group_size=10)
    return file


def read(model: TrainedModel, location: Location, keep: tuple[str, ...] = KEEP, begin: int = 0) -> tuple[pd.DataFrame, pa.Table, int]:
    """Return the predictions and the kept columns of all pieces, and how often the pieces began anew."""
    table = pieces_of(location, Wanted(model.features.columns, keep, ROWS))
    predicted: list[pd.DataFrame] = []
    kept: list[pa.Table] = []
    anew = 0
    for piece in table.read(begin):
        if predicted and piece.number == 0:
            predicted, kept, anew = [], [], anew + 1
        assert piece.number == len(predicted) + (begin if not anew else 0)
        assert len(piece.frame) <= ROWS
        assert piece.number < piece.of
        predicted.append(model.predict_table(piece.frame))
        kept.append(piece.kept)
    return pd.concat(predicted, ignore_index=True), pa.concat_tables(kept, promote_options="permissive"), anew


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "xlsx", "parquet"])
def test_the_pieces_of_every_format_predict_as_the_whole_table_does(model: TrainedModel, tmp_path: Path, ending: str) -> None:
    location = Location(str(write(flights(40, seed=5), tmp_path / f"flights.{ending}")))
    whole = read_table(location).frame
    predicted, kept, _ = read(model, location)
    pd.testing.assert_frame_equal(predicted, model.predict_table(whole.reset_index(drop=True)), check_exact=True)
    assert kept.column("seats").to_pylist() == whole["seats"].tolist()
    assert [value if value is not None else "" for value in kept.column("carrier").to_pylist()] == whole["carrier"].fillna("").astype(
        str
    ).tolist()


# A column of a text, in three pieces of seven rows, and what its kept values are in the end.
LATER: dict[str, tuple[list[Any], list[Any]]] = {
    "digits that prove to be text": (["007"] * 20 + ["x"], ["007"] * 20 + ["x"]),
    "a text before digits": (["x"] + ["007"] * 20, ["x"] + ["007"] * 20),
    "whole numbers and a later gap": ([7] * 20 + [None], [7.0] * 20 + [None]),
    "whole numbers and a later decimal": ([7] * 20 + [1.5], [7.0] * 20 + [1.5]),
    "long whole numbers and a later gap": ([2**53 + 1] * 20 + [None], [float(2**53 + 1)] * 20 + [None]),
    "truths and a later gap": ([True] * 20 + [None], [True] * 20 + [None]),
    "truths and a later text": ([True] * 20 + ["x"], ["True"] * 20 + ["x"]),
    "numbers and a later blank": ([7] * 20 + [" "], [7.0] * 20 + [None]),
    "blanks, then text": ([7, " "] * 10 + ["x"], ["7", " "] * 10 + ["x"]),
    "blanks, then a day that looks like a number": ([" "] * 14 + ["2026-01-02"] * 7, [" "] * 14 + ["2026-01-02"] * 7),
    "blanks, then long whole numbers": ([" "] * 14 + [2**53 + 1] * 7, [None] * 14 + [float(2**53 + 1)] * 7),
    "nothing, then a text": ([None] * 20 + ["x"], [None] * 20 + ["x"]),
    "nothing at all": ([None] * 21, [None] * 21),
    "numbers, then truths": ([7] * 20 + [True], ["7"] * 20 + ["True"]),
}


@pytest.mark.parametrize("case", LATER)
def test_a_column_of_text_has_the_type_of_all_its_rows_in_each_piece(model: TrainedModel, tmp_path: Path, case: str) -> None:
    values, expected = LATER[case]
    # As a category, as a number and beside them as a column to keep: each takes another notice of a type.
    for name in ("carrier", "distance", "note"):
        frame = flights(21).assign(note="-").astype({name: object})
        frame[name] = pd.Series(values, dtype=object)
        file = tmp_path / f"{name}.csv"
        frame.to_csv(file, index=False)
        location = Location(str(file))
        predicted, kept, _ = read(model, location, ("note", "carrier"))
        whole = read_table(location).frame
        pd.testing.assert_frame_equal(predicted, model.predict_table(whole), check_exact=True)
        if name != "distance":
            assert kept.column(name).to_pylist() == expected


CELLS = st.sampled_from(["", " ", "7", "007", "1.5", "9007199254740993", "True", "x", "NA", "2026-01-02", "1e3", "-"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=15, max_size=21))
def test_any_text_is_in_pieces_what_it_is_as_a_whole(model: TrainedModel, tmp_path: Path, cells: list[tuple[str, str]]) -> None:
    frame = flights(len(cells)).astype({"distance": object, "carrier": object})
    frame[["carrier", "distance"]] = cells
    frame.to_csv(tmp_path / "any.csv", index=False)
    location = Location(str(tmp_path / "any.csv"))
    whole = read_table(location).frame
    predicted, kept, _ = read(model, location, ("carrier", "distance"))
    pd.testing.assert_frame_equal(predicted, model.predict_table(whole), check_exact=True)
    for name in kept.column_names:
        values = [None if pd.isna(value) else value for value in whole[name].tolist()]
        assert kept.column(name).to_pylist() == values


@pytest.mark.parametrize("case", [["007"] * 20 + ["x"], [7] * 20 + [None], [7] * 20 + [" "], [True] * 20 + [3], ["x"] * 20 + [None]])
def test_a_column_of_json_has_the_type_of_all_its_rows_in_each_piece(model: TrainedModel, tmp_path: Path, case: list[Any]) -> None:
    rows = json.loads(flights(21).to_json(orient="records", date_format="iso"))
    for name in ("carrier", "distance"):
        lines = [
            {key: value for key, value in {**row, name: value}.items() if value is not None} for row, value in zip(rows, case, strict=True)
        ]
        file = tmp_path / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        location = Location(str(file))
        predicted, _, _ = read(model, location, ())
        pd.testing.assert_frame_equal(predicted, model.predict_table(read_table(location).frame), check_exact=True)


def test_a_gap_in_a_later_row_group_makes_decimals_of_the_whole_numbers_before_it(tmp_path: Path) -> None:
    codes = pa.array([7] * 20 + [None], pa.int64())
    for statistics in (True, False):
        pq.write_table(pa.table({"carrier": codes}), tmp_path / "codes.parquet", row_group_size=10, write_statistics=statistics)
        location = Location(str(tmp_path / "codes.parquet"))
        model = train(tmp_path / "model", pd.DataFrame({"carrier": ["7", "8", "7.0", "9"] * 5}))
        predicted, kept, _ = read(model, location, ("carrier",))
        pd.testing.assert_frame_equal(predicted, model.predict_table(read_table(location).frame), check_exact=True)
        assert kept.column("carrier").equals(pa.chunked_array([codes]).cast(pa.int64()))


def test_kept_columns_of_parquet_stay_what_they_are(model: TrainedModel, tmp_path: Path) -> None:
    from decimal import Decimal

    table = pa.Table.from_pandas(flights(21))
    more = {
        "price": pa.array([Decimal("1.10")] * 21),
        "day": pa.array([18_000] * 21, pa.int32()).cast(pa.date32()),
        "id": pa.array([2**60 + 1, None] * 10 + [3]),
        "tags": pa.array([["a"], []] * 10 + [None]),
        "kind": pa.array(["x", "y", "x"] * 7).dictionary_encode(),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    pq.write_table(table, tmp_path / "flights.parquet", row_group_size=8)
    _, kept, _ = read(model, Location(str(tmp_path / "flights.parquet")), tuple(more))
    for name, column in more.items():
        assert kept.column(name).to_pylist() == column.to_pylist()
        assert kept.column(name).type == (pa.string() if name == "kind" else column.type)


def test_a_folder_of_parts_is_one_table_though_a_part_lacks_a_column_or_has_it_as_another_number(tmp_path: Path) -> None:
    folder = tmp_path / "flights"
    folder.mkdir()
    frame = flights(30).drop(columns="date")
    frame.iloc[:12].astype({"seats": "int32"}).to_parquet(folder / "part-0.parquet")
    frame.iloc[12:20].drop(columns="weekend").to_parquet(folder / "part-1.parquet")
    frame.iloc[20:].astype({"seats": "float64"}).to_parquet(folder / "part-2.parquet")
    model, location = train(tmp_path / "model", frame), Location(str(folder), "parquet")
    predicted, kept, _ = read(model, location)
    pd.testing.assert_frame_equal(predicted, model.predict_table(read_table(location).frame.reset_index(drop=True)), check_exact=True)
    assert kept.column("seats").to_pylist() == frame["seats"].tolist()


@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx", "parquet"])
@pytest.mark.parametrize("begin", [3])
def test_the_pieces_go_on_where_an_earlier_attempt_has_ended(model: TrainedModel, tmp_path: Path, ending: str, begin: int) -> None:
    location = Location(str(write(flights(40), tmp_path / f"flights.{ending}")))
    everything, all_kept, _ = read(model, location, ("seats",))
    rest, kept, _ = read(model, location, ("seats",), begin)
    pd.testing.assert_frame_equal(rest, everything.iloc[begin * ROWS :].reset_index(drop=True), check_exact=True)
    assert kept.to_pylist() == all_kept.to_pylist()[begin * ROWS :]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx", "parquet"])
def test_an_empty_table_has_one_empty_piece(model: TrainedModel, tmp_path: Path, ending: str) -> None:
    location = Location(str(write(flights(4).iloc[:0], tmp_path / f"flights.{ending}")))
    predicted, kept, _ = read(model, location)
    assert list(predicted.columns) == ["prediction", "probability_early", "probability_late", "probability_on time"]
    assert len(predicted) == 0
    assert kept.column_names == list(KEEP)


@pytest.mark.parametrize(
    "args",
    [{"parse_dates": ["date"]}, {"nrows": 11}, {"na_values": ["AA"], "dtype": {"seats": "float64"}}, {"dtype": "str"}, {"skiprows": [3]}],
    ids=str,
)
def test_the_arguments_of_the_reader_mean_what_they_mean_to_the_whole_table(model: TrainedModel, tmp_path: Path, args: Any) -> None:
    frame = flights(40).astype({"seats": float})
    frame.loc[39, "seats"] = 1.5
    location = Location(str(write(frame, tmp_path / "flights.csv")), load_args=args)
    predicted, _, _ = read(model, location, ())
    pd.testing.assert_frame_equal(predicted, model.predict_table(read_table(location).frame), check_exact=True)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "xlsx", "parquet"])
def test_a_column_that_is_not_there_is_named_with_the_closest(model: TrainedModel, tmp_path: Path, ending: str) -> None:
    location = Location(str(write(flights(20).rename(columns={"distance": "distances"}), tmp_path / f"flights.{ending}")))
    with pytest.raises(InputError, match=r"has no column `distance`. Did you mean `distances`\?"):
        read(model, location)


def test_pieces_are_of_as_many_rows_as_their_columns_allow(model: TrainedModel) -> None:
    wide = Wanted.of(model.features.columns, [f"column {number}" for number in range(900)])
    assert Wanted.of(model.features.columns, KEEP).rows == 2**18
    assert wide.rows == 2**14
    # A network predicts in batches of 4,096 rows.
    assert all(Wanted.of(model.features.columns, [f"{n}" for n in range(count)]).rows % 4096 == 0 for count in range(0, 500, 17))
    assert np.all(np.diff([Wanted.of(model.features.columns, [f"{n}" for n in range(count)]).rows for count in range(60)]) <= 0)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_table_behind_a_url_is_read_in_pieces_too(model: TrainedModel, tmp_path: Path, ending: str, ranges: bool) -> None:
    frame = flights(40).assign(unused="x" * 1000)
    content = write(frame, tmp_path / f"flights.{ending}").read_bytes()
    with Server({f"flights.{ending}": content}, ranges=ranges) as server:
        location = Location(server.url(f"flights.{ending}"))
        predicted, _, _ = read(model, location)
        whole = read_table(Location(str(tmp_path / f"flights.{ending}"))).frame
    pd.testing.assert_frame_equal(predicted, model.predict_table(whole), check_exact=True)


def test_a_server_that_breaks_off_amid_the_pieces_is_asked_for_the_rest(
    model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = write(flights(40), tmp_path / "flights.parquet").read_bytes()
    monkeypatch.setattr("kedro_cloudtrain.worker.ranges.sleep", lambda _: None)
    with Server({"flights.parquet": content}) as server:
        location = Location(server.url("flights.parquet"))
        whole, _, _ = read(model, location)
        pieces = pieces_of(location, Wanted(model.features.columns, KEEP, ROWS))
        predicted = []
        for piece in pieces.read():
            predicted.append(model.predict_table(piece.frame))
            if piece.number == 2:
                server.statuses.extend([500] * 3)
    pd.testing.assert_frame_equal(pd.concat(predicted, ignore_index=True), whole, check_exact=True)
    assert any("range" not in request.headers for request in server.requests if request.method == "GET")
