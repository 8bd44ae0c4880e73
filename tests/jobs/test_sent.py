"""Sent inputs: the same content has the same name, whichever process writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict
from typing import Any

import pandas as pd
import pytest
from support.kedro_project import PENGUINS, Project, edit, run

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.jobs.sent import SentInput

VALUES = {
    "a set": '{"s": {"alpha", "beta", "gamma", "delta"}}',
    "a frame of sets": 'pd.DataFrame({"s": [{"alpha", "beta"}, {"gamma", "delta", "epsilon"}]})',
    "a fitted model": 'LinearRegression().fit(pd.DataFrame({"a": [1.0, 2.0]}), [1.0, 2.0])',
    "a frame": 'pd.DataFrame({"a": ["x", "y"], "b": [1.5, None]})',
    "a lambda": "lambda x: x + 1",
    "a frozenset": '(frozenset({"alpha", "beta", "gamma", "delta"}),)',
    "a set of sets": '{frozenset({"alpha", "beta"}), frozenset({"gamma", "delta"}), frozenset({"alpha", "delta"})}',
    "a set of several kinds": '{"alpha", 1, (2, "beta"), None, "gamma"}',
    "a dict of several kinds": '{1: {"alpha", "beta"}, "gamma": (), None: {"delta", "epsilon"}}',
}


def test_the_same_value_has_the_same_name_in_every_process() -> None:
    program = f"""
import json
import pandas as pd
from sklearn.linear_model import LinearRegression
from kedro_cloudtrain.jobs.sent import SentInput
values = {{{", ".join(f"{name!r}: {value}" for name, value in VALUES.items())}}}
print(json.dumps({{name: SentInput.of(value, "it").name for name, value in values.items()}}))
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    ]
    first, *others = map(json.loads, outputs)
    assert set(first) == set(VALUES)
    assert others == [first, first]


def test_another_value_has_another_name() -> None:
    from kedro_cloudtrain.jobs.sent import SentInput

    values = [{"a"}, {"b"}, {"a", "b"}, ("a",), frozenset({"a"}), 1j, 2j]
    assert len({SentInput.of(value, "it").digest for value in values}) == len(values)


FRAME = pd.DataFrame({"x": [1, 2]})
# A function can tell these apart by their order.
ORDERED = {
    "a dict of frames": lambda order: dict.fromkeys(order, FRAME),
    "a dict of tuples": lambda order: dict.fromkeys(order, (1,)),
    "an ordered dict": OrderedDict.fromkeys,
    "a counter": Counter,
    "a defaultdict": lambda order: defaultdict(int, dict.fromkeys(order, 1)),
    "a dict in a tuple": lambda order: (dict.fromkeys(order),),
    "a dict of several kinds": lambda order: dict.fromkeys([order[0], 3, order[1]], (1,)),
    "plain JSON": lambda order: {name: [1] for name in order},
    "JSON within JSON": lambda order: [{"deep": dict.fromkeys(order)}],
    "a frame's columns": lambda order: pd.DataFrame({name: [1] for name in order}),
    "a frame's attributes": lambda order: _with_attributes(dict.fromkeys(order)),
    "a list": list,
}
# And these it cannot.
UNORDERED = {"a set": set, "a frozenset": frozenset, "a set in a dict": lambda order: {"s": set(order)}}


def _with_attributes(attributes: dict[str, Any]) -> pd.DataFrame:
    frame = FRAME.copy()
    frame.attrs = attributes
    return frame


@pytest.mark.parametrize("kind", ORDERED)
def test_another_order_is_another_value(kind: str) -> None:
    one, again, other = (SentInput.of(ORDERED[kind](order), "it") for order in (["a", "b"], ["a", "b"], ["b", "a"]))
    assert one.digest == again.digest
    assert one.digest != other.digest
    assert one.name != other.name


@pytest.mark.parametrize("kind", UNORDERED)
def test_a_set_has_no_order(kind: str) -> None:
    names = [f"name {number}" for number in range(50)]
    assert SentInput.of(UNORDERED[kind](names), "it").digest == SentInput.of(UNORDERED[kind](names[::-1]), "it").digest


NOT_IN_PARQUET = {
    "complex numbers": [1j, 2, 3],
    "mixed objects": [1, "a", {}],
    "numbers and texts": [1, "a", 2.0],
    "categories that are intervals": pd.cut(pd.Series([1, 2, 3]), [0, 1, 3]),
}


@pytest.mark.parametrize("kind", NOT_IN_PARQUET)
def test_a_column_that_parquet_cannot_hold_is_one_line_where_it_is_needed_and_no_matter_where_not(kind: str) -> None:
    table = pd.DataFrame({"area": [1, 2, 3], "odd one": NOT_IN_PARQUET[kind]})
    with pytest.raises(SourceError, match=r"^`houses` of train has columns that parquet cannot hold: `odd one`\. Make each .*$"):
        SentInput.of(table, "`houses` of train", table=True)
    sent = SentInput.of(table, "`houses` of train", table=True, columns={"area"})
    assert sent.digest == SentInput.of(table[["area"]], "`houses` of train", table=True).digest


def test_only_the_columns_that_a_training_needs_are_sent_and_a_change_of_another_changes_nothing(project: Project) -> None:
    edit(
        project,
        "conf/base/catalog.yml",
        "  dataset_key: datasets/penguins.csv\n  volume: ${globals:volume}",
        "  filepath: data/penguins.csv",
    )
    edit(project, "conf/base/catalog.yml", "kedro_cloudtrain.CloudDataset", "pandas.CSVDataset")
    table = pd.read_csv(PENGUINS)
    table.to_csv(project.path / "data/penguins.csv", index=False)
    run(project, "--nodes=train_mass")
    (sent,) = (project.path / "data/volume/.cloudtrain/inputs").iterdir()
    assert set(pd.read_parquet(sent).columns) == {"body_mass_g", "bill_length_mm", "flipper_length_mm", "species"}
    table.assign(year=1999).to_csv(project.path / "data/penguins.csv", index=False)
    assert "train_mass is done already" in run(project, "--nodes=train_mass")


def test_a_value_that_cannot_be_followed_goes_by_its_pickle() -> None:
    import numpy as np

    masked = np.ma.array([1, 2], mask=[0, 1])
    assert SentInput.of(masked, "x").name == SentInput.of(np.ma.array([1, 2], mask=[0, 1]), "x").name
    assert SentInput.of(masked, "x").name != SentInput.of(np.ma.array([1, 3], mask=[0, 0]), "x").name
