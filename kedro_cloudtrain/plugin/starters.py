"""The starter of `kedro new --starter=cloudtrain`, from inside the package: it needs no network."""

from __future__ import annotations

from importlib import resources

from kedro.framework.cli.starters import KedroStarterSpec

STARTERS = [KedroStarterSpec("cloudtrain", str(resources.files("kedro_cloudtrain.starter")))]
