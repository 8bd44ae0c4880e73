"""The digests by which a run is compared with its plan: the same in every process, another for another value, and no way to a secret."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, SecretStr

from kedro_cloudtrain.planning.digests import Digests, modules_of

HERE = Path("/projects/shop")
digests = Digests(HERE)


def decorated(times: Any) -> Any:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def called(*args: Any) -> Any:
            return function(*args) * times

        return called

    return decorate


def double(value: int) -> int:
    return value * 2


class Scaler:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def scale(self, value: float) -> float:
        return value * self.factor


class Typed(BaseModel):
    rounds: int
    password: str


@dataclasses.dataclass
class Point:
    x: int
    y: int


# Each row has values that are the same, and then values that differ from those and from one another.
ROWS: list[tuple[list[Any], list[Any]]] = [
    ([1], [True, 1.0, "1", None, [1], {"1": 1}]),
    ([[1, 2], (1, 2)], [[2, 1], {1, 2}, [1, [2]]]),
    ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], [{"a": 2, "b": 1}, {"a": {"b": 2}}, {}]),
    ([{1: "a"}], [{"1": "a"}, {True: "a"}]),
    ([{"c", "b", "a"}, frozenset("abc")], [set("abcd")]),
    ([dt.date(2026, 11, 26)], [dt.date(2026, 11, 27), dt.datetime(2026, 11, 26, tzinfo=dt.UTC), "2026-11-26"]),
    ([np.float64(0.5)], [np.float64(0.25)]),
    ([pd.DataFrame({"a": [1]})], [pd.DataFrame({"a": [2]}), pd.DataFrame({"b": [1]})]),
    ([HERE / "data/a.csv", Path("data/a.csv")], [HERE / "data/b.csv", Path("/data/a.csv")]),
    (["data/a.csv", f"{HERE}/data/a.csv", f"file://{HERE}/data/a.csv"], [f"{HERE}s/data/a.csv", "/data/a.csv"]),
    (
        ["https://a.org/t.csv?v=1&X-Amz-Signature=one", "https://a.org/t.csv?v=1&X-Amz-Signature=two", "https://a.org/t.csv?v=1"],
        ["https://a.org/t.csv?v=2&X-Amz-Signature=one", "https://b.org/t.csv?v=1"],
    ),
    (["postgresql://me:one@host/db", "postgresql://you:t/wo@host/db"], ["postgresql://me:one@host/other", "postgresql://host/db"]),
    (["pkg @ git+https://a.org/b/pkg@v1"], ["pkg @ git+https://a.org/c/pkg@v1", "pkg @ git+https://a.org/b/pkg@v2"]),
    ([functools.partial(double, 1)], [functools.partial(double, 2), functools.partial(double, value=1), double]),
    ([decorated(2)(double), decorated(2)(double)], [decorated(3)(double), decorated(2)(abs)]),
    ([Scaler(2).scale, Scaler(2).scale], [Scaler(3).scale, Scaler.scale]),
    ([int], [float, "int"]),
    (
        [Typed(rounds=3, password="one"), {"rounds": 3, "password": "one"}],
        [Typed(rounds=4, password="one"), Typed(rounds=3, password="two")],
    ),
    ([Point(1, 2)], [Point(2, 1)]),
    # As the machine's function would see it.
    ([Scaler({"a": 1, "b": 2}).scale], [Scaler({"b": 2, "a": 1}).scale]),
    ([{"api_key": "one"}], [{"api_key": "two"}, {"api_key": ""}, {"token": "one"}, {"api_key": 1}]),
]


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_the_same_value_has_the_same_digest_and_no_other_has_it(row: int) -> None:
    same, others = ROWS[row]
    first = digests.of(same[0])
    assert first is not None
    assert [digests.of(value) for value in same] == [first] * len(same)
    assert len({first, *map(digests.of, others)}) == 1 + len(others)


LOCK = threading.Lock()


@pytest.mark.parametrize("value", [LOCK, [LOCK], {"a": LOCK}, functools.partial(double, LOCK), decorated(LOCK)(double)])
def test_what_cannot_be_compared_has_no_digest(value: Any) -> None:
    assert digests.of(value) is None


def test_another_process_makes_the_same_digests() -> None:
    code = (
        "import datetime, pathlib, sys; from kedro_cloudtrain.planning.digests import Digests; import pandas as pd\n"
        "values = [set('abcdef'), {'b': 1, 'a': {'token': 'x'}}, pd.DataFrame({'a': ['x']}), datetime.date(2026, 1, 1), len, int]\n"
        "print([Digests(pathlib.Path('/projects/shop')).of(value) for value in values])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "None" not in outputs.pop()


def test_the_digest_of_a_secret_is_not_that_of_its_text() -> None:
    guesses = {hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("one", '"one"', json.dumps({"password": "one"}))}
    made = [digests.of({"password": "one"}), digests.of("one", name="password"), *digests.leaves({"password": "one"}, "db").values()]
    assert not guesses & set(made)
    assert digests.of("one") in guesses
    # Nor that of an object that holds one.
    hashes = {digests.of(["object", "pydantic.types.SecretStr", joblib.hash(SecretStr("one"), hash_name=name)]) for name in ("md5", "sha1")}
    assert digests.of(SecretStr("one")) not in {None, digests.of(SecretStr("two")), *hashes}
    assert digests.leaves(Typed(rounds=3, password="one"), "db").keys() == {"db.rounds", "db.password"}
    # What stands below a secret's name is one as well.
    below = digests.leaves({"credentials": {"of": ["one"]}}, "db")
    assert below.keys() == {"db.credentials.of"}
    assert below["db.credentials.of"] not in {digests.of(["one"]), digests.of("one")}


def test_parameters_are_named_by_their_dots() -> None:
    value = {"a": {"b": 1, "c": [1, {"d": 2}]}, "a.b": 3, "e": {}, 5: None}
    leaves = digests.leaves(value, "mass")
    assert list(leaves) == ["mass.a.b", "mass.a.c", "mass.e", "mass.5"]
    assert digests.leaves({**value, "a.b": 4}, "mass")["mass.a.b"] != leaves["mass.a.b"]
    assert digests.leaves(3, "least") == {"least": digests.of(3)}
    assert digests.leaves({"least": 3}, "") == digests.leaves(3, "least")


def test_the_modules_of_a_function_are_those_of_all_that_it_is_made_of() -> None:
    here = __name__
    assert modules_of(double) == {here}
    assert modules_of(decorated(2)(json.dumps)) == {here, "json"}
    assert modules_of(functools.partial(json.dumps, default=double)) == {here, "json"}
    assert modules_of(Scaler(2).scale) == {here}
    assert modules_of(Scaler(2)) == set()
    assert modules_of(len) == set()
