"""Features are learned from a table's pieces as from the whole table, whatever their columns hold."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.far_numbers import FAR, NEAR

from kedro_cloudtrain.worker import pieces
from kedro_cloudtrain.worker.column_fit import Moments
from kedro_cloudtrain.worker.digits import sample_step
from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.roles import Roles
from kedro_cloudtrain.worker.row_groups import Outline, numbers_of
from kedro_cloudtrain.worker.shared_part import SAMPLED, TRAIN, VALIDATION, TablePart, packed, unpacked
from kedro_cloudtrain.worker.table_in_pieces import TableInPieces
from kedro_cloudtrain.worker.tables import read_table
from kedro_cloudtrain.worker.target import Target

if TYPE_CHECKING:
    from pathlib import Path

ROWS = 500
K = np.arange(ROWS)
DAYS = pd.Series(pd.Timestamp("2026-01-01") + pd.to_timedelta(K, unit="h"))
# Of nullable whole numbers of 64 bits that lack some, pyarrow's pieces are decimals.
NUMBERS = {name: values for name, values in {**FAR, **NEAR}.items() if name != "as text"}
OTHERS = {
    "gaps in the last piece alone": pd.Series(K * 1.0).where(K < 480),
    "whole numbers with a gap in the last piece": pd.Series(K).where(K < 480).astype("Int64"),
    "one infinity": pd.Series(np.where(K == 300, np.inf, K / 3)),
    "too large for float32 in one piece": pd.Series(np.where(K == 300, 1e300, 1.0)),
    "far numbers in the last piece alone": pd.Series(np.where(K < 480, K, 4_000_000_000 + K)),
    "float32": pd.Series(K / 7).astype("float32"),
    "decimals": pd.Series([decimal.Decimal(int(k)) / 8 for k in K]),
    "truths with gaps": pd.Series(K % 3 == 0).astype(object).where(K % 5 > 0, None),
    "truths, none in the first piece": pd.Series(K % 3 == 0).astype(object).where(K > 100, None),
    "dates": DAYS,
    "dates with gaps": DAYS.where(K % 9 > 0),
    "dates of a time zone": DAYS.dt.tz_localize("Europe/Berlin", nonexistent="shift_forward"),
    "days": pd.Series([dt.date(2026, 1, 1) + dt.timedelta(days=int(k)) for k in K]),
    "spans": pd.Series(pd.to_timedelta(K, unit="h")),
    "texts of dates": DAYS.dt.strftime("%Y-%m-%d"),
    "texts of dates, and one that is none": DAYS.dt.strftime("%Y-%m-%d").where(K != 450, "later"),
    "texts of dates in the first piece alone": pd.Series(np.where(K < 64, "2026-01-01", "never")),
    "texts": pd.Series(np.where(K % 2, "odd", "even")),
    "a text that the last piece alone has": pd.Series(np.where(K < 490, "usual", "rare")).where(K % 7 > 0, None),
    "texts of numbers": pd.Series((K % 5).astype(str)),
    "categories": pd.Series(np.where(K % 2, "odd", "even")).astype("category"),
    "categories of numbers": pd.Series(K % 4).astype("category"),
    "no numbers": pd.Series(np.full(ROWS, np.nan)),
    "no texts": pd.Series([None] * ROWS, dtype="string"),
    "codes": pd.Series(K % 6),
    "codes with gaps": pd.Series(K % 6).where(K % 8 > 0),
}
COLUMNS = {name: values.reset_index(drop=True) for name, values in {**NUMBERS, **OTHERS}.items()}
CODES = ["codes", "codes with gaps"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("table") / "t.parquet"
    frame = pd.DataFrame({**COLUMNS, "target": K % 2 * 1.0})
    frame.loc[5, "target"] = np.nan
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), file, row_group_size=90)
    return file


def assert_same(features: Features, expected: Features) -> None:
    for ours, theirs in zip(features.columns, expected.columns, strict=True):
        assert (ours.kind, ours.categories, ours.gaps, ours.codes) == (theirs.kind, theirs.categories, theirs.gaps, theirs.codes), theirs
        assert (ours.origin, ours.mean, ours.scale) == pytest.approx((theirs.origin, theirs.mean, theirs.scale), rel=1e-9), theirs


def test_features_are_those_of_the_whole_table(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_FEWEST_ROWS", 64)
    monkeypatch.setattr(pieces, "_MOST_ROWS", 64)
    roles = Roles.of("target", list(COLUMNS), {}, categorical=CODES)
    location = Location(str(table))
    fitted = np.random.default_rng(0).random(ROWS) < 0.7
    whole = read_table(location, columns=roles.columns, float32=roles.float32).frame
    expected, matrix = Features.fit_matrix(whole, list(COLUMNS), CODES, np.flatnonzero(fitted))

    in_pieces = TableInPieces(location, roles, "t")
    features, (train, held, _) = in_pieces.encode(in_pieces.fit(fitted), np.where(fitted, 0, 1).astype("int8"))

    assert_same(features, expected)
    for place, theirs in enumerate(expected.columns):
        np.testing.assert_array_equal(train[:][:, place], matrix[:, place], theirs.name)
        np.testing.assert_array_equal(held[:][:, place], theirs.encode(whole[theirs.name][~fitted]), theirs.name)


@pytest.mark.parametrize(("processes", "group_rows", "piece_rows"), [(2, 90, 64), (3, 500, 64), (5, 40, 4096)])
def test_features_are_those_of_the_whole_table_however_processes_divide_it(
    table: Path, tmp_path: Path, processes: int, group_rows: int, piece_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_FEWEST_ROWS", piece_rows)
    monkeypatch.setattr(pieces, "_MOST_ROWS", piece_rows)
    pq.write_table(pq.read_table(table), tmp_path / "t.parquet", row_group_size=group_rows)
    roles = Roles.of("target", list(COLUMNS), {}, categorical=CODES)
    location = Location(str(tmp_path / "t.parquet"))
    whole = read_table(location, columns=roles.columns, float32=roles.float32).frame
    fitted = np.random.default_rng(processes).random(ROWS) < 0.7
    fitted &= whole["target"].notna().to_numpy()
    expected, matrix = Features.fit_matrix(whole, list(COLUMNS), CODES, np.flatnonzero(fitted))
    uses = np.where(fitted, TRAIN, VALIDATION).astype("uint8")
    uses[np.flatnonzero(fitted)[:: sample_step(int(fitted.sum()))]] += SAMPLED
    uses[whole["target"].isna()] = 0

    dealt = Outline.of(location).among(processes)
    assert sorted(np.concatenate([numbers_of(rows) for rows in dealt])) == list(range(ROWS))
    parts = [TablePart(location, roles, list(COLUMNS), ROWS, rows) for rows in dealt]
    assigned = [packed(uses[numbers_of(rows)]) for rows in dealt]
    learned = [unpacked(packed(part.learn(use))) for part, use in zip(parts, assigned, strict=True)]
    merged = parts[0].merged(learned, assigned, dealt)
    encoded = [part.encode(merged, Target("target", "regression"), use) for part, use in zip(parts, assigned, strict=True)]
    moments = Moments(len(COLUMNS))
    for each in encoded:
        moments.merge(each.moments)

    assert_same(moments.features(merged.features), expected)
    rows = np.concatenate([each.parts[TRAIN].rows for each in encoded])
    train = np.concatenate([each.parts[TRAIN].features for each in encoded])[np.argsort(rows)]
    for place, name in enumerate(COLUMNS):
        np.testing.assert_array_equal(train[:, place], matrix[:, place], name)
