"""The libraries that most tests import, imported before the package is and while coverage measures nothing.

What goes through other packages' code takes twice as long where each call is looked at; the package's own modules are measured as ever.
"""

from __future__ import annotations

import importlib

import coverage

# Of `kedro.framework`, nothing: a test decides in which folder it is imported.
_LIBRARIES = (
    "boto3", "botocore.session", "click", "cloudpickle", "dynaconf", "fsspec.implementations.http", "hypothesis", "jinja2", "joblib",
    "kedro.config", "kedro.io", "kedro.pipeline", "omegaconf", "pandas", "pyarrow.parquet", "pydantic", "requests", "rich.live",
    "rich.logging", "scipy.stats", "sklearn.metrics", "sklearn.model_selection", "yaml",
)  # fmt: skip

_measuring = coverage.Coverage.current()
if _measuring is not None:
    _measuring.stop()
for _library in _LIBRARIES:
    importlib.import_module(_library)
if _measuring is not None:
    _measuring.start()
