"""Kedro's settings: https://docs.kedro.org/en/stable/configure/configuration_basics/#configuration"""

CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
