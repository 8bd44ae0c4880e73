"""The columns of a training whose values have to be of some kind, in some rows of its table."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.parameters import library_of
from kedro_cloudtrain.worker.errors import HyperparameterError, InputError
from kedro_cloudtrain.worker.hyperparameters import MONOTONE, by_class, by_place, refuse_constrained_categories
from kedro_cloudtrain.worker.labels import by_label
from kedro_cloudtrain.worker.objectives import check_target
from kedro_cloudtrain.worker.roles import SPLITTING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from kedro_cloudtrain.jobs.parameters import TrainingParameters
    from kedro_cloudtrain.worker.target import Task


@dataclasses.dataclass(frozen=True)
class SampledTarget:
    """The target of a training, and the columns beside it that parameters name.

    Attributes:
        parameters: what is trained.
        task: what the model learns.
        place: where a user finds the parameters.
        held_out: whether the table has the validation rows alone, whose classes are those of another table.
    """

    parameters: TrainingParameters
    task: Task
    place: str
    held_out: bool = False

    @property
    def column(self) -> str:
        """The target's name."""
        return self.parameters.target_column

    @property
    def categorical(self) -> Sequence[str]:
        """The features that are categories, even if they hold numbers."""
        return self.parameters.categorical_columns

    @property
    def columns(self) -> list[str]:
        """The columns whose values are looked at."""
        splitting = [getattr(self.parameters.validation, key) for key in SPLITTING]
        named = [self.column, self.parameters.weight_column, *splitting, *self.categorical]
        return list(dict.fromkeys(name for name in named if name is not None))

    @property
    def _library(self) -> str:
        return library_of(self.parameters.model_type)

    def constrained(self, features: Sequence[str]) -> list[str]:
        """Return the features that hyperparameters constrain to be monotone."""
        try:
            placed = by_place(self._library, self.parameters.hyperparameters, features)
        except InputError:
            return []  # A feature that the table does not have is another problem.
        rows = [row for name, row in placed.items() if name in MONOTONE and isinstance(row, list | tuple)]
        return [feature for row in rows for feature, sign in zip(features, row, strict=False) if sign]

    def problems(self, rows: pd.DataFrame, features: Sequence[str] = (), *, whole: bool = False) -> Iterator[str]:
        """Yield what no other row can change: a regression on text, a third class of a binary target, text that is not a time.

        Args:
            rows: some rows of the table, with these columns.
            features: the columns that the model learns from.
            whole: whether the table has no other rows.
        """
        rows = rows.reset_index(drop=True)
        rows = rows[rows[self.column].notna()]
        if rows.empty:
            if whole:
                yield f"No row has a `{self.column}`. Fix target_column in {self.place}, or the data."
            return
        yield from self._target_problems(rows[self.column], whole=whole)
        yield from self._order_problems(rows, features)
        yield from self._named_problems(rows, whole=whole)

    def notes(self, rows: pd.DataFrame) -> Iterator[str]:  # noqa: ARG002  # of a training, all columns are looked at for that
        """Yield nothing."""
        yield from ()

    def _named_problems(self, rows: pd.DataFrame, *, whole: bool) -> Iterator[str]:
        """Yield what is wrong with the values of the columns that parameters name beside the target."""
        # The imports are late: only where a table is read.
        from kedro_cloudtrain.worker.categories import check_codes  # noqa: PLC0415
        from kedro_cloudtrain.worker.splitting import check_split_sample  # noqa: PLC0415
        from kedro_cloudtrain.worker.weights import check_weights  # noqa: PLC0415

        validation = self.parameters.validation
        shares = {key: value for key in ("fraction", "test_fraction") if (value := getattr(validation, key)) is not None}
        checks: list[tuple[str | None, Callable[[pd.Series], None]]] = [
            *((name, check_codes) for name in self.categorical),
            (self.parameters.weight_column, lambda values: check_weights(values, whole=whole)),
            *(
                (getattr(validation, key), functools.partial(check_split_sample, key=key, whole=whole and not validation.folds, **shares))
                for key in SPLITTING
            ),
        ]
        are_right = True
        for name, check in checks:
            if name is not None:
                try:
                    check(rows[name])
                except InputError as error:
                    are_right = False
                    yield f"{error} The column is named in {self.place}."
        if are_right and whole and validation.folds is not None:
            yield from self._fold_problems(rows)

    def _fold_problems(self, rows: pd.DataFrame) -> Iterator[str]:
        """Yield why all rows of a table cannot be cross-validated."""
        from kedro_cloudtrain.worker.folding import fold_rows  # noqa: PLC0415  # only where a table is read

        given = self.parameters.validation.model_dump(exclude_none=True, exclude={"column", "dataset", "keep"})
        classes = None if self.task == "regression" else rows[self.column].factorize()[0]
        try:
            fold_rows(rows, classes, **given)
        except InputError as error:
            yield f"{error} It is set in {self.place}."

    def _order_problems(self, rows: pd.DataFrame, features: Sequence[str]) -> Iterator[str]:
        from kedro_cloudtrain.worker.kinds import kind_of  # noqa: PLC0415  # only where a table is read

        def kind(name: str) -> str:
            return "category" if name in self.categorical else kind_of(rows[name])

        kinds = {name: kind(name) if name in self.constrained(features) and name in rows else "" for name in features}
        try:
            placed = by_place(self._library, self.parameters.hyperparameters, features)
            refuse_constrained_categories(placed, kinds)
        except InputError as error:
            yield f"{error} It is set in the `hyperparameters` of {self.place}."

    def _target_problems(self, values: pd.Series, *, whole: bool) -> Iterator[str]:
        from kedro_cloudtrain.worker.target import Target, check_sample  # noqa: PLC0415  # only where a table is read

        if self.held_out and self.task != "regression":
            return
        try:
            check_sample(values, self.task)
            validation = self.parameters.validation
            # The library refuses no row that is held out, and only a column says which rows those are.
            if self.task == "regression" and not self.held_out and validation.column is None and validation.time_column is None:
                check_target(self._library, self.parameters.hyperparameters, values.dropna())
            if self.task == "regression" or not (whole or (self.task == "binary_classification" and len(values.unique()) > 1)):
                return
            # All classes are known: a binary target has no third one.
            classes = Target.fit(values, self.task).classes
            by_class(self.parameters.hyperparameters, classes)
            if isinstance(self.parameters.class_weight, dict):
                by_label(self.parameters.class_weight, classes, "class_weight")
        except HyperparameterError as error:
            yield f"{error} It is set in the `hyperparameters` of {self.place}."
        except InputError as error:
            yield f"{error} `model_type` and `target_column` stand in {self.place}."
