"""Sent inputs: the same content has the same name, whichever process writes it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

VALUES = {
    "a set": '{"s": {"alpha", "beta", "gamma", "delta"}}',
    "a frame of sets": 'pd.DataFrame({"s": [{"alpha", "beta"}, {"gamma", "delta", "epsilon"}]})',
    "a fitted model": 'LinearRegression().fit(pd.DataFrame({"a": [1.0, 2.0]}), [1.0, 2.0])',
    "a frame": 'pd.DataFrame({"a": ["x", "y"], "b": [1.5, None]})',
    "a lambda": "lambda x: x + 1",
}


@pytest.mark.parametrize("name", VALUES)
def test_the_same_value_has_the_same_name_in_every_process(name: str) -> None:
    program = f"""
import pandas as pd
from sklearn.linear_model import LinearRegression
from kedro_cloudtrain.jobs.sent import SentInput
print(SentInput.of({VALUES[name]}, "it").name)
"""
    names = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(names) == 1


def test_another_value_has_another_name() -> None:
    from kedro_cloudtrain.jobs.sent import SentInput

    values = [{"a"}, {"b"}, {"a", "b"}, ("a",), frozenset({"a"}), 1j, 2j]
    assert len({SentInput.of(value, "it").digest for value in values}) == len(values)
