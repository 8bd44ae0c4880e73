from __future__ import annotations

import copy
import json
import pickle

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker import load_model
from kedro_cloudtrain.worker.encoding import Features
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.models import save_model
from kedro_cloudtrain.worker.target import Target

FRAME = pd.DataFrame({"a": np.arange(30.0), "c": ["x", "y", None] * 10, "d": ["2024-01-01", "2024-06-01", None] * 10})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    features = Features.fit(FRAME, ["a", "c", "d"])
    target = Target.fit(pd.Series([3, 5, 9] * 10, name="t"), "multiclass_classification")
    codes = target.encode(pd.Series([3, 5, 9] * 10))
    params = {"objective": "multiclass", "num_class": 3, "verbosity": -1, "min_data_in_leaf": 1, "min_data_per_group": 1}
    booster = lgb.train(params, lgb.Dataset(features.matrix(FRAME), codes, categorical_feature=[1]), 5)
    path = tmp_path_factory.mktemp("model") / "a/model"
    save_model(path, "lightgbm", booster, features, target, rounds=5)
    return path


def test_a_model_is_a_folder_without_a_pickle(folder) -> None:
    assert {file.name for file in folder.iterdir()} == {"model.json", "booster.txt"}
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert description["format"] == 1
    assert description["rounds"] == 5
    assert [column["kind"] for column in description["features"]] == ["number", "category", "date"]


def test_a_loaded_model_speaks_in_the_callers_terms(folder) -> None:
    model = load_model(str(folder))
    assert repr(model) == "TrainedModel(lightgbm multiclass_classification of 't')"
    assert (model.library, model.task, model.target, model.classes) == ("lightgbm", "multiclass_classification", "t", [3, 5, 9])
    assert model.feature_columns == ["a", "c", "d"]
    assert model.predict(FRAME).tolist() == [3, 5, 9] * 10
    shuffled = FRAME.sample(frac=1, random_state=0)[["d", "a", "c"]].assign(unused=1)
    chances = model.predict_proba(shuffled)
    assert chances.index.equals(shuffled.index)
    assert list(chances.columns) == [3, 5, 9]
    np.testing.assert_allclose(chances.sort_index(), model.predict_proba(FRAME))
    assert model.predict(FRAME.head(0)).shape == (0,)
    assert model.predict_proba(FRAME.head(0)).shape == (0, 3)
    with pytest.raises(InputError, match="no column `c`"):
        model.predict(FRAME.drop(columns="c"))


def test_dates_are_no_numbers_and_what_else_a_model_cannot_use_is_missing(folder) -> None:
    model = load_model(folder)
    for dates in (pd.date_range("2024-01-01", periods=30), [None, *["2024-01-01"] * 29]):
        for call in (model.predict, model.predict_proba):
            with pytest.raises(InputError, match="The column `a` holds dates, and the model was trained on numbers"):
                call(FRAME.assign(a=dates))
    expected = model.predict(FRAME.assign(a=np.nan))
    for others in ("", "n/a", np.inf, None, ["high", "low", None] * 10):
        assert (model.predict(FRAME.assign(a=others)) == expected).all()
        assert len(model.predict(FRAME.assign(a=others).head(1))) == 1


def test_a_loaded_model_can_be_copied_and_sent(folder) -> None:
    model = load_model(folder)
    expected = model.predict(FRAME)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert (other.predict(FRAME) == expected).all()
    assert len(pickle.dumps(model)) < 5000


def test_what_is_no_model_is_refused(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": 3}))
    with pytest.raises(InputError, match="format 3, and this release reads formats 1 and 2 only"):
        load_model(tmp_path)


@pytest.mark.parametrize("loss", ["Poisson", "Tweedie:variance_power=1.5", "LogLinQuantile", "RMSE"])
def test_catboost_predicts_in_the_targets_unit_whatever_its_loss(tmp_path, loss) -> None:
    from catboost import CatBoost, Pool

    frame = pd.DataFrame({"x": np.arange(200) % 10})
    truth = np.exp(frame["x"] / 3.0)
    features = Features.fit(frame, ["x"])
    model = CatBoost({"loss_function": loss, "iterations": 200, "depth": 3, "allow_writing_files": False, "thread_count": 1})
    model.fit(Pool(features.mixed_frame(features.matrix(frame)), truth), logging_level="Silent")
    save_model(tmp_path / "m", "catboost", model, features, Target("y", "regression"))
    np.testing.assert_allclose(load_model(tmp_path / "m").predict(frame), truth, rtol=0.35)


def test_catboost_learns_the_same_of_pandas_categories_and_of_integers() -> None:
    from catboost import CatBoost, Pool

    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.normal(size=400), "c": random.choice(["a", "b", "c", None], 400)})
    truth = frame["x"] + frame["c"].map({"a": 1.0, "b": 3.0}).fillna(-2)
    features = Features.fit(pd.concat([frame, pd.DataFrame({"x": [0.0], "c": ["unused"]})]), ["x", "c"])
    matrix = features.matrix(frame)
    mixed = features.mixed_frame(matrix)
    assert isinstance(mixed["1"].dtype, pd.CategoricalDtype)
    integers = mixed.assign(**{"1": mixed["1"].astype("int32")})
    for more in ({}, {"one_hot_max_size": 10}):
        models = [
            CatBoost({"iterations": 20, "allow_writing_files": False, "thread_count": 1, "random_seed": 1, **more}).fit(
                Pool(given, truth, cat_features=[1]), logging_level="Silent"
            )
            for given in (mixed, integers)
        ]
        expected = models[1].predict(integers)
        for model in models:
            for given in (mixed, integers):
                np.testing.assert_array_equal(model.predict(given), expected)
