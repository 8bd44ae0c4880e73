from __future__ import annotations

import copy
import json
import pickle

import lightgbm as lgb
import numpy as np
import pandas as pd
import pytest

from kedro_cloudtrain.worker import devices, load_model
from kedro_cloudtrain.worker.encoding import Features, Target
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.models import save_model

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


def test_a_loaded_model_can_be_copied_and_sent(folder) -> None:
    model = load_model(folder)
    expected = model.predict(FRAME)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):  # noqa: S301
        assert (other.predict(FRAME) == expected).all()
    assert len(pickle.dumps(model)) < 5000


def test_what_is_no_model_is_refused(folder, tmp_path) -> None:
    with pytest.raises(InputError, match="holds no model"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": 2}))
    with pytest.raises(InputError, match="format 2, and this release reads format 1"):
        load_model(tmp_path)


def test_keras_computes_with_what_is_installed(monkeypatch) -> None:
    def installed(*names):
        monkeypatch.setattr(devices.importlib.util, "find_spec", lambda name: name if name in names else None)
        monkeypatch.setenv("KERAS_BACKEND", "")
        return devices.choose_keras_backend()

    assert installed("torch", "tensorflow", "jax") == "jax"
    assert installed("torch", "tensorflow") == "tensorflow"
    assert installed("torch") == "torch"
    assert installed() == "jax"
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    assert devices.choose_keras_backend() == "torch"


def test_the_gpu_is_what_its_driver_says(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices.gpu_name() is None
    tool = tmp_path / "nvidia-smi"
    for script, name in (("echo NVIDIA H100; echo NVIDIA L4", "NVIDIA H100"), ("exit 9", None), ("true", None)):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert devices.gpu_name() == name
    tool.write_text("#!/bin/sh\necho NVIDIA H100\n")
    for visible, name in (("", None), ("-1", None), ("0", "NVIDIA H100"), ("GPU-1f2e", "NVIDIA H100")):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert devices.gpu_name() == name


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


def test_a_library_takes_the_gpu_only_where_it_can(monkeypatch) -> None:
    monkeypatch.setattr(devices, "gpu_name", lambda: None)
    assert devices.device_for("xgboost")[0] == "cpu"
    monkeypatch.setattr(devices, "gpu_name", lambda: "NVIDIA H100")
    assert devices.device_for("lightgbm")[0] == "cpu"
    assert not devices._can_use_cuda("lightgbm")
    import xgboost

    for built in (True, False):
        monkeypatch.setattr(xgboost, "build_info", lambda built=built: {"USE_CUDA": built})
        assert devices.device_for("xgboost") == (("cuda", "NVIDIA H100") if built else devices.device_for("lightgbm"))
    monkeypatch.setattr(xgboost, "build_info", lambda: {"USE_CUDA": True})
    assert devices.device_for("xgboost", {"device": "cpu"})[0] == "cpu"
    assert devices.device_for("xgboost", {"device": "cuda:0", "max_depth": 3})[0] == "cuda"
    import catboost.utils

    for count, device in ((1, "cuda"), (0, "cpu")):
        monkeypatch.setattr(catboost.utils, "get_gpu_device_count", lambda count=count: count)
        assert devices.device_for("catboost")[0] == device


def test_keras_takes_the_gpu_that_its_backend_sees(monkeypatch) -> None:
    import sys
    from types import SimpleNamespace

    monkeypatch.setattr(devices, "gpu_name", lambda: "NVIDIA H100")
    for backend, sees in (("jax", True), ("jax", False), ("torch", True), ("torch", False), ("tensorflow", True), ("tensorflow", False)):
        fakes = {
            "keras": SimpleNamespace(backend=SimpleNamespace(backend=lambda backend=backend: backend)),
            "jax": SimpleNamespace(default_backend=lambda sees=sees: "gpu" if sees else "cpu"),
            "torch": SimpleNamespace(cuda=SimpleNamespace(is_available=lambda sees=sees: sees)),
            "tensorflow": SimpleNamespace(config=SimpleNamespace(list_physical_devices=lambda _, sees=sees: ["GPU:0"] * sees)),
        }
        with monkeypatch.context() as patch:
            for name, fake in fakes.items():
                patch.setitem(sys.modules, name, fake)
            assert devices.device_for("keras")[0] == ("cuda" if sees else "cpu"), backend
