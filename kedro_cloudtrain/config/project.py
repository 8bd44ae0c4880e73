"""A project's `cloudtrain.yml`, as its hooks have read it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config.making import make_settings
from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kedro_cloudtrain.config.settings import Settings


@dataclasses.dataclass(frozen=True)
class ProjectConfig:
    """A project's `cloudtrain.yml`, unchecked: a broken one must not fail a run by another runner.

    Attributes:
        path: the project's folder.
        values: the merged content of the environments' `cloudtrain.yml` files.
        files: these files, the one that takes precedence first.
        error: why they could not be read; None if they could.
        package: the name of the project's own package.
        env: Kedro's environment.
        credentials: the content of credentials.yml, where a setting names an entry of it.
    """

    path: Path
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    files: Sequence[Path] = ()
    error: str | None = None
    package: str | None = None
    env: str = ""
    credentials: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    def settings(self, runner_params: Mapping[str, Any] | None = None) -> Settings:
        """Return the checked settings, overridden by `--runner-params`.

        Raises:
            ConfigError: the files could not be read, or a setting is not valid; the message names file, line and key.
        """
        if self.error is not None:
            raise ConfigError(self.error)
        return make_settings(self.values, runner_params, self.files, self.credentials)

    @property
    def templates(self) -> Path | None:
        """The folder of the project's own templates; None if there is none."""
        folder = self.path / "templates"
        return folder if folder.is_dir() else None
