"""Find the packages: pyproject.toml cannot find some and name another, and `templates/` and `starter/` are shipped from the root."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["kedro_cloudtrain*"]), "kedro_cloudtrain.templates", "kedro_cloudtrain.starter"])
