"""A training as its script sees it: reads, splits, encodes, watches the fit, measures and saves."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .cross_validation import CrossValidation, Fold
from .devices import choose_device
from .doubts import print_checks
from .errors import HyperparameterError, InputError
from .fit_checkpoint import FitCheckpoint
from .folding import fold_rows
from .folds_job import FoldsJob
from .hyperparameter_conflicts import weight_conflicts
from .hyperparameters import by_class, by_place, check_hyperparameters, refuse_constrained_categories
from .importance import permutation_importance
from .inputs import input_location
from .kept_folds import KeptFolds
from .metrics import measure
from .models import load_model, output_of, save_model
from .objectives import loss_of
from .part_checks import check_fitted, check_held, count_rows
from .part_encoder import PartEncoder
from .predictions import predictions_table
from .progress import finite, finite_values
from .protocol import OUTPUTS
from .refusals import refusal
from .results import version_of
from .roles import Roles
from .splitting import Part, Split, split_rows
from .target import Target
from .training_table import read_training_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from .encoding import Features
    from .target import Task


class TrainingJob(FoldsJob):
    """One training, in the folder of its script.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        library: xgboost, lightgbm, catboost or keras.
        task: `regression`, `binary_classification` or `multiclass_classification`.
        hyperparameters: checked against the library's names, and the values that those take.
        outputs: the outputs to write, of `model`, `metrics`, `history`, `importance` and `predictions`.

    Attributes:
        device: `cuda` or `cpu`.
        features: how the features are encoded; set once the rows are split.
        target: how the target is encoded; set once the table is read.
        progress: the fit's progress, whose `for_xgboost()` and so on return a callback.
    """

    features: Features
    target: Target
    _roles: Roles
    _names: list[str]
    _earlier_rounds: int | None = None
    _test: Part | None = None
    _own_device: Mapping[str, Any] = {}  # never changed

    def __init__(
        self,
        script: str,
        library: str,
        task: Task,
        hyperparameters: Mapping[str, Any],
        outputs: Sequence[str] = ("model", "metrics"),
    ) -> None:
        backend = os.environ.get("KERAS_BACKEND") if library == "keras" else None
        super().__init__(script, [library, *filter(None, [backend]), "numpy", "pandas", "scikit-learn"])
        self._library = library
        self._task = task
        self._hyperparameters = hyperparameters
        self._outputs = outputs

    def begin(self) -> None:
        """Open the device, and check the hyperparameters."""
        device = choose_device(self._library, {**self._hyperparameters, **self._own_device}, self._task)
        self.device, self._device_name, self._gpu = device.kind, device.name, device.gpu
        print(f"{self._library} {version_of(self._library)} on {device}")  # noqa: T201
        check_hyperparameters(self._library, self._hyperparameters, self._task)

    @property
    def checkpoint(self) -> FitCheckpoint:
        """The fit's state, which is written now and then."""
        if self._checkpoint_of_fit is None:
            part = "" if self._folds is None else f"fit-{self._fold}"
            self._checkpoint_of_fit = FitCheckpoint(self._library, self.progress, part)
            # How many rounds CatBoost has in a snapshot, it does not tell.
            has_snapshot = self._library == "catboost" and self._checkpoint_of_fit.folder is not None
            self._earlier_rounds = None if has_snapshot else self.progress.rounds
        return self._checkpoint_of_fit

    @property
    def rows_per_s(self) -> float | None:
        """The training rows that the fit went through in a second, once a round or an epoch; None if it has not come to its end."""
        seconds, rows = self._seconds.get("fit"), self._rows.get("train")
        in_folds = 0 if self._folds is None else self._folds.fitted_rows
        if not seconds or not rows or self._earlier_rounds is None or in_folds is None:
            return None
        of_all = 0 if self._folds is not None and self._folds.kept is not None else rows * (self.progress.rounds - self._earlier_rounds)
        return round((in_folds + of_all) / seconds, 1)

    def explained(self, error: BaseException | None) -> BaseException | None:
        """Return an error of the work, or the hyperparameter that the library has refused by it."""
        return refusal(self._library, self._hyperparameters, error) or error

    def read(
        self,
        target: str,
        features: Sequence[str] | None = None,
        validation: Mapping[str, Any] | None = None,
        *,
        categorical_columns: Sequence[str] = (),
        weight_column: str | None = None,
        dataset_key: str | None = None,
        dataset_url: str | None = None,
        dataset_file: str | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
    ) -> pd.DataFrame:
        """Read the columns that the training needs, and drop the rows that have no target.

        Args:
            target: the target column.
            features: the feature columns; None takes every column but the target.
            validation: its `column`, `time_column` or `group_column` is read, too.
            categorical_columns: the features that are categories, even if they hold numbers; those of a second table as well.
            weight_column: the rows' weights; those of a second table as well.
            dataset_key: the table's path below the volume.
            dataset_url: or its URL.
            dataset_file: or its path in the job folder.
            file_format: csv, tsv, parquet, xlsx, xls or jsonl; None infers it from the extension.
            load_args: passed to the pandas reader.

        Raises:
            InputError: the table does not exist, has another format, or lacks a column.
        """
        first = not hasattr(self, "target")
        given = Roles.of(target, features, validation or {}, categorical=categorical_columns, weight=weight_column)
        roles = given if first else self._roles.held_out(self._names)
        location = input_location(self.folder, dataset_key, dataset_url, dataset_file, file_format, load_args)
        table = read_training_table(location, roles)
        self._bytes_read += table.bytes_read
        self._rows["read"] = self._rows.get("read", 0) + table.rows
        if first:
            self.target = Target.fit(table.frame[target], self._task)
            self._roles, self._names = roles, roles.features_in(table.frame.columns)
            if not self._names:
                raise InputError(f"{location.place} has no column but the target `{target}`: a model has nothing to learn from.")
        return table.frame

    def split(
        self,
        frame: pd.DataFrame,
        validation: Mapping[str, Any],
        validation_frame: pd.DataFrame | None = None,
        *,
        class_weight: str | Mapping[str, float] | None = None,
    ) -> tuple[Part, Part, Part | None]:
        """Split a table into training, validation and test rows, and encode them by what the training rows hold.

        Args:
            frame: the table.
            validation: `fraction`, `test_fraction`, `seed`, `column`, `time_column`, `group_column`.
            validation_frame: the validation rows, if they are a table of their own.
            class_weight: `balanced`, or weights by the classes' labels: they weigh the training rows alone, as scikit-learn's do.

        Returns:
            The training rows, the validation rows, and the test rows, None if there are none.

        Raises:
            InputError: a part that is needed has no rows.
        """
        encoder = self._encoder(frame, class_weight)
        if validation_frame is None:
            classes = None if self._task == "regression" else encoder.codes
            split = split_rows(frame, classes, **{name: value for name, value in validation.items() if name != "dataset"})
        else:
            split = Split(np.arange(len(frame)), np.arange(0), np.arange(0))
        train = self._fitted(encoder, split)
        held = encoder.encode(split.validation, "validation") if validation_frame is None else encoder.encode_table(validation_frame)
        test = encoder.encode(split.test, "test") if len(split.test) else None
        self._check_parts(train, held)
        self._rows |= count_rows(train, held, test)
        return train, held, test

    def folds(
        self,
        frame: pd.DataFrame,
        validation: Mapping[str, Any],
        early_stopping_rounds: int | None = None,
        *,
        class_weight: str | Mapping[str, float] | None = None,
    ) -> Iterator[tuple[Part, Part, int | None]]:
        """Yield what each fit of a cross-validation has: the rows of a fold at a time, then, unless the folds are kept, all rows.

        `score` takes the outcome of each. The folds that were done before are left out.

        Args:
            frame: the table.
            validation: `folds`, `keep`, `stratified`, `test_fraction`, `seed`, `time_column`, `group_column`.
            early_stopping_rounds: the folds' early stopping.
            class_weight: as for `split`.

        Yields:
            The rows to fit on, those that are held out, and the early stopping. All rows have none to hold out: they are watched
            themselves, and fitted for `rounds_of` rounds without early stopping.

        Raises:
            InputError: there are too few rows, groups, or rows of a class.
        """
        encoder = self._encoder(frame, class_weight)
        splitting = {name: value for name, value in validation.items() if name != "keep"}
        splits = fold_rows(frame, None if self._task == "regression" else encoder.codes, **splitting)
        self._folds = CrossValidation(len(splits), KeptFolds(self._checkpoint) if "keep" in validation else None)
        for number, split in enumerate(splits, 1):
            if number in self._folds.folds:
                continue
            self._begin_fit(self._folds, number, number - 1)
            train, held = self._fitted(encoder, split), encoder.encode(split.validation, "validation")
            self._rows["train"] = len(train)
            print(f"fold {number} of {len(splits)}: train {len(train):,}  validation {len(held):,} rows")  # noqa: T201
            self._check_parts(train, held)
            yield train, held, early_stopping_rounds
        if self._folds.kept is not None:
            self._end_folds(encoder, frame, splits)
            return
        self._begin_fit(self._folds, 0, len(splits))
        test = splits[0].test
        everything = np.setdiff1d(np.arange(len(frame)), test)
        train = self._fitted(encoder, Split(everything, everything[:0], test))
        self._test = encoder.encode(test, "test") if len(test) else None
        self._rows |= {"train": len(train), "validation": sum(len(split.validation) for split in splits), "test": len(test)}
        print(f"all rows: train {len(train):,}  test {len(test):,} rows")  # noqa: T201
        yield train, train, None

    def _encoder(self, frame: pd.DataFrame, class_weight: str | Mapping[str, float] | None) -> PartEncoder:
        if class_weight is not None:
            for problem in weight_conflicts(self._hyperparameters):
                raise HyperparameterError(problem)
        return PartEncoder(frame, self.target, self._roles, self._names, class_weight)

    def _fitted(self, encoder: PartEncoder, split: Split) -> Part:
        """Return the rows to fit on, and print what is doubtful about their features; of folds, about those of all rows."""
        train = encoder.fit(split.train)
        self.features = encoder.features
        if not self._fold:
            print_checks(encoder.doubts(split.train))
        return train

    def _check_parts(self, train: Part, held: Part) -> None:
        check_fitted(self._library, self._task, self.target, train)
        if (doubt := check_held(self._task, self.target, held, self._hyperparameters)) is not None:
            print(doubt)  # noqa: T201

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The hyperparameters, with columns by their places in the matrix and classes by their codes; available once the rows are split.

        Raises:
            InputError: one names a column that is not a feature, or a class that the target does not have.
        """
        kinds = {column.name: column.kind for column in self.features.columns}
        placed = by_place(self._library, self._hyperparameters, list(kinds))
        refuse_constrained_categories(placed, kinds)
        return by_class(placed, self.target.classes)

    def score(self, native: Any, validation: Part, test: Part | None = None, *, rounds: int = 0) -> dict[str, Any]:
        """Measure the fitted model, and write its metrics and predictions if they are among the outputs.

        Of a cross-validation, the model of a fold is measured alone; with that of all rows, what the folds have shown together is written.

        Args:
            native: the library's own object.
            validation: the validation rows.
            test: the test rows.
            rounds: the rounds of a fold's model, up to the best one.

        Returns:
            The metrics of the validation rows, and those of the test rows under `test_` names.
        """
        if self._folds is not None and self._fold:
            measured, output = self._measured(native, validation)
            history = self._history_of(native)
            held = (validation.rows, validation.target, output)
            self._folds.add(self._fold, Fold(measured, rounds or len(history), self._rows["train"], history, *held))
            return measured
        if self._folds is None:
            measured, output = self._measured(native, validation)
        else:
            measured, test = self._folds.metrics, self._test
        if test is not None:
            tested, _ = self._measured(native, test)
            measured |= {f"test_{name}": value for name, value in tested.items() if name != "classes"}
        if "metrics" in self._outputs:
            self._write_json("metrics", finite_values(measured))
        if "predictions" in self._outputs:
            if self._folds is None:
                table = predictions_table(self.target, validation.rows, validation.target, output)
            else:
                table = self._folds.predictions(self.target)
            self._written["predictions"] = self._output_file("predictions.parquet")
            table.to_parquet(self._written["predictions"], index=False)
        shown = {name: value for name, value in measured.items() if isinstance(value, float)}
        print("  ".join(f"{name} {value:.6g}" for name, value in shown.items()))  # noqa: T201
        return measured

    def _measured(self, native: Any, part: Part) -> tuple[dict[str, Any], NDArray[Any]]:
        """Return a model's metrics on some rows, and its raw output for them."""
        output = part.output(partial(output_of, self._library, native, self.features, self._task))
        self.target.check_output(output)
        return measure(self.target, part.target, output, part.weight, loss_of(self._library, self._hyperparameters)), output

    def save(self, native: Any, importance: Sequence[float] | None = None) -> None:
        """Write the model, the history and the features' importance, if they are among the outputs; of a fold's model nothing.

        Args:
            native: the library's own object.
            importance: a number per feature, in the order of the matrix.
        """
        if self._folds is not None and self._fold:
            self._keep_fold(native, importance)
            return
        fitted = self._history_of(native)
        if "model" in self._outputs:
            folder = self.folder / OUTPUTS / "model"
            save_model(
                folder,
                self._library,
                native,
                self.features,
                self.target,
                rounds=len(fitted),
                versions=self._versions(),
            )
            # A model that cannot be loaded has not been saved.
            load_model(folder)
            self._written["model"] = folder
        if "history" in self._outputs:
            self._write_json("history", fitted if self._folds is None else self._folds.history)
        if "importance" in self._outputs:
            values = [0.0] * len(self.features.columns) if importance is None else [float(value) for value in importance]
            rows = [
                {"feature": column.name, "importance": finite(value)} for column, value in zip(self.features.columns, values, strict=True)
            ]
            self._write_json("importance", sorted(rows, key=lambda row: -(row["importance"] or 0.0)))

    def permutation_importance(self, native: Any, part: Part, rows: int = 2000) -> list[float] | None:
        """Measure how much the error or the loss on some rows rises when one feature is shuffled among them.

        Args:
            native: the library's own object.
            part: the rows.
            rows: the most rows to use.

        Returns:
            A number per feature; None if `importance` is not among the outputs.
        """
        if "importance" not in self._outputs or (self._folds is not None and self._fold and self._folds.kept is None):
            return None
        sample = part.take(np.arange(min(rows, len(part))))

        def error(features: NDArray[np.float32]) -> float:
            output = output_of(self._library, native, self.features, self._task, features)
            measured = measure(self.target, sample.target, output, sample.weight)
            return float(measured["rmse" if self._task == "regression" else "log_loss"])

        return permutation_importance(sample.features, error)

    def _history_of(self, native: Any) -> list[dict[str, Any]]:
        """Return a row for each round of the fit."""
        if self._library == "catboost" and not self.progress.history:
            self.progress.take_from_catboost(native)
        return self.progress.history
