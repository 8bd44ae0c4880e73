"""Report catalog entries that Kedro cannot make, and inputs that are missing, in one line without a traceback."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import re
import traceback
from typing import TYPE_CHECKING, Any

import yaml
from kedro.io import DatasetError

from kedro_cloudtrain.errors import CloudTrainError, ConfigError
from kedro_cloudtrain.wording import did_you_mean
from kedro_cloudtrain.worker.errors import one_stop

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kedro.io import CatalogProtocol
    from kedro.pipeline.node import Node

# Python's words about the arguments of a constructor.
_UNKNOWN_ARGUMENT = re.compile(r"unexpected keyword argument '(\w+)'")
_MISSING_ARGUMENT = re.compile(r"missing \d+ required .*arguments?: (.*)")
# Kedro's words (kedro.io.core).
_CONSTRUCTOR = re.compile(r"constructor of '([\w.]+)\.(\w+)'")
_NO_TYPE = re.compile(r"Dataset '(\w+)' not found in '([\w.]+)'")
_NO_MODULE = re.compile(r"No module named '([\w.]+)'.*dependencies for ([\w.]+)")


@contextlib.contextmanager
def making_the_catalog() -> Iterator[None]:
    """Turn an error while Kedro makes the catalog into one line; errors raised by hooks pass unchanged.

    Raises:
        ConfigError: a file is not YAML, an entry has no `type`, or names credentials that do not exist.
    """
    try:
        yield
    except (DatasetError, KeyError, ValueError, yaml.YAMLError) as error:
        if any(frame.f_globals.get("__name__", "").startswith("pluggy.") for frame, _ in traceback.walk_tb(error.__traceback__)):
            raise
        # What has caused the error names neither file nor entry; Kedro's own words about it do.
        lines = [line.strip() for line in str(error.args[0] if error.args else error).splitlines()]
        words = " ".join(line for line in lines if line and not line.startswith("Hint:"))
        raise ConfigError(one_stop(f"The catalog cannot be made: {words}.")) from error


def unmade_entries(catalog: CatalogProtocol[Any, Any], names: Iterable[str]) -> dict[str, str]:
    """Return a sentence for each of some entries that Kedro cannot make of its configuration, by the entry's name.

    Once asked for, such an entry is no longer in the catalog: Kedro would take it for data in memory.
    """
    unmade = {}
    for name in dict.fromkeys(names):
        try:
            catalog.get(name)
        except DatasetError as error:
            unmade[name] = f"`{name}` of the catalog cannot be made: {reason(error)}"
    return unmade


def missing_inputs(nodes: Sequence[Node], catalog: CatalogProtocol[Any, Any], unmade: Collection[str] = ()) -> dict[Node, list[str]]:
    """Return a sentence for each input that is not in the catalog and that no node makes, by the node that needs it.

    Args:
        nodes: those of the run.
        catalog: has what they need.
        unmade: the entries that cannot be made.
    """
    made = {without_transcoding(name) for node in nodes for name in node.outputs}
    missing: dict[Node, list[str]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            if name not in catalog and name not in unmade and without_transcoding(name) not in made:
                missing.setdefault(node, []).append(_missing(name, made, catalog))
    return missing


def without_transcoding(name: str) -> str:
    """Return a dataset's name as all its transcoded forms share it: `clean` of `clean@pandas`."""
    return name.partition("@")[0]


def reason(error: Exception) -> str:
    """Return why Kedro could not make a dataset, as a sentence in a user's words."""
    innermost: BaseException = error
    while innermost.__cause__ is not None:
        innermost = innermost.__cause__
    text = str(innermost)
    if isinstance(innermost, CloudTrainError):
        return text
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Hint:")]
    kind = _CONSTRUCTOR.search(str(error))
    return _of_arguments(text, kind) or _of_type(text) or one_stop(f"{(lines or [repr(error)])[0]}.")


def _of_arguments(text: str, kind: re.Match[str] | None) -> str | None:
    """Explain a constructor's error about its arguments."""
    if kind is None:
        return None
    unknown, missing = _UNKNOWN_ARGUMENT.search(text), _MISSING_ARGUMENT.search(text)
    if unknown is not None and unknown[1] == "version":
        return f"{kind[2]} keeps no versions: remove `versioned: true` from the entry."
    if unknown is not None:
        arguments = list(inspect.signature(getattr(importlib.import_module(kind[1]), kind[2])).parameters)
        hint = did_you_mean(unknown[1], arguments) or f" It has {', '.join(arguments)}."
        return f"{kind[2]} has no argument `{unknown[1]}`.{hint}"
    return f"{kind[2]} needs {missing[1].replace(chr(39), '`')}." if missing is not None else None


def _of_type(text: str) -> str | None:
    """Explain a `type` that names no dataset."""
    unknown, module = _NO_TYPE.search(text), _NO_MODULE.search(text)
    if unknown is not None:
        name, place = unknown[1], unknown[2]
        names = _dataset_names(place)
        if not names and "." not in place and importlib.util.find_spec("kedro_datasets") is None:
            return f'`{place}.{name}` may be a dataset of kedro-datasets, which is not installed: pip install "kedro-datasets[{place}]".'
        return f"there is no dataset `{place}.{name}`.{did_you_mean(name, names)} Check the entry's `type`."
    if module is not None:
        return f"`{module[2]}` needs {module[1]}, which is not installed. Check the entry's `type`, or install what it needs."
    return None


def _dataset_names(place: str) -> list[str]:
    """Return the names of the datasets of a module, which Kedro also looks for below kedro_datasets."""
    names: list[str] = []
    for module in (place, f"kedro_datasets.{place}"):
        try:
            names += [name for name in dir(importlib.import_module(module)) if name.endswith("Dataset")]
        except ImportError:
            continue
    return names


def _missing(name: str, made: Iterable[str], catalog: CatalogProtocol[Any, Any]) -> str:
    from kedro_cloudtrain.jobs.spec import is_parameter  # noqa: PLC0415  # pydantic, which a run without such a mistake need not wait for

    if is_parameter(name):
        parameters = [other.removeprefix("params:") for other in _names(catalog) if is_parameter(other)]
        key = name.removeprefix("params:")
        return f"`{key}` is not in parameters.yml.{did_you_mean(key, parameters)} The node takes it as `{name}`."
    return f"`{name}` is neither in the catalog nor made by another node.{did_you_mean(name, [*_names(catalog), *made])}"


def _names(catalog: CatalogProtocol[Any, Any]) -> Iterator[str]:
    yield from (str(name) for name in catalog)
