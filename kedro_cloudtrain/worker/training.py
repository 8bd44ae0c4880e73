"""A training as its script sees it: reads, splits, encodes, watches the fit, measures and saves."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from .categories import check_codes
from .devices import choose_device
from .doubts import doubts, refuse_nested
from .encoding import Features
from .errors import HyperparameterError, InputError
from .fit_checkpoint import FitCheckpoint
from .hyperparameter_conflicts import weight_conflicts
from .hyperparameters import by_class, by_place, check_hyperparameters, refuse_constrained_categories
from .inputs import input_location
from .job import Job
from .metrics import measure
from .models import load_model, output_of, save_model
from .objectives import loss_of
from .part_checks import check_fitted, check_held
from .progress import finite
from .protocol import OUTPUTS
from .refusals import refusal
from .results import version_of
from .roles import Roles
from .splitting import Part, Split, split_rows
from .tables import read_table
from .target import Target
from .weights import class_weights, refuse_zeros, row_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from .target import Task


class TrainingJob(Job):
    """One training, in the folder of its script.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        library: xgboost, lightgbm, catboost or keras.
        task: `regression`, `binary_classification` or `multiclass_classification`.
        hyperparameters: checked against the library's names, and the values that those take.
        outputs: the outputs to write, of `model`, `metrics`, `history`, `importance` and `predictions`.

    Attributes:
        folder: the job folder.
        device: `cuda` or `cpu`.
        features: how the features are encoded; set once the rows are split.
        target: how the target is encoded; set once the table is read.
        progress: the fit's progress, whose `for_xgboost()` and so on return a callback.
        checkpoint: the fit's state, which is written now and then; set once the job has begun.
    """

    checkpoint: FitCheckpoint
    features: Features
    target: Target
    _roles: Roles
    _names: list[str]
    _earlier_rounds: int | None = None

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
        device = choose_device(self._library, self._hyperparameters, self._task)
        self.device, self._device_name, self._gpu = device.kind, device.name, device.gpu
        print(f"{self._library} {version_of(self._library)} on {device}")  # noqa: T201
        check_hyperparameters(self._library, self._hyperparameters, self._task)
        self.checkpoint = FitCheckpoint(self._library, self.progress)
        # How many rounds CatBoost has in a snapshot, it does not tell.
        self._earlier_rounds = None if self._library == "catboost" and self.checkpoint.folder is not None else self.progress.rounds

    @property
    def rows_per_s(self) -> float | None:
        """The training rows that the fit went through in a second, once a round or an epoch; None if it has not come to its end."""
        seconds, rows = self._seconds.get("fit"), self._rows.get("train")
        if not seconds or not rows or self._earlier_rounds is None:
            return None
        return round(rows * (self.progress.rounds - self._earlier_rounds) / seconds, 1)

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
            categorical_columns: the features that are categories, even if they hold numbers. A second table, that of the validation rows,
                has them as well.
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
        roles = Roles.of(target, features, validation or {}, categorical=categorical_columns, weight=weight_column)
        if not first:
            roles = self._roles.held_out(self._names)
        location = input_location(self.folder, dataset_key, dataset_url, dataset_file, file_format, load_args)
        try:
            table = read_table(location, columns=roles.columns, float32=roles.float32)
        except InputError as error:
            raise roles.explained(error) from None
        self._bytes_read += table.bytes_read
        # Rows are known by their numbers, whatever index load_args or a frame's own has made of a column.
        frame = table.frame.reset_index(drop=True)
        # A spreadsheet's header may hold numbers: years, for example.
        frame.columns = [str(name) for name in frame.columns]
        roles.require_all(location, list(frame.columns))
        self._rows["read"] = self._rows.get("read", 0) + len(frame)
        print(f"read {len(frame):,} rows, {len(frame.columns)} columns from {location.place}")  # noqa: T201
        _print_checks(table.notes)
        refuse_nested(frame, location.place)
        has_target = frame[target].notna()
        if not has_target.all():
            print(f"dropped {int((~has_target).sum()):,} rows without a {target}")  # noqa: T201
            # The index keeps the row numbers of the source.
            frame = frame[has_target]
        if frame.empty:
            raise InputError(f"No row of {location.place} has a `{target}`. Fix target_column, or the data.")
        for name in roles.categorical:
            check_codes(frame[name])
        if roles.weight is not None:
            row_weights(frame[roles.weight])
        if first:
            self.target = Target.fit(frame[target], self._task)
            self._roles, self._names = roles, roles.features_in(frame.columns)
            if not self._names:
                raise InputError(f"{location.place} has no column but the target `{target}`: a model has nothing to learn from.")
        return frame

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
        target = self.target.encode(frame[self.target.name])
        if validation_frame is None:
            classes = None if self._task == "regression" else target
            split = split_rows(frame, classes, **{name: value for name, value in validation.items() if name != "dataset"})
        else:
            split = Split(np.arange(len(frame)), np.arange(0), np.arange(0))
        # Each column goes into the matrix of each part by itself: memory holds no table between the frame and these.
        weight = None if self._roles.weight is None else row_weights(frame[self._roles.weight])
        rows = None if len(split.train) == len(frame) else split.train
        self.features, matrix = Features.fit_matrix(frame, self._names, self._roles.categorical, rows)
        _print_checks(doubts(frame, self._names, self._roles.categorical, rows))
        numbers = frame.index.to_numpy()

        def taken(places: NDArray[np.int64], matrix: NDArray[np.float32]) -> Part:
            return Part(matrix, target[places], numbers[places], None if weight is None else weight[places])

        train = taken(split.train, matrix)
        if validation_frame is None:
            held = taken(split.validation, self.features.matrix(frame, split.validation))
        else:
            held = self._encoded(validation_frame)
        test = taken(split.test, self.features.matrix(frame, split.test)) if len(split.test) else None
        for name, part in (("training", train), ("validation", held), ("test", test)):
            if part is not None and part.weight is not None:
                refuse_zeros(part.weight, str(self._roles.weight), f"{name} ")
        if class_weight is not None:
            for problem in weight_conflicts(self._hyperparameters):
                raise HyperparameterError(problem)
            of_classes = class_weights(class_weight, self.target, train.target)
            train = dataclasses.replace(train, weight=of_classes if train.weight is None else of_classes * train.weight)
        check_fitted(self._library, self._task, self.target, train)
        if (doubt := check_held(self._task, self.target, held, self._hyperparameters)) is not None:
            print(doubt)  # noqa: T201
        self._rows |= {"train": len(train), "validation": len(held), "test": len(test) if test is not None else 0}
        print("  ".join(f"{name} {self._rows[name]:,}" for name in ("train", "validation", "test")) + " rows")  # noqa: T201
        return train, held, test

    def _encoded(self, frame: pd.DataFrame) -> Part:
        """Return all rows of a table of validation rows."""
        weight = None if self._roles.weight is None else row_weights(frame[self._roles.weight])
        return Part(self.features.matrix(frame), self.target.encode(frame[self.target.name]), frame.index.to_numpy(), weight)

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

    def score(self, native: Any, validation: Part, test: Part | None = None) -> dict[str, Any]:
        """Measure the fitted model, and write its metrics and predictions if they are among the outputs.

        Args:
            native: the library's own object.
            validation: the validation rows.
            test: the test rows.

        Returns:
            The metrics of the validation rows, and those of the test rows under `test_` names.
        """
        output = output_of(self._library, native, self.features, self._task, validation.features)
        self.target.check_output(output)
        loss = loss_of(self._library, self._hyperparameters)
        measured = measure(self.target, validation.target, output, validation.weight, loss)
        if test is not None:
            output_of_test = output_of(self._library, native, self.features, self._task, test.features)
            tested = measure(self.target, test.target, output_of_test, test.weight, loss)
            measured |= {f"test_{name}": value for name, value in tested.items() if name != "classes"}
        if "metrics" in self._outputs:
            self._write_json("metrics", _finite(measured))
        if "predictions" in self._outputs:
            self._write_predictions(validation, output)
        shown = {name: value for name, value in measured.items() if isinstance(value, float)}
        print("  ".join(f"{name} {value:.6g}" for name, value in shown.items()))  # noqa: T201
        return measured

    def save(self, native: Any, importance: Sequence[float] | None = None) -> None:
        """Write the model, the history and the features' importance, if they are among the outputs.

        Args:
            native: the library's own object.
            importance: a number per feature, in the order of the matrix.
        """
        if self._library == "catboost" and not self.progress.history:
            self.progress.take_from_catboost(native)
        if "model" in self._outputs:
            folder = self.folder / OUTPUTS / "model"
            save_model(
                folder,
                self._library,
                native,
                self.features,
                self.target,
                rounds=len(self.progress.history),
                versions=self._versions(),
            )
            # A model that cannot be loaded has not been saved.
            load_model(folder)
            self._written["model"] = folder
        if "history" in self._outputs:
            self._write_json("history", self.progress.history)
        if "importance" in self._outputs:
            values = [0.0] * len(self.features.columns) if importance is None else [float(value) for value in importance]
            rows = [
                {"feature": column.name, "importance": finite(value)} for column, value in zip(self.features.columns, values, strict=True)
            ]
            self._write_json("importance", sorted(rows, key=lambda row: -(row["importance"] or 0.0)))

    def permutation_importance(self, native: Any, part: Part, rows: int = 2000) -> list[float] | None:
        """Measure how much the error or the loss on some rows rises when one feature is shuffled among them.

        For a model that keeps no importance of its features (Breiman 2001, "Random Forests", section 10).

        Args:
            native: the library's own object.
            part: the rows.
            rows: the most rows to use.

        Returns:
            A number per feature; None if `importance` is not among the outputs.
        """
        if "importance" not in self._outputs:
            return None
        random = np.random.default_rng(0)
        sample = part.take(np.arange(min(rows, len(part))))
        matrix = sample.features

        def error(features: NDArray[np.float32]) -> float:
            measured = measure(
                self.target, sample.target, output_of(self._library, native, self.features, self._task, features), sample.weight
            )
            return float(measured["rmse" if self._task == "regression" else "log_loss"])

        base, rises = error(matrix), []
        for index in range(matrix.shape[1]):
            shuffled = matrix.copy()
            random.shuffle(shuffled[:, index])
            rises.append(error(shuffled) - base)
        return rises

    def _write_json(self, kind: str, value: Any) -> None:
        file = self._output_file(f"{kind}.json")
        file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self._written[kind] = file

    def _write_predictions(self, part: Part, output: NDArray[Any]) -> None:
        import pandas as pd  # imported already when the table was read

        truth = part.target if self._task == "regression" else np.array(self.target.classes)[part.target]
        frame = pd.DataFrame({"row": part.rows, "target": truth, "prediction": self.target.decode(output)})
        if self._task != "regression":
            for label, values in zip(self.target.classes, self.target.probabilities(output).T, strict=True):
                frame[f"probability_{label}"] = values
        file = self._output_file("predictions.parquet")
        frame.to_parquet(file, index=False)
        self._written["predictions"] = file


def _print_checks(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        print(f"check: {sentence}")  # noqa: T201


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: finite(value) if isinstance(value, float) else value for name, value in values.items()}
