from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import io
import json
import lzma
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.http_server import Server

from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table
from kedro_cloudtrain.worker.values import write_table


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("the one table", content)
    return archive.getvalue()


@pytest.fixture
def file(tmp_path: Path):
    def write(name: str, content: str | bytes, **load_args: object) -> Location:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return Location(str(tmp_path / name), load_args=load_args)

    return write


def test_a_date_that_is_parsed_need_not_be_among_the_columns(file) -> None:
    for dates in (["day"], [0]):
        location = file("t.csv", "day,x\n2020-01-02,1\n", parse_dates=dates)
        assert list(read_table(location, columns=["x"]).frame) == ["x"]
        assert read_table(location, columns=["day"]).frame["day"][0] == pd.Timestamp("2020-01-02")


@pytest.mark.parametrize("index", [0, "id"])
def test_an_index_does_not_shift_the_columns_that_are_asked_for(index: object, file) -> None:
    location = file("t.csv", "id,x,y\n7,1,2\n8,3,4\n", index_col=index)
    assert read_table(location, columns=["x", "y"]).frame.to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    assert read_table(location).frame.index.tolist() == [7, 8]


def test_columns_without_a_header_are_known_by_their_numbers(file) -> None:
    frame = read_table(file("t.csv", "7,1,a\n8,3,b\n", header=None), columns=["2", "1"], float32=["1"]).frame
    assert list(frame.columns) == ["2", "1"]
    assert frame["1"].dtype == np.float32


def test_a_type_in_load_args_is_kept(file) -> None:
    assert read_table(file("t.csv", "id,x\n007,1\n", dtype={"id": "str"}), columns=["id"], float32=["id"]).frame["id"][0] == "007"
    assert read_table(file("t.csv", "id,x\n007,1\n", dtype="str"), float32=["x"]).frame["x"][0] == "1"


def test_a_large_integer_that_is_no_feature_keeps_its_digits(file) -> None:
    assert read_table(file("t.csv", f"id,x\n{2**62 + 1},1\n"), float32=["x"]).frame["id"][0] == 2**62 + 1


@pytest.mark.filterwarnings("ignore:Falling back to the 'python' engine")
@pytest.mark.parametrize("args", [{"sep": r"\|\|"}, {"sep": "|", "engine": "python"}, {"delimiter": "|"}])
def test_a_late_text_among_numbers_is_read_by_every_engine(args: dict[str, str], file) -> None:
    mark = "||" if "\\" in str(args) else "|"
    location = file("t.csv", f"x{mark}y\n" + f"1{mark}2\n" * 10_500 + f"many{mark}3\n", **args)
    assert read_table(location, columns=["x"], float32=["x"]).frame["x"].iloc[-1] == "many"


def test_few_rows_may_be_asked_for(file) -> None:
    for location in (file("t.csv", "x\n1\n2\n3\n", nrows=2), file("t.jsonl", '{"x": 1}\n{"x": 2}\n{"x": 3}\n', nrows=2)):
        assert len(read_table(location).frame) == 2
        assert len(read_head(location, rows=1)) == 1
        assert len(read_head(location, rows=3)) == 2


def test_a_byte_order_mark_is_no_part_of_a_name(file) -> None:
    assert column_names(file("t.csv", b'\xef\xbb\xbf"a b",c\n1,2\n')) == ["a b", "c"]


def test_another_encoding_or_separator_is_reported_with_its_setting(file) -> None:
    with pytest.raises(InputError, match=r"encoding: latin-1"):
        read_table(file("t.csv", "a,b\né,2\n".encode("latin-1")))
    with pytest.raises(InputError, match=r"separated by ';': add load_args: \{sep: \";\"\}"):
        read_table(file("t.csv", "a;b\n1;2\n"), columns=["a"])
    with pytest.raises(InputError, match=r'\{sep: ","\}'):
        read_table(file("t.tsv", "a,b\n1,2\n"), columns=["a"])


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("t.csv", {"chunksize": 1}, "load_args.chunksize asks for a table in pieces"),
        ("t.jsonl", {"chunksize": 1}, "load_args.chunksize asks for a table in pieces"),
        ("t.csv", {"iterator": True}, "load_args.iterator"),
        ("t.xlsx", {"sheet_name": None}, "the number of one sheet"),
        ("t.xlsx", {"sheet_name": ["a"]}, "the number of one sheet"),
        ("t.parquet", {"filters": [["x", ">", 1]]}, "'filters'.*takes `columns` only"),
        ("t.csv", {"sep": 3}, "cannot be read as csv"),
    ],
)
def test_an_argument_that_gives_no_one_table_is_refused(name: str, args: dict[str, object], message: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2]})
    if name.endswith("xlsx"):
        frame.to_excel(tmp_path / name, index=False)
    elif name.endswith("parquet"):
        frame.to_parquet(tmp_path / name)
    else:
        (tmp_path / name).write_text("x\n1\n" if name.endswith("csv") else '{"x": 1}\n')
    with pytest.raises(InputError, match=message):
        read_table(Location(str(tmp_path / name), load_args=args))


def test_the_arguments_of_a_plain_entry_are_taken(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": [1, 2], "y": [3, 4]})
    frame.to_excel(tmp_path / "t.xlsx", index=False, sheet_name="second")
    args = {"engine": "openpyxl", "sheet_name": "second", "nrows": 1}
    assert read_table(Location(str(tmp_path / "t.xlsx"), load_args=args), columns=["y"]).frame["y"].tolist() == [3]
    frame.to_parquet(tmp_path / "t.parquet")
    location = Location(str(tmp_path / "t.parquet"), load_args={"columns": ["y"], "engine": "pyarrow"})
    assert list(read_table(location).frame) == ["y"]
    assert list(read_head(location).columns) == ["y"]
    (tmp_path / "t.jsonl").write_text('{"x": 1}\n')
    assert read_table(Location(str(tmp_path / "t.jsonl"), load_args={"lines": True})).frame["x"].tolist() == [1]


def test_a_number_in_the_header_of_a_sheet_is_a_name(tmp_path: Path) -> None:
    pd.DataFrame({2024: [1, 2], "y": [3, 4]}).to_excel(tmp_path / "t.xlsx", index=False)
    location = Location(str(tmp_path / "t.xlsx"))
    assert column_names(location) == ["2024", "y"]
    assert read_table(location, columns=["2024"], float32=["2024"]).frame["2024"].dtype == np.float32


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("zip", zipped)])
def test_a_packed_text_is_unpacked_from_disk_and_from_a_url(kind: str, ending: str, pack, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=20_000)
    frame = pd.DataFrame({"x": rows, "y": rows})
    text = frame.to_csv(index=False) if kind == "csv" else frame.to_json(orient="records", lines=True)
    content = pack(text.encode())
    name = f"t.{kind}.{ending}"
    (tmp_path / name).write_bytes(content)
    assert make_source(None, name).file_format == kind
    with Server({name: content}) as server:
        for place in (str(tmp_path / name), server.url(name)):
            assert len(read_table(Location(place), columns=["y"]).frame) == 20_000
            assert column_names(Location(place)) == ["x", "y"]


def test_a_text_that_looks_like_a_number_in_part_stays_text_everywhere(file) -> None:
    lines = [json.dumps({"id": f"{number:06d}", "x": number}) for number in range(50_001)] + [json.dumps({"id": "A1", "x": 0})]
    frame = read_table(file("t.jsonl", "\n".join(lines)), columns=["id", "x"], float32=["x"]).frame
    assert frame["id"].iloc[7] == "000007"
    assert frame["x"].dtype == np.float32


def test_a_key_that_most_lines_lack_is_a_column_with_gaps(file) -> None:
    lines = ['{"x": 1}'] * 50_001 + ['{"x": 2, "late": 5}']
    frame = read_table(file("t.jsonl", "\n".join(lines)), columns=["x", "late"]).frame
    assert frame["late"].notna().sum() == 1
    with pytest.raises(InputError, match=r"no column `lat`. Did you mean `late`"):
        read_table(file("t.jsonl", "\n".join(lines)), columns=["lat"])


@pytest.mark.parametrize("name", ["t.jsonl", "t.csv"])
def test_a_file_without_rows_is_reported_as_such(name: str, file) -> None:
    with pytest.raises(InputError, match="has no rows"):
        read_table(file(name, "" if name == "t.jsonl" else "x,y\n"), columns=["x"])


def test_a_parquet_without_rows_is_reported_as_such_from_a_url_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "t.parquet")
    with Server({"t.parquet": (tmp_path / "t.parquet").read_bytes()}) as server:
        with pytest.raises(InputError, match="has no rows"):
            read_table(Location(server.url("t.parquet")), columns=["x"])
        assert list(read_head(Location(server.url("t.parquet"))).columns) == ["x"]


def test_a_written_index_is_no_column(tmp_path: Path) -> None:
    pd.DataFrame({"x": [1, 2]}, index=[5, 3]).to_parquet(tmp_path / "t.parquet")
    location = Location(str(tmp_path / "t.parquet"))
    assert column_names(location) == list(read_table(location).frame) == list(read_head(location)) == ["x"]


@pytest.mark.parametrize("kept", [None, ["x", "id"]])
def test_an_index_with_a_name_is_no_column_either(kept: list[str] | None, tmp_path: Path) -> None:
    pd.DataFrame({"x": [1, 2]}, index=pd.Index([5, 3], name="id")).to_parquet(tmp_path / "t.parquet")
    location = Location(str(tmp_path / "t.parquet"), load_args={} if kept is None else {"columns": kept})
    with pytest.raises(InputError, match="no column `id`"):
        read_table(location, columns=["id"])
    with pytest.raises(InputError, match="no column `id`"):
        read_table(location, columns=["x", "id"])
    assert list(read_table(location, columns=["x"]).frame["x"]) == [1, 2]


@pytest.mark.parametrize("names", [("2019", "2020"), ("1", "x"), ("2019-01-01", "2019-02-01"), ("1.5", "true")])
def test_the_names_of_json_lines_are_text(names: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("".join(f'{{"{names[0]}": {row}, "{names[1]}": {row * 2}}}\n' for row in range(3)))
    location = Location(str(tmp_path / "t.jsonl"))
    assert column_names(location) == list(read_table(location).frame) == list(read_head(location)) == list(names)
    assert list(read_table(location, columns=[names[1]]).frame[names[1]]) == [0, 2, 4]


@pytest.mark.parametrize(
    "dtype", [{"zip": "str"}, {"zip": "string"}, {"zip": "object"}, "str", {"zip": "category"}, {"zip": "float32"}, False]
)
def test_a_type_that_is_asked_for_is_made_of_the_whole_column(dtype: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 7 is 7.0 where a gap stands in the same piece.
    monkeypatch.setattr("kedro_cloudtrain.worker.json_lines.PIECE_LINES", 2)
    (tmp_path / "t.jsonl").write_text('{"zip": 7, "x": 1}\n{"zip": 8, "x": 2}\n{"zip": null, "x": 3}\n{"zip": 9, "x": 4}\n')
    whole = pd.read_json(tmp_path / "t.jsonl", lines=True, dtype=dtype)
    frame = read_table(Location(str(tmp_path / "t.jsonl"), load_args={"dtype": dtype}), columns=["zip"]).frame
    pd.testing.assert_series_equal(frame["zip"], whole["zip"])


def test_decimals_and_days_are_numbers_and_times_to_a_machine_and_themselves_in_a_notebook(tmp_path: Path) -> None:
    columns = {
        "price": pa.array([decimal.Decimal("1.50"), None]),
        "cost": pa.array([decimal.Decimal("2.25"), decimal.Decimal(3)]),
        "day": pa.array([dt.date(2020, 1, 2), None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    location = Location(str(tmp_path / "t.parquet"))
    frame = read_table(location, float32=["price"]).frame
    assert frame["price"].dtype == np.float32
    assert frame["cost"].dtype == np.float64
    assert pd.api.types.is_datetime64_any_dtype(frame["day"])
    assert read_table(location).frame["price"][0] == decimal.Decimal("1.50")
    assert read_table(location).frame["day"][0] == dt.date(2020, 1, 2)


@pytest.mark.parametrize(("name", "module"), [("t.xlsx", "openpyxl"), ("t.xls", "xlrd")])
def test_a_reader_that_is_not_installed_is_named(name: str, module: str, file, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'needs {module}, which is not installed: pip install "kedro-cloudtrain\[excel\]"'):
        read_table(file(name, b"PK"))


@pytest.mark.parametrize(("args", "package"), [({"engine": "calamine"}, "python-calamine"), ({"engine": "odf"}, "odfpy")])
def test_the_package_of_another_engine_is_named(args: dict[str, str], package: str, file) -> None:
    with pytest.raises(InputError, match=rf'needs {package}, which is not installed: pip install "{package}"\. On a machine'):
        read_table(file("t.xlsx", b"PK", **args))


def test_the_package_of_a_writer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl.workbook", None)
    with pytest.raises(InputError, match=r't\.xlsx needs openpyxl, which is not installed: pip install "kedro-cloudtrain\[excel\]"'):
        write_table(pd.DataFrame({"x": [1]}), tmp_path / "t.xlsx", "xlsx", {})
