"""The parameters of a training beside its hyperparameters, in the scripts of all four libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from support.recipe_job import LIBRARIES

if TYPE_CHECKING:
    from support.recipe_job import Job

RANDOM = np.random.default_rng(4)
ROWS = 240


def shops() -> pd.DataFrame:
    """Return a table whose `shop` is a code: its signal has no order."""
    shop = RANDOM.integers(0, 12, ROWS) + 2**24
    frame = pd.DataFrame({"area": RANDOM.normal(size=ROWS).round(2), "shop": shop})
    return frame.assign(sold=((shop * 7) % 12 + frame["area"]).round(2))


@pytest.mark.parametrize("library", LIBRARIES)
def test_codes_are_the_categories_that_their_texts_are(job: Job, library: str) -> None:
    frame = shops()
    texts = frame.assign(shop=frame["shop"].astype(str))
    gaps = frame.assign(shop=frame["shop"].where(frame.index > 0))  # floats
    recipe, asked = f"{library}_regression", {"categorical_columns": ["shop"]}
    told: dict[str, Any] = {}
    for name, table, more in (
        ("texts.parquet", texts, {}),
        ("codes.parquet", frame, asked),
        ("codes.csv", frame, asked),
        ("gaps.csv", gaps, asked | {"feature_columns": ["area", "shop"]}),
    ):
        if library == "keras" and name == "gaps.csv":
            continue  # whose fit takes seconds
        assert job.run_here(recipe, job.table(name, table), "sold", **more)["state"] == "succeeded", job.result["error"]
        told[name] = job.predictions["prediction"]
        (shop,) = [column for column in job.model.description["features"] if column["name"] == "shop"]
        assert shop["kind"] == "category"
        assert shop["categories"] == sorted(set(texts["shop"]) & set(shop["categories"]))
    assert told["codes.parquet"].equals(told["texts.parquet"])
    assert told["codes.csv"].equals(told["texts.parquet"])
    # A prediction's frame may hold the codes as floats, beside a missing one, or as texts; a code that no row had counts as missing.
    model, head = job.model, frame.head(8)
    told_of = model.predict(head)
    assert len(set(told_of)) > 4
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype("float64"))), told_of)
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype(str))), told_of)
    np.testing.assert_array_equal(model.predict(head.assign(shop=head["shop"].astype("Int64").where(head.index > 3)))[4:], told_of[4:])
    strange = [head.assign(shop=value) for value in (-1, 0.5, np.inf, None)]
    assert len({tuple(model.predict(each)) for each in strange}) == 1


def test_a_code_that_is_no_whole_number_is_refused_with_its_row(job: Job) -> None:
    frame = shops().astype({"shop": float})
    frame.loc[7, "shop"] = 1.5
    result = job.run_here("lightgbm_regression", job.table("t.parquet", frame), "sold", categorical_columns=["shop"])
    assert result["error"]["input_error"]
    assert "`shop` of categorical_columns has the value 1.5 in row 7 (counted from 0)" in result["error"]["message"]
    result = job.run_here("lightgbm_regression", job.table("t.parquet", frame), "sold", categorical_columns=["shops"])
    assert "has no column `shops`. Did you mean `shop`?" in result["error"]["message"]
    assert "Fix categorical_columns." in result["error"]["message"]
