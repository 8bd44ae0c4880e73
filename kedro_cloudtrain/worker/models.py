"""A trained model as a folder: the library's own format, and `model.json`, which says how to read frames; never a pickle."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .protocol import MODEL

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .encoding import Features
    from .target import Target

FORMAT = 1
# The format of a model that consists of several folds' models.
FOLDS_FORMAT = 2
# With these, CatBoost fits the logarithm of the prediction ("Regression: objectives and metrics" of its documentation).
_CATBOOST_LOG_LOSSES = ("Poisson", "Tweedie", "LogLinQuantile")
FILES = {"xgboost": "booster.ubj", "lightgbm": "booster.txt", "catboost": "model.cbm", "keras": "model.keras"}
# How each file begins: with an object of UBJSON, a line, a magic number, a zip archive.
_BEGINNINGS = {"xgboost": b"{", "lightgbm": b"tree", "catboost": b"CBM1", "keras": b"PK"}


class TrainedModel:
    """A model that predicts in its caller's terms, without the machine that fitted it.

    Args:
        folder: holds `model.json` and the library's file; the library is imported at the first prediction.

    Attributes:
        folder: as given.
        description: the content of `model.json`: library, task, columns, classes, versions.
        format: the number of its folder's format.
    """

    format = FORMAT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description: dict[str, Any] = _description(folder / MODEL)
        if self.description.get("format") != self.format:
            raise InputError(
                f"{folder} is a model of format {self.description.get('format')!r}, and this release reads formats {FORMAT} and "
                f"{FOLDS_FORMAT} only."
            )
        self._check_files()

    def __repr__(self) -> str:
        return f"TrainedModel({self.library} {self.task} of {self.target!r})"

    @property
    def library(self) -> str:
        """The library that fitted it."""
        return str(self.description["library"])

    @property
    def task(self) -> str:
        """`regression`, `binary_classification` or `multiclass_classification`."""
        return str(self.description["task"])

    @property
    def target(self) -> str:
        """The column that it predicts."""
        return str(self.description["target"]["name"])

    @property
    def feature_columns(self) -> list[str]:
        """The columns that it needs."""
        return [str(column["name"]) for column in self.description["features"]]

    @property
    def classes(self) -> list[Any]:
        """The classes of a classification, in the order of `predict_proba`'s columns."""
        return list(self.description["target"]["classes"])

    def open(self) -> None:
        """Import the library and load its file now, not with the first prediction.

        Raises:
            InputError: the library cannot load the file.
        """
        _ = self._native

    def predict(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Predict each row: a number (float64), or a label in the type that the training table had; shape (rows,).

        A category that no training row had counts as missing.

        Raises:
            InputError: the frame lacks a column, or has dates where the model was trained on numbers.
        """
        return self._target.decode(self._checked_output(frame))

    def predict_proba(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return each class's probability: a frame with the same index, and a column per class.

        Raises:
            InputError: as for `predict`, or the model is a regression.
        """
        import pandas as pd

        if self.task == "regression":
            raise InputError(f"{self!r} is a regression, which has no probabilities: call predict.")
        return pd.DataFrame(self._target.probabilities(self._checked_output(frame)), index=frame.index, columns=self.classes)

    def predict_table(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict each row as `predict` and `predict_proba` do, at once.

        Returns:
            A frame with the same index: `prediction`, and of a classification `probability_…` for each class.

        Raises:
            InputError: the frame lacks a column.
        """
        import pandas as pd

        from .predictions import prediction_columns

        return pd.DataFrame(prediction_columns(self._target, self.output(frame)), index=frame.index)

    def _checked_output(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the raw output for a frame of a caller's; a table that a machine reads is checked by its first rows."""
        from .matching import refuse_dates

        output = self.output(frame)  # it checks the columns' names
        refuse_dates(self.features, frame)
        return output

    def output(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the raw output for a frame's rows: values, the second class's probability, or (rows, classes).

        Raises:
            InputError: the frame lacks a column.
        """
        import numpy as np

        if not hasattr(frame, "columns"):
            raise InputError(
                f"A model predicts the rows of a DataFrame, and this is a {type(frame).__name__}. Of one row: pandas.DataFrame([row])."
            )
        matrix = self.features.matrix(frame)
        if not len(matrix):
            # Two of the libraries fail on an empty matrix.
            return np.empty((0, len(self.classes)) if self.task == "multiclass_classification" else 0)
        return output_of(self.library, self._native, self.features, self.task, matrix)

    @functools.cached_property
    def features(self) -> Features:
        """How a frame's columns become the matrix that the library gets."""
        from .encoding import Column, Features  # imports pandas, which only a prediction needs

        return Features(tuple(Column(**{**column, "categories": tuple(column["categories"])}) for column in self.description["features"]))

    @functools.cached_property
    def _target(self) -> Target:
        from .target import Target

        target = self.description["target"]
        return Target(target["name"], self.description["task"], tuple(target["classes"]))

    @functools.cached_property
    def _native(self) -> Any:
        file = self.folder / FILES[self.library]
        try:
            return _LOADERS[self.library](file)
        except ImportError:
            raise
        except Exception as error:
            # Each library has errors of its own for a file that is broken or of a later release.
            raise InputError(f"{file} cannot be loaded by this computer's {self.library}: {type(error).__name__}: {error}") from error

    def _check_files(self) -> None:
        """Check that the model's file is one of its library.

        Raises:
            InputError: it is not.
        """
        _check_file(self.folder, self.library)

    def __getstate__(self) -> dict[str, Any]:
        # Without the library's object, which a copy reads again from its file.
        return {"folder": self.folder, "description": self.description}


def _description(file: Path) -> dict[str, Any]:
    """Return what `model.json` has.

    Raises:
        InputError: it does not describe a model.
    """
    try:
        description = dict(json.loads(file.read_text(encoding="utf-8")))
        if description.get("format") not in (FORMAT, FOLDS_FORMAT):
            return description  # The fields of another format may be others.
        names = [description["library"], description["task"], description["target"]["name"]]
        names += [column["name"] for column in description["features"]]
        whole = all(isinstance(name, str) for name in names) and isinstance(description["target"]["classes"], list)
        if description["format"] == FOLDS_FORMAT:
            folds = description["folds"]
            whole = whole and bool(folds) and all((file.parent / name).parent == file.parent and name not in ("", "..") for name in folds)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if not whole:
        raise InputError(f"{file} does not describe a model. Train it again.")
    return description


def _check_file(folder: Path, library: str) -> None:
    """Check that a model's file begins as its library writes it; the library itself is imported at the first prediction.

    Raises:
        InputError: there is no such file, or it is another library's or nothing.
    """
    if library not in FILES:
        return
    file = folder / FILES[library]
    try:
        with file.open("rb") as stream:
            begins = stream.read(len(_BEGINNINGS[library])) == _BEGINNINGS[library]
    except OSError:
        begins = False
    if not begins:
        raise InputError(f"{file} is not a model of {library}. Train it again.")


def load_model(folder: Path | str) -> TrainedModel:
    """Load a model from its folder; its library is imported at the first prediction.

    Raises:
        InputError: the folder holds no model, or one of another format.
    """
    folder = Path(folder)
    if not (folder / MODEL).is_file():
        raise InputError(f"{folder} holds no model: it has no model.json.")
    if _description(folder / MODEL).get("format") == FOLDS_FORMAT:
        from .folds_model import FoldsModel

        return FoldsModel(folder)
    return TrainedModel(folder)


def save_model(folder: Path, library: str, native: Any, features: Features, target: Target, **more: Any) -> None:
    """Write a model's folder.

    Args:
        folder: the folder, which is created.
        library: xgboost, lightgbm, catboost or keras.
        native: the library's own object.
        features: how frames are read.
        target: how predictions are decoded.
        **more: more fields of `model.json`: versions, rounds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _SAVERS[library](native, folder / FILES[library])
    description = {
        "format": FORMAT,
        "library": library,
        "task": target.task,
        "target": {"name": target.name, "classes": list(target.classes)},
        "features": features.described(),
        **more,
    }
    (folder / MODEL).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def output_of(library: str, native: Any, features: Features, task: str, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return a library's raw output for an encoded matrix: values, the second class's probability, or (rows, classes)."""
    output: NDArray[np.float64] = _PREDICTORS[library](native, features, task, matrix)
    return output


def _xgboost_output(booster: Any, features: Features, _: str, matrix: NDArray[np.float32]) -> Any:
    import xgboost as xgb

    return booster.predict(xgb.DMatrix(matrix, feature_types=features.types, enable_categorical=True))


def _lightgbm_output(booster: Any, _: Features, __: str, matrix: NDArray[np.float32]) -> Any:
    return booster.predict(matrix)


def _catboost_output(model: Any, features: Features, task: str, matrix: NDArray[np.float32]) -> Any:
    kind = "Probability"
    if task == "regression":
        loss = str(model.get_all_params().get("loss_function", ""))
        kind = "Exponent" if loss.startswith(_CATBOOST_LOG_LOSSES) else "RawFormulaVal"
    output = model.predict(features.mixed_frame(matrix), prediction_type=kind)
    return output[:, 1] if task == "binary_classification" else output


def _keras_output(model: Any, features: Features, _: str, matrix: NDArray[np.float32]) -> Any:
    output = model.predict(features.network_inputs(matrix), batch_size=4096, verbose=0)
    return output.reshape(-1) if output.shape[1] == 1 else output


def _load_xgboost(file: Path) -> Any:
    import xgboost as xgb

    return xgb.Booster(model_file=str(file))


def _load_lightgbm(file: Path) -> Any:
    import lightgbm as lgb

    return lgb.Booster(model_file=str(file))


def _load_catboost(file: Path) -> Any:
    import catboost

    return catboost.CatBoost().load_model(str(file))


def _load_keras(file: Path) -> Any:
    from .devices import import_keras

    # A prediction needs no optimiser, and that of PyTorch is a class which only PyTorch can import.
    # Safe mode refuses a layer that would run Python code of the file.
    return import_keras().saving.load_model(file, compile=False, safe_mode=True)


_LOADERS: dict[str, Callable[[Path], Any]] = {
    "xgboost": _load_xgboost,
    "lightgbm": _load_lightgbm,
    "catboost": _load_catboost,
    "keras": _load_keras,
}
_SAVERS: dict[str, Callable[[Any, Path], Any]] = {
    "xgboost": lambda booster, file: booster.save_model(str(file)),
    "lightgbm": lambda booster, file: booster.save_model(str(file)),
    "catboost": lambda model, file: model.save_model(str(file)),
    "keras": lambda model, file: model.save(file),
}
_PREDICTORS: dict[str, Callable[[Any, Any, str, Any], Any]] = {
    "xgboost": _xgboost_output,
    "lightgbm": _lightgbm_output,
    "catboost": _catboost_output,
    "keras": _keras_output,
}
