"""Read RunPod's answers as the values of the contract."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from kedro_cloudtrain.backends.runpod.contract import LogLine
from kedro_cloudtrain.backends.runpod.refusals import STATUS_PAGE
from kedro_cloudtrain.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

logger = logging.getLogger("kedro.cloudtrain")

Answer = TypeVar("Answer", bound=BaseModel)

_LONGEST_NAME = 80


def parse(model: type[Answer], value: object) -> Answer:
    """Return an answer as a value of the contract.

    Raises:
        ApiError: something is missing or wrong that the value cannot do without.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ApiError(f"RunPod's API returned a malformed {model.__name__}. Missing or wrong: {_fields(error)}.") from None


def page_entries(page: object, name: str) -> tuple[list[object], str] | None:
    """Return the entries of one page of a list and the cursor of the next page, empty after the last; None if it is not such a page.

    A page without its list does not count: to take it for an empty one would be to take each pod for gone.
    """
    if not isinstance(page, dict):
        return None
    entries, pagination = page.get(name), page.get("pagination") or {}
    if not isinstance(entries, list) or not isinstance(pagination, dict):
        return None
    return entries, str(pagination.get("nextCursor") or "") if pagination.get("hasNextPage") else ""


def malformed_list(name: str, path: str) -> ApiError:
    """Return the error for an answer that is not a list."""
    return ApiError(f"RunPod's API returned a malformed list of {name}: GET {path}. {STATUS_PAGE}")


def log_lines(stream: Iterable[bytes]) -> Iterator[LogLine]:
    """Yield the lines of a log from its server-sent events; anything else is left out."""
    event_id = ""
    for line in stream:
        field, _, value = line.decode(errors="replace").partition(":")
        if field == "id":
            event_id = value.strip()
        elif field == "data":
            with contextlib.suppress(ValueError):
                event = json.loads(value)
                yield LogLine(event_id, str(event.get("ts", "")), str(event.get("source", "")), str(event.get("line", "")))


class Lists:
    """Reads lists, and leaves out what cannot be read in them: one odd entry, anybody's, must not hide the others; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._named: set[tuple[str, str]] = set()

    def parse(self, model: type[Answer], entries: Iterable[object]) -> list[Answer]:
        """Return those entries of a list that can be read; each other one is named in a warning, once."""
        readable = []
        for entry in entries:
            try:
                readable.append(model.model_validate(entry))
            except ValidationError as error:
                self._warn(model.__name__, entry, _fields(error))
        return readable

    def _warn(self, kind: str, entry: object, fields: str) -> None:
        given = [entry.get(field) for field in ("id", "name")] if isinstance(entry, dict) else []
        name = " ".join(repr(value)[:_LONGEST_NAME] for value in given if value is not None) or "without a name"
        with self._lock:
            if (kind, name) in self._named:
                return
            self._named.add((kind, name))
        message = "RunPod's API lists a %s that is left out, since it cannot be read: %s. Missing or wrong: %s."
        logger.warning(message, kind, name, fields, extra={"markup": False})


def _fields(error: ValidationError) -> str:
    return ", ".join(f"`{'.'.join(str(part) for part in finding['loc'])}`" if finding["loc"] else "all" for finding in error.errors())
