"""A column that becomes a category and is none is reported with its cure; one that cannot become numbers is refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kedro_cloudtrain.worker.doubts import doubts, refuse_nested
from kedro_cloudtrain.worker.encoding import Column
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import first_look, read_table

if TYPE_CHECKING:
    from pathlib import Path

ROWS = range(100)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([f"order {n}" for n in ROWS], "100 values in 100 rows: an id or free text"),
        ([f"order {n}" if n % 20 else None for n in ROWS], "95 values in 95 rows: an id or free text"),
        ([str(n) if n % 10 else "unknown" for n in ROWS], r"except 'unknown'\. To read numbers: load_args: \{na_values: \['unknown'\]\}"),
        ([str(n) if n % 10 else " " for n in ROWS], "its values are numbers, except blanks. To read numbers: convert it in a node"),
        ([f"{n % 28 + 1:02d}.01.2024" for n in ROWS], r"dates, such as '01\.01\.2024'.*parse_dates: \[x\], date_format: '%d\.%m\.%Y'"),
        ([f"{n % 12 + 1}/{n % 28 + 1}/2024" for n in ROWS], r"dates, such as '1/1/2024'.*parse_dates: \[x\]"),
        ([f"{n % 28 + 1} Jan 2024" for n in ROWS], "dates, such as '1 Jan 2024'"),
    ],
)
def test_a_category_that_is_none_is_reported_with_its_cure(values: list[Any], words: str) -> None:
    (doubt,) = doubts(pd.DataFrame({"x": values, "y": 1.0}), ["x", "y"])
    assert doubt.startswith("`x` becomes a category of ")
    assert pd.Series([doubt]).str.contains(words).all(), doubt
    assert list(doubts(pd.DataFrame({"x": values}), [])) == []


@pytest.mark.parametrize(
    "values",
    [
        ["north", "south", "east", None] * 25,
        [f"street {n // 2}" for n in ROWS],
        list(ROWS),
        [n * 0.5 for n in ROWS],
        [str(n % 5) for n in ROWS],
        [f"{n % 3}-room" for n in ROWS],
        ["2024-01-01", "2024-01-02"] * 50,
        [dt.date(2024, 1, 1)] * 100,
        [True, None] * 50,
        [f"order {n}" for n in range(10)],
        [None] * 100,
        pd.Categorical([f"order {n}" for n in ROWS]),
    ],
)
def test_what_may_well_be_meant_is_not_reported(values: Any) -> None:
    assert list(doubts(pd.DataFrame({"x": values}), ["x"])) == []


@pytest.mark.parametrize("value", [[1, 2], (1,), {"m2": 1}, {1}, np.array([1.0]), b"\x89PNG"])
def test_a_nested_column_is_refused_by_its_name(value: Any) -> None:
    frame = pd.DataFrame({"x": pd.Series([None, value], dtype=object), "y": [1, 2]})
    with pytest.raises(InputError, match=r"t\.parquet has lists, structures or bytes in `x`.*Leave them out of feature_columns"):
        refuse_nested(frame, "t.parquet")
    refuse_nested(frame[["y"]], "t.parquet")


def test_a_look_at_a_table_finds_the_nested_columns_of_each_format(tmp_path: Path) -> None:
    table = pa.table({"tags": [["a"], None], "size": [{"m2": 1}, None], "picture": [b"\x00", b"\x01"], "price": [1, 2]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert first_look(Location(str(tmp_path / "t.parquet")), rows=5)[:2] == (
        ["tags", "size", "picture", "price"],
        ["tags", "size", "picture"],
    )
    (tmp_path / "t.jsonl").write_text('{"tags": ["a"], "size": {"m2": 1}, "price": 1}\n' * 3)
    assert first_look(Location(str(tmp_path / "t.jsonl")), rows=5)[:2] == (["tags", "size", "price"], ["tags", "size"])


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "xlsx"])
def test_numbers_with_blanks_are_numbers_that_miss(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{kind}"
    values: list[Any] = [" " if n % 9 == 4 else "  " if n % 9 == 5 else n + 0.5 for n in ROWS]
    frame = pd.DataFrame({"area": pd.Series(values, dtype=object), "name": [" ", "a"] * 50, "code": ["007", "A 1"] * 50})
    match kind:
        case "csv" | "tsv":
            frame.to_csv(path, index=False, sep="," if kind == "csv" else "\t")
        case "jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_excel(path, index=False)
    for columns, float32 in ((None, None), (["area"], None), (["area"], ["area"])):
        area = read_table(Location(str(path)), columns=columns, float32=float32).frame["area"]
        assert Column.fit(area).kind == "number"
        assert area.isna().tolist() == [isinstance(value, str) for value in values]
        assert area.dtype == ("float64" if float32 is None else "float32")
    assert read_table(Location(str(path))).frame["name"].tolist() == frame["name"].tolist()
    assert read_table(Location(str(path))).frame["code"].tolist() == frame["code"].tolist()


def test_blanks_among_numbers_keep_the_decimal_comma_and_a_type_of_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("area;code\n1,5;007\n ; \n1.000,5;8\n")
    args: dict[str, Any] = {"sep": ";", "decimal": ",", "thousands": ".", "dtype": {"code": "str"}}
    frame = read_table(Location(str(tmp_path / "t.csv"), load_args=args)).frame
    assert frame["area"].fillna(-1).tolist() == [1.5, -1, 1000.5]
    assert frame["code"].tolist() == ["007", " ", "8"]


def test_the_training_rows_alone_are_looked_at() -> None:
    numbers = 10**9 * np.arange(100.0)
    frame = pd.DataFrame({"x": np.append(numbers, 0.5), "near": np.append(np.arange(100.0), 1e12), "t": ["a", "b"] * 50 + ["c"]})
    (of_all,) = doubts(frame, list(frame))
    assert of_all.startswith("`near` has whole numbers that are 1,000,000,000,000 apart")
    (doubt,) = doubts(frame, list(frame), (), np.arange(100))
    assert doubt.startswith("`x` has whole numbers that are 99,000,000,000 apart")
    assert list(doubts(frame, list(frame), (), np.arange(10))) == []
