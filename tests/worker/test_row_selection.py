"""The rows of one group of a table, in each format: those of its value, without the column that has selected them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.row_selection import holding_groups
from kedro_cloudtrain.worker.tables import read_table

CODE = 16_777_217  # a whole number that float32 does not have
TABLE = pd.DataFrame(
    {"city": ["Bern", "Chur", None, "Bern"], "code": [CODE, CODE - 1, CODE, CODE + 1], "open": [True, False, True, True], "x": range(4)}
)
WRITERS = {
    "csv": lambda file: TABLE.to_csv(file, index=False),
    "tsv": lambda file: TABLE.to_csv(file, index=False, sep="\t"),
    "jsonl": lambda file: TABLE.to_json(file, orient="records", lines=True),
    "xlsx": lambda file: TABLE.to_excel(file, index=False),
    "parquet": lambda file: TABLE.to_parquet(file, index=False, row_group_size=2),
}


@pytest.mark.parametrize("file_format", WRITERS)
def test_the_rows_of_a_value_are_read_without_its_column(tmp_path: Path, file_format: str) -> None:
    file = tmp_path / f"table.{file_format}"
    WRITERS[file_format](file)
    for column, value, rows in (("city", "Bern", [0, 3]), ("code", CODE, [0, 2]), ("open", False, [1])):
        location = Location(str(file), load_args={"rows": {column: value}})
        everything = read_table(location, float32=["code", "x"]).frame
        assert list(everything.columns) == [name for name in TABLE if name != column]
        assert everything["x"].tolist() == rows
        assert read_table(location, columns=["x"]).frame["x"].tolist() == rows


def test_a_value_that_no_row_has_and_a_column_that_is_not_there_are_named(tmp_path: Path) -> None:
    file = tmp_path / "table.parquet"
    TABLE.to_parquet(file)
    for rows, part in (({"city": "Basel"}, "no row whose `city` is 'Basel'"), ({"town": "Bern"}, "no column `town`")):
        with pytest.raises(InputError, match=part):
            read_table(Location(str(file), load_args={"rows": rows}), columns=["x"])


@pytest.mark.parametrize(
    ("selection", "groups"), [({"code": CODE}, [0, 1]), ({"code": CODE - 1}, [0]), ({"city": "Chur"}, [0]), ({"code": "text"}, [0, 1])]
)
def test_of_parquet_only_the_row_groups_are_read_that_may_hold_the_value(tmp_path: Path, selection: Any, groups: list[int]) -> None:
    file = tmp_path / "table.parquet"
    WRITERS["parquet"](file)
    assert holding_groups(pq.ParquetFile(file).metadata, selection) == groups


def test_a_catalog_selects_no_rows() -> None:
    with pytest.raises(SourceError, match="load_args has 'rows'"):
        make_source(dataset_key="a.csv", load_args={"rows": {"city": "Bern"}})
