"""One training a group of a table, as a user writes it in `parameters.yml`, checked."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from kedro_cloudtrain.jobs.column_name import ColumnName  # noqa: TC001  # pydantic reads the annotation
from kedro_cloudtrain.settings_model import SettingsModel

# The column that names the partition in the tables of a node whose data is a dict of partitions.
PARTITION: Final = "partition"
# The columns that the tables of a partitioned node have beside the group's.
OWN_COLUMNS = (
    *("rows", "state", "seconds", "usd", "job"),
    *("row", "target", "prediction", "fold"),
    *("round", "feature", "importance"),
)


def _check_group(value: object) -> object:
    if isinstance(value, str | bool | int):
        return value
    raise ValueError(f"a group is text, a whole number, true or false, and not {value!r}: put it in quotes")


Group = Annotated[Any, BeforeValidator(_check_group)]


class Partitioned(SettingsModel):
    """One training a group of a table, or a partition of a dataset of partitions.

    Attributes:
        group_column: the column whose values are the groups; it is not a feature. Left out, the data is a dataset of partitions.
        groups: the groups or partitions to train; left out, all of them.
        min_rows: a group of fewer rows is left out; left out itself, such a group is an error if it cannot be split.
        max_pods: how many trainings run at once, each on a machine that is kept for the next.

    Example:
        ```yaml
        partitioned: {group_column: station, max_pods: 4, min_rows: 100}
        ```
    """

    group_column: ColumnName | None = Field(None, min_length=1)
    groups: tuple[Group, ...] | None = None
    min_rows: int | None = Field(None, ge=1)
    max_pods: int = Field(1, ge=1)

    @field_validator("group_column")
    @classmethod
    def _check_column(cls, name: str | None) -> str | None:
        if name in OWN_COLUMNS:
            raise ValueError(f"a column `{name}` is in the node's own tables: rename the data's in an earlier node")
        return name

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if groups is not None and not groups:
            raise ValueError("name at least one group, or leave out groups to train all of them")
        names = [str(group) for group in groups or ()]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"it names {repeated[0]!r} twice: name each group once")
        return groups

    @model_validator(mode="after")
    def _check_partitions(self) -> Self:
        odd = next((name for name in self.groups or () if not isinstance(name, str)), None) if self.group_column is None else None
        if odd is not None:
            raise ValueError(f"`partitioned.groups` has {odd!r}, and the names of partitions are text: put it in quotes")
        return self

    @property
    def label(self) -> str:
        """The column that names the group in the node's tables."""
        return self.group_column or PARTITION

    def described(self) -> str:
        """Return in a sentence what is trained."""
        of = f"value of `{self.group_column}`" if self.group_column is not None else self.noun
        return f"trains a model for each {of}, {'one after another' if self.max_pods == 1 else f'at most {self.max_pods} at once'}"

    @property
    def noun(self) -> str:
        """What there is a training for: a group, or a partition."""
        return "group" if self.group_column is not None else "partition"
