"""The packages of a recipe's job: those of its library, those that read its tables, and those that the settings of its node add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.origins import Origins
from kedro_cloudtrain.jobs.requirements import requirements, with_given
from kedro_cloudtrain.storage.sources import UrlSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.config import NodeSettings
    from kedro_cloudtrain.storage.sources import VolumeSource


def recipe_requirements(
    library: str,
    settings: NodeSettings,
    tables: Sequence[UrlSource | VolumeSource],
    project: Path | None = None,
    *,
    gpu: bool | None = None,
    backend: str | None = None,
    fitted_with: Mapping[str, str] | None = None,
    shared: bool = False,
) -> tuple[str, ...]:
    """Return the packages that a training or a prediction needs, as pip writes them.

    Args:
        library: xgboost, lightgbm, catboost, keras, or the name of a template of the project's own.
        settings: what `cloudtrain.yml` sets for the node.
        tables: those that the machine reads itself.
        project: the project's folder, if there is one.
        gpu: whether the machine has a GPU; left out, the settings say.
        backend: what Keras computes with.
        fitted_with: of a prediction, the versions that its model was fitted with, by package.
        shared: whether several processes share the fit.

    Raises:
        ConfigError: `requirements`, or the project's `uv.lock`, is not valid.
    """
    names = requirements(
        library,
        backend=backend,
        gpu=settings.gpu != "none" if gpu is None else gpu,
        file_formats=tuple(table.file_format for table in tables),
        over_http=any(isinstance(table, UrlSource) for table in tables),
        project=project,
        fitted_with=fitted_with,
        shared=shared,
    )
    return with_given(names, Origins().resolved((*settings.index_lines, *settings.requirements)))
