"""A table that is read by the names of its columns is the table read whole: over a grid of files and load_args, or both are refused."""

from __future__ import annotations

import csv
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from kedro_cloudtrain.worker import delimited, json_lines
from kedro_cloudtrain.worker.columns import is_number
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.no_cover  # other tests go through the same lines, and this table of cases is long
ROWS = range(1, 41)


def rows(line: Callable[[int], str], head: str = "name,area,price\n") -> str:
    return head + "".join(line(number) + "\n" for number in ROWS)


FILES = {
    "plain": rows(lambda n: f"flat {n},{n * 1.5},{n}"),
    "semicolons and decimal commas": rows(lambda n: f"flat;{n},5;1.{n:03d}", "name;area;price\n"),
    "tabs": rows(lambda n: f"flat\t{n}\t{n}", "name\tarea\tprice\n"),
    "bars of two": rows(lambda n: f"flat||{n}||{n}", "name||area||price\n"),
    "spaces": rows(lambda n: f"flat  {n} {n}", "name area  price\n"),
    "spaces after commas": rows(lambda n: f"flat, {n}, {n}"),
    "quotes": rows(lambda n: f'"flat, ""{n}""\nupper floor",{n},"{n}"'),
    "apostrophes": rows(lambda n: f"'flat, {n}',{n},'{n}'"),
    "escapes": rows(lambda n: f"flat\\, {n},{n},{n}"),
    "a comma at each line's end": rows(lambda n: f"{n}.888,{n}.444,0.798,", "price,area,noise\n"),
    "a comma at each line's end and at the header's": rows(lambda n: f"{n}.888,{n}.444,0.798,", "price,area,noise,\n"),
    "an index without a name": rows(lambda n: f"row {n},flat,{n},{n}"),
    "an index of numbers that becomes text": rows(lambda n: f"{n if n < 30 else 'last'},flat,{n},{n}", ",name,area,price\n"),
    "a line with one field too many, late": rows(lambda n: f"flat{', upper floor' if n == 33 else ''},{n},{n}"),
    "a line with one field too many, first": rows(lambda n: f"flat{', upper floor' if n == 1 else ''},{n},{n}"),
    "lines with a field too few": rows(lambda n: f"flat,{n}" if n % 7 == 3 else f"flat,{n},{n}"),
    "two rows of header": rows(lambda n: f"flat,{n},{n}", "name,area,price\ntext,m2,eur\n"),
    "two rows of header with gaps": rows(lambda n: f"flat,{n},{n}", "name,size,\ntext,area,price\n"),
    "a title above": rows(lambda n: f"flat,{n},{n}", "Prices of flats\n\nname,area,price\n"),
    "a footer of totals": rows(lambda n: f"flat,{n},{n}") + "total,820,820\n",
    "a footer of one field": rows(lambda n: f"flat,{n},{n}") + "40 rows\n",
    "comments": "# prices\n" + rows(lambda n: f"flat,{n},{n}" + (" # sold" if n % 5 == 0 else "")),
    "blank lines": rows(lambda n: f"flat,{n},{n}\n"),
    "no header": rows(lambda n: f"flat,{n},{n}", ""),
    "names twice": rows(lambda n: f"flat,{n},house", "area,price,area\n"),
    "names of numbers": rows(lambda n: f"flat,{n},{n}", "2023,2024,2025\n"),
    "late text among numbers": rows(lambda n: f"00{n},{n if n < 30 else 'many'},{n}"),
    "late fraction and late gap": rows(lambda n: f"flat,{n if n < 30 else n + 0.5},{n if n < 35 else ''}"),
    "late gap in texts and truths": rows(lambda n: f"{'flat' if n < 30 else ''},{n % 2 == 0},{n % 2 == 0 if n < 25 else ''}"),
    "early gap": rows(lambda n: f"{'' if n < 30 else 'flat'},{'' if n < 30 else n},{'' if n < 30 else True}"),
    "large numbers": rows(lambda n: f"{2**62 + n},{2**63 + n if n > 30 else n},{10**25 if n == 40 else n}"),
    "blanks among numbers": rows(lambda n: f"{'  ' if n % 4 == 0 else 'flat'},{' ' if n % 7 == 0 else n},{'   ' if n > 35 else n}"),
    "words for a gap": rows(lambda n: f"flat,{'unknown' if n % 5 == 0 else n},{'n/a' if n % 6 == 0 else n}"),
    "truths in words": rows(lambda n: f"flat,{'yes' if n % 2 else 'no'},{n}"),
    "days": rows(lambda n: f"flat,2024-01-{n % 28 + 1:02d},{n}"),
    "days of other lands": rows(lambda n: f"flat,{(n + 10) % 28 + 1:02d}/{n % 12 + 1:02d}/2024,{n}"),
    "thousands": rows(lambda n: f'flat,"1,{n:03d}",{n}'),
    "latin letters": rows(lambda n: f"café {n},{n},{n}").encode("latin-1"),
    "a byte order mark": ("\ufeff" + rows(lambda n: f"flat,{n},{n}")).encode(),
    "ends of Windows": rows(lambda n: f"flat,{n},{n}").replace("\n", "\r\n"),
    "a header alone": "name,area,price\n",
    "nothing": "",
}
ARGS: list[dict[str, Any]] = [
    {},
    {"sep": ";", "decimal": ",", "thousands": "."},
    {"delimiter": "\t"},
    {"sep": r"\|\|"},
    {"sep": r"\|\|", "engine": "python"},
    {"sep": None, "engine": "python"},
    {"sep": r"\s+"},
    {"skipinitialspace": True},
    {"quotechar": "'"},
    {"quoting": csv.QUOTE_NONE},
    {"escapechar": "\\"},
    {"index_col": False},
    {"index_col": 0},
    {"index_col": "area"},
    {"index_col": ["name", "area"]},
    {"header": [0, 1]},
    {"header": 1},
    {"header": None},
    {"header": None, "index_col": 0},
    {"names": ["a", "b", "c"]},
    {"names": ["a", "b"], "header": 0},
    {"names": ["a", "b", "c", "d"], "index_col": False, "header": 0},
    {"skiprows": 2},
    {"skiprows": [1, 30]},
    {"skipfooter": 1, "engine": "python"},
    {"skipfooter": 1},
    {"nrows": 12},
    {"comment": "#"},
    {"skip_blank_lines": False},
    {"engine": "python"},
    {"engine": "pyarrow"},
    {"engine": "c", "low_memory": True},
    {"dtype": "str"},
    {"dtype": {"name": "str", "area": "str"}},
    {"dtype": {"price": "int64"}},
    {"dtype": {"name": "category", "area": "float32"}},
    {"dtype_backend": "numpy_nullable"},
    {"on_bad_lines": "skip"},
    {"on_bad_lines": "warn"},
    {"on_bad_lines": "skip", "engine": "python"},
    {"usecols": ["area", "price"]},
    {"usecols": [0, 2]},
    {"na_values": ["unknown"]},
    {"na_values": {"area": "unknown"}, "keep_default_na": False},
    {"na_filter": False},
    {"true_values": ["yes"], "false_values": ["no"]},
    {"parse_dates": ["area"]},
    {"parse_dates": [1], "dayfirst": True},
    {"parse_dates": ["area"], "date_format": "%d/%m/%Y"},
    {"parse_dates": True, "index_col": 1},
    {"encoding": "latin-1"},
    {"encoding_errors": "replace"},
    {"lineterminator": "\n"},
    {"float_precision": "round_trip"},
    {"no_such_argument": 1},
]


def outcome(read: Callable[[], Any]) -> Any:
    """Return what is read, or the class of the refusal."""
    try:
        return read()
    except InputError:
        return InputError


def same(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    try:
        pd.testing.assert_frame_equal(first, second)
    except AssertionError:
        return False
    return True


def with_text_names(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    places = {str(label): place for place, label in reversed(list(enumerate(frame.columns)))}
    chosen = frame.iloc[:, [places[column] for column in columns]]
    chosen.columns = columns
    return chosen


def as_pandas_reads(path: Path, args: dict[str, Any]) -> Any:
    try:
        frame = pd.read_csv(path, **args)
    except Exception:  # noqa: BLE001  # whatever pandas refuses by
        return InputError
    return frame if len(frame) else InputError


def agree(first: Any, second: Any) -> bool:
    """Return whether two outcomes are the same table, or are both refusals."""
    return first is second if first is InputError or second is InputError else same(first, second)


WAYS = ("turned round", "one", "every other", "float32", "the first rows")


def columns_that_differ(location: Location, ways: Sequence[str] = WAYS) -> list[str]:
    """Return how reading some columns, or the first rows, differs from reading all."""
    return differing_from(outcome(lambda: read_table(location).frame), location, ways)


def differing_from(whole: Any, location: Location, ways: Sequence[str]) -> list[str]:
    """Return which ways of reading differ from the outcome of reading all."""
    refused = whole is InputError
    names = ["name", "area", "price"] if refused else list(map(str, whole.columns))
    return [way for way in ways if not reads_the_same(way, location, whole, names)]


def reads_the_same(way: str, location: Location, whole: Any, names: list[str]) -> bool:
    refused = whole is InputError
    if way == "float32":
        # What float32 does not tell apart stays wide: see test_digits.py.
        narrow = outcome(lambda: as_float32(read_table(location, float32=names).frame))
        return agree(narrow, whole if refused else as_float32(whole))
    if way == "the first rows":
        if refused:
            return True
        head = read_head(location, rows=3)
        shown = [column_names(location), list(map(str, head.columns))]
        # A line may lack the key of a column.
        alike = all(set(one) <= set(names) if location.format == "jsonl" else one == names for one in shown)
        return alike and 0 < len(head) <= 3
    columns = {"turned round": names[::-1], "one": names[1:2], "every other": names[::2]}[way]
    if not columns:
        return True
    chosen = outcome(lambda: read_table(location, columns=columns).frame)
    return agree(chosen, whole if refused else with_text_names(whole, columns))


def as_float32(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({name: "float32" for name in frame.columns if is_number(frame[name])})


def disagreements(path: Path, args: dict[str, Any], ways: Sequence[str]) -> list[str]:
    """Return which ways of reading differ from reading all, and whether that differs from what pandas reads."""
    location = Location(str(path), load_args=args)
    whole = outcome(lambda: read_table(location).frame)
    # Blanks are the one thing that is read otherwise: as missing numbers.
    as_pandas = "blanks among numbers" in path.name or agree(whole, as_pandas_reads(path, args))
    return differing_from(whole, location, ways) + ([] if as_pandas else ["pandas"])


def way_of(file: int, args: int) -> str:
    return WAYS[(file + args) % len(WAYS)]


def test_each_text_and_each_of_load_args_meets_each_way_of_reading() -> None:
    met = [(file, args, way_of(file, args)) for file in range(len(FILES)) for args in range(len(ARGS))]
    assert min(Counter((file, way) for file, _, way in met).values()) >= 11
    assert min(Counter((args, way) for _, args, way in met).values()) >= 8
    assert len({(file, way) for file, _, way in met}) == len(FILES) * len(WAYS)
    assert len({(args, way) for _, args, way in met}) == len(ARGS) * len(WAYS)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FILES)
def test_the_columns_of_a_text_are_those_of_the_whole_and_the_whole_is_what_pandas_reads(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delimited, "FIRST_ROWS", 25)
    monkeypatch.setattr(delimited, "PIECE_CELLS", 25)
    content = FILES[kind]
    path = tmp_path / f"{kind}.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    # Each file meets each of load_args, and each of both meets each way of reading about ten times.
    place = list(FILES).index(kind)
    differences = {str(args): disagreements(path, args, [way_of(place, number)]) for number, args in enumerate(ARGS)}
    assert {args: differences for args, differences in differences.items() if differences} == {}


LINES = {
    "plain": [{"name": "flat", "area": n * 0.5, "price": n} for n in ROWS],
    "late text among numbers": [{"name": f"00{n}", "area": n if n < 30 else "many", "price": n} for n in ROWS],
    "keys that lines lack": [{"name": "flat", **({"area": n} if n > 30 else {}), **({"sold": True} if n < 10 else {})} for n in ROWS],
    "nulls": [{"name": None if n < 30 else "flat", "area": n if n < 30 else None, "sold": True if n > 35 else None} for n in ROWS],
    "dates": [{"name": "flat", "date": "2024-01-02" if n < 30 else "unknown", "price": n} for n in ROWS],
    "blanks among numbers": [{"name": " " if n == 3 else "flat", "area": " " if n == 30 else n, "price": n or ""} for n in ROWS],
    "nested": [{"name": [n], "area": {"m2": n}, "price": n} for n in ROWS],
}
LINE_ARGS: list[dict[str, Any]] = [
    {},
    {"dtype": {"name": "str"}},
    {"dtype": False},
    {"convert_dates": False},
    {"convert_dates": ["date"]},
    {"nrows": 12},
    {"engine": "pyarrow"},
    {"precise_float": True},
    {"no_such_argument": 1},
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("args", LINE_ARGS, ids=str)
@pytest.mark.parametrize("kind", LINES)
def test_the_columns_of_json_lines_are_those_of_the_whole(
    kind: str, args: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "PIECE_LINES", 25)
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES[kind])))
    assert columns_that_differ(Location(str(path), load_args=args)) == []
    read = outcome(lambda: read_table(Location(str(path), load_args=args)).frame)
    if kind != "blanks among numbers" and read is not InputError:
        pd.testing.assert_frame_equal(read, pd.read_json(path, lines=True, **args))


FRAMES = {
    "plain": pd.DataFrame({"name": "flat", "area": [1.5, 2], "price": [1, 2]}),
    "an index of its own": pd.DataFrame({"name": "flat", "area": [1.5, 2], "price": [1, 2]}, index=pd.Index([7, 9], name="id")),
    "an index without a name": pd.DataFrame({"name": "flat", "area": [1.5, 2]}, index=[7, 9]),
    "an index of two": pd.DataFrame({"name": "flat", "area": [1, 2], "price": 3}, index=pd.MultiIndex.from_tuples([(1, 2), (3, 4)])),
    "names with dots": pd.DataFrame({"a": [1, 2], "a.b": [3, 4], "b": [5, 6]}),
    "names of numbers": pd.DataFrame({"2023": [1, 2], "2024": [3, 4]}),
    "blanks among numbers": pd.DataFrame({"area": pd.Series([1, " "], dtype=object).astype(str), "price": [1, 2]}),
}
SHEET_ARGS: list[dict[str, Any]] = [
    {},
    {"index_col": 0},
    {"header": [0, 1]},
    {"header": None},
    {"skiprows": 1},
    {"skipfooter": 1},
    {"nrows": 1},
    {"dtype": "str"},
    {"usecols": [0, 1]},
]


@pytest.mark.parametrize("args", [{}, {"columns": ["area", "price"]}, {"columns": ["gone"]}, {"engine": "pyarrow"}], ids=str)
@pytest.mark.parametrize("kind", FRAMES)
def test_the_columns_of_a_parquet_are_those_of_the_whole(kind: str, args: dict[str, Any], tmp_path: Path) -> None:
    FRAMES[kind].to_parquet(tmp_path / "t.parquet")
    assert columns_that_differ(Location(str(tmp_path / "t.parquet"), load_args=args)) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("args", SHEET_ARGS, ids=str)
@pytest.mark.parametrize("kind", FRAMES)
def test_the_columns_of_a_sheet_are_those_of_the_whole(kind: str, args: dict[str, Any], tmp_path: Path) -> None:
    FRAMES[kind].to_excel(tmp_path / "t.xlsx")
    assert columns_that_differ(Location(str(tmp_path / "t.xlsx"), load_args=args)) == []


@pytest.mark.parametrize("args", [{"index_col": False}, {"index_col": False, "engine": "python"}], ids=str)
@pytest.mark.filterwarnings("ignore")
def test_a_comma_at_the_end_of_each_line_shifts_no_column(args: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("price,area,noise\n16.888,8.444,0.798,\n2,1,0.5,\n")
    assert read_table(Location(str(tmp_path / "t.csv"), load_args=args), columns=["area"]).frame["area"].tolist() == [8.444, 1.0]


def test_a_line_with_a_field_too_many_is_refused_or_skipped_wherever_it_is(tmp_path: Path) -> None:
    lines = ["name,area,price", *["flat,77,77000"] * 10_500, "flat, upper floor,77,77000", *["flat,77,77000"] * 10]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="Expected 3 fields in line 10502, saw 4"):
        read_table(Location(str(tmp_path / "t.csv")), columns=["area", "price"], float32=["area"])
    table = read_table(Location(str(tmp_path / "t.csv"), load_args={"on_bad_lines": "skip"}), columns=["area"], float32=["area"])
    assert table.frame["area"].tolist() == [77] * 10_510
