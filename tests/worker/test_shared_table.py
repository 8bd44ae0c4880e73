"""The table of a fit that machines share: who reads which rows, and that the split is the one of a single process."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.http_server import Server

from kedro_cloudtrain.worker.cluster import Cluster
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.part_encoder import PartEncoder
from kedro_cloudtrain.worker.roles import Roles
from kedro_cloudtrain.worker.row_groups import Outline
from kedro_cloudtrain.worker.shared_calls import SharedCalls
from kedro_cloudtrain.worker.shared_rows import Slice, joined, level
from kedro_cloudtrain.worker.shared_table import SharedTable
from kedro_cloudtrain.worker.splitting import Part, split_rows
from kedro_cloudtrain.worker.target import Target
from kedro_cloudtrain.worker.training_table import read_training_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kedro_cloudtrain.worker.shared_rows import SharedRows
    from kedro_cloudtrain.worker.target import Task

ROWS = 600


@pytest.fixture(scope="module")
def calls() -> Iterator[SharedCalls]:
    cluster = Cluster(2)
    yield SharedCalls(cluster)
    assert cluster.close() is None


def table() -> pd.DataFrame:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {"a": random.normal(size=ROWS), "b": random.normal(size=ROWS).astype("float32"), "kind": random.choice(list("xyz"), ROWS)}
    )
    frame["when"] = pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(ROWS), unit="h")
    frame["shop"] = random.integers(0, 40, ROWS)
    frame["part"] = random.choice(["train", "val", "test"], ROWS)
    frame["w"] = random.random(ROWS) + 0.5
    frame["y"] = frame["a"] + random.normal(size=ROWS)
    frame["class"] = np.where(frame["y"] > 1, "high", np.where(frame["y"] < -1, "low", "mid"))
    frame.loc[random.random(ROWS) < 0.05, ["y", "class"]] = None
    return frame


def written(folder: Path, frame: pd.DataFrame, group_rows: int) -> Location:
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "t.parquet", row_group_size=group_rows)
    return Location(str(folder / "t.parquet"))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((4, 4, 4, 4), [[range(4), range(8, 12)], [range(4, 8), range(12, 16)]]),
        ((4, 4, 4), [[range(4), range(8, 12, 2)], [range(4, 8), range(9, 12, 2)]]),
        ((5,), [[range(0, 5, 2)], [range(1, 5, 2)]]),
        ((), [[], []]),
    ],
)
def test_row_groups_are_dealt_out_and_what_is_left_over_is_shared(sizes: tuple[int, ...], expected: list[list[range]]) -> None:
    assert [[each.rows for each in rows] for rows in Outline((), sizes).among(2)] == expected


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([50, 52], [[(0, 0, 50)], [(1, 0, 52)]]),
        ([90, 10], [[(0, 0, 50)], [(1, 0, 10), (0, 50, 90)]]),
        ([0, 70, 20], [[(0, 0, 0), (1, 30, 60)], [(1, 0, 30)], [(2, 0, 20), (1, 60, 70)]]),
        ([0, 1], [[(0, 0, 0), (1, 0, 1)], [(1, 0, 0)]]),
        ([0, 0], [[(0, 0, 0)], [(1, 0, 0)]]),
    ],
)
def test_a_process_that_has_much_more_than_its_share_gives_rows_to_others(
    counts: list[int], expected: list[list[tuple[int, int, int]]]
) -> None:
    levelled = level(counts)
    assert sum(each.end - each.begin for slices in levelled for each in slices) == sum(counts)
    if counts != [0, 70, 20]:
        assert levelled == [[Slice(*each) for each in slices] for slices in expected]
    sizes = [sum(each.end - each.begin for each in slices) for slices in levelled]
    assert max(sizes) <= 1.1 * -(-sum(counts) // len(counts))


def rows_of(calls: SharedCalls, part: SharedRows) -> Part:
    whole = joined(calls.values(part.shares))
    assert len(part) == len(whole)
    return whole.take(np.argsort(whole.rows))


@pytest.mark.parametrize(
    ("task", "validation", "group_rows", "class_weight", "weight"),
    [
        ("regression", {"fraction": 0.2, "test_fraction": 0.1, "seed": 3}, 100, None, None),
        ("regression", {"time_column": "when", "fraction": 0.3}, 300, None, "w"),
        ("multiclass_classification", {"fraction": 0.2, "seed": 4}, 600, "balanced", "w"),
        (
            "multiclass_classification",
            {"group_column": "shop", "fraction": 0.2, "test_fraction": 0.2},
            70,
            {"high": 3, "low": 1, "mid": 1},
            None,
        ),
        ("multiclass_classification", {"column": "part"}, 70, None, None),
    ],
)
def test_the_rows_of_each_part_are_those_of_one_process(
    calls: SharedCalls, tmp_path: Path, task: Task, validation: dict[str, Any], group_rows: int, class_weight: Any, weight: str | None
) -> None:
    location = written(tmp_path, table(), group_rows)
    target = "y" if task == "regression" else "class"
    roles = Roles.of(target, ["a", "b", "kind", "when"], validation, weight=weight)
    frame = read_training_table(location, roles).frame
    encoder = PartEncoder(frame, Target.fit(frame[target], task), roles, ["a", "b", "kind", "when"], class_weight)
    split = split_rows(frame, None if task == "regression" else encoder.codes, **validation)
    expected = [encoder.fit(split.train), encoder.encode(split.validation, "validation"), encoder.encode(split.test, "test")]

    shared = SharedTable(calls, location, roles, "t", task)
    parts = shared.split(validation, class_weight)
    assert (parts[2] is None) == (not len(split.test))
    for ours, theirs in zip(parts, expected, strict=True):
        if ours is None:
            continue
        encoded, wanted = rows_of(calls, ours), theirs.take(np.argsort(theirs.rows))
        for name in ("features", "target", "rows", "weight"):
            np.testing.assert_array_equal(getattr(encoded, name), getattr(wanted, name), name)
    assert (shared.validation_rows == expected[1].rows).all()
    assert [column.categories for column in shared.features.columns] == [column.categories for column in encoder.features.columns]
    sizes = [len(each) for each in calls.values(parts[0].shares)]
    assert max(sizes) < 1.3 * min(sizes), "no process waits for another"


def test_a_tables_url_is_read_once_by_all_processes_together(calls: SharedCalls) -> None:
    random = np.random.default_rng(1)
    frame = pd.DataFrame({f"x{number}": random.normal(size=8000) for number in range(12)} | {"unused": random.normal(size=8000)})
    content = io.BytesIO()
    frame.to_parquet(content, row_group_size=1000)
    with Server({"t.parquet": content.getvalue()}) as server:
        location = Location(server.url("t.parquet"))
        roles = Roles.of("x0", [f"x{number}" for number in range(1, 12)], {})
        shared = SharedTable(calls, location, roles, "t", "regression")
        shared.split({"fraction": 0.2})
        whole = len(content.getvalue()) * 12 / 13
        footers = 4 * 65_536  # pyarrow reads so much of a file's end, in each process, and in one for the names
        assert 0.95 * whole < server.served < whole + footers
        assert 0.95 * whole < shared.bytes_read < whole + footers


BAD = {
    "no target": ({"target": "nothing"}, r"t.parquet has no column `nothing`.*Fix target_column"),
    "no feature": ({"features": ["a", "nope"]}, "Fix feature_columns"),
    "one class": ({"target": "part", "task": "binary_classification"}, "has 3 classes"),
    "text to a regression": ({"target": "kind"}, "holds text"),
    "a bad weight": ({"weight": "b"}, "The weight column `b` has the value"),
    "no validation rows": ({"validation": {"fraction": 0.2, "column": "kind"}}, "The split column `kind` has the value"),
    "a code that is none": ({"categorical": ["a"]}, "`a` of categorical_columns has the value"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_refused_as_by_one_process(calls: SharedCalls, tmp_path: Path, name: str) -> None:
    given, message = BAD[name]
    location = written(tmp_path, table(), 100)
    validation = given.get("validation", {"fraction": 0.2})
    roles = Roles.of(
        given.get("target", "y"),
        given.get("features", ["a", "b"]),
        validation,
        categorical=given.get("categorical", ()),
        weight=given.get("weight"),
    )
    with pytest.raises(InputError, match=message):
        SharedTable(calls, location, roles, "t", given.get("task", "regression")).split(validation)
