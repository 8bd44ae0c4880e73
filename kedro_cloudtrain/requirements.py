"""What a machine has to install for a job: what its library needs, in the versions that are installed here."""

from __future__ import annotations

import functools
import re
from importlib import metadata

# What the worker reads, splits and measures with, whatever the library.
_WORKER = ("numpy", "pandas", "pyarrow", "scikit-learn")
_BY_FORMAT = {"xlsx": ("openpyxl",), "xls": ("xlrd",)}
_OVER_HTTP = ("fsspec", "aiohttp")
_LIBRARIES = {"xgboost": ("xgboost",), "lightgbm": ("lightgbm",), "catboost": ("catboost",), "keras": ("keras", "jax")}


def requirements(library: str, *, gpu: bool, file_formats: tuple[str, ...] = (), over_http: bool = False) -> tuple[str, ...]:
    """Give what a job needs, as pip writes it.

    Versions are those installed here, so that a model made there loads here; what is not installed here is taken in the versions that
    this package's own metadata allows.

    Args:
        library: xgboost, lightgbm, catboost or keras; a template's own name needs what `requirements` in cloudtrain.yml says.
        gpu: whether the machine has a GPU: JAX's CUDA comes as an extra.
        file_formats: of the tables.
        over_http: whether a table is a URL.
    """
    names = [*_WORKER, *_LIBRARIES.get(library, ())]
    names += [name for one in file_formats for name in _BY_FORMAT.get(one, ())]
    names += _OVER_HTTP if over_http else ()
    return tuple(_pinned(name, "cuda12" if gpu and name == "jax" else "") for name in dict.fromkeys(names))


def _pinned(name: str, extra: str) -> str:
    written = f"{name}[{extra}]" if extra else name
    try:
        # A local version (`2.1+cpu`) is on no index.
        return f"{written}=={metadata.version(name).partition('+')[0]}"
    except metadata.PackageNotFoundError:
        return written + _allowed().get(name, "")


@functools.cache
def _allowed() -> dict[str, str]:
    """Read the bounds of this package's own requirements."""
    found: dict[str, str] = {}
    for line in metadata.requires("kedro-cloudtrain") or ():
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;]*)", line)
        if match and match[2].strip():
            found.setdefault(match[1].lower(), match[2].strip())
    return found
