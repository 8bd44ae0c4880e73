"""Kedro's settings of the example; the defaults serve."""

CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
