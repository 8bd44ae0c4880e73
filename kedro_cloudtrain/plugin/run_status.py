"""The status of a run as Kedro-Viz shows it: each node's state and time, each dataset's size."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import DiskError
from kedro_cloudtrain.secrecy import redacted
from kedro_cloudtrain.storage.files import whole

if TYPE_CHECKING:
    from kedro.io import DataCatalog
    from kedro.pipeline.node import Node

EVENTS = Path(".viz/kedro_pipeline_events.json")
# Seconds between two writes when many small nodes finish quickly: the page polls once a second at the most.
_WRITTEN_EVERY_S = 0.25


class RunStatus:
    """Writes the events file that Kedro-Viz reads, soon after each event, so that its page follows a run in progress.

    Kedro-Viz's own hook writes it for `SequentialRunner` alone (`is_sequential_runner` in its `hooks_utils`). Without Kedro-Viz
    nothing is written.

    Args:
        project: the project's folder.
        catalog: has the datasets, whose files have a size.
    """

    def __init__(self, project: Path, catalog: DataCatalog) -> None:
        self._file = project / EVENTS
        self._catalog = catalog
        self._events: list[dict[str, Any]] = []
        self._started_at: dict[str, float] = {}
        self._loaded: set[str] = set()
        self._lock = threading.Lock()
        self._written_at = 0.0
        self._later: threading.Timer | None = None
        self._ids = _identifiers()

    def run_started(self) -> None:
        """Record that the run starts."""
        if self._ids is not None:
            logging.getLogger("kedro_viz.integrations.kedro.run_hooks").addFilter(_is_worth_logging)
        self._add({"event": "before_pipeline_run", "timestamp": _now()})

    def node_started(self, node: Node) -> None:
        """Record when a node starts."""
        with self._lock:
            self._started_at[node.name] = time.perf_counter()

    def node_done(self, node: Node, job_s: float | None = None) -> None:
        """Record that a node is done, and its seconds.

        Args:
            node: the node.
            job_s: how long its job took, in seconds, without the wait for a slot; None for an ordinary node.
        """
        duration = job_s if job_s is not None else time.perf_counter() - self._started_at.get(node.name, time.perf_counter())
        if job_s is not None:
            # What the machine has read itself passes no hook of Kedro's, and would be shown as skipped.
            for name in node.inputs:
                if name not in self._loaded and not name.startswith("params:") and name != "parameters":
                    self.dataset_used("after_dataset_loaded", name)
        self._add({"event": "after_node_run", "node": node.name, "duration": duration, "status": "success"}, node=str(node))

    def node_failed(self, node: Node, error: Exception) -> None:
        """Record that a node has failed, and why."""
        self._add({"event": "on_node_error", "node": node.name, **_error(error)}, node=str(node))

    def dataset_used(self, event: str, name: str) -> None:
        """Record that a dataset was loaded or saved, and its size in bytes."""
        if event == "after_dataset_loaded":
            self._loaded.add(name)
        self._add({"event": event, "dataset": name, "status": "Available", "size": self._size(name)}, dataset=name)

    def run_done(self) -> None:
        """Record that the run is done."""
        self._add({"event": "after_pipeline_run", "timestamp": _now()})
        self._write()

    def run_failed(self, error: Exception) -> None:
        """Record that the run has failed, and why."""
        self._add({"event": "on_pipeline_error", **_error(error)})
        self._write()

    def _size(self, name: str) -> int:
        dataset: Any = self._catalog.get(name)
        filepath = getattr(dataset, "filepath", None) or getattr(dataset, "_filepath", None)
        if filepath is None:
            return 0
        path = Path(str(filepath))
        with contextlib.suppress(OSError):
            return sum(file.stat().st_size for file in path.rglob("*")) if path.is_dir() else path.stat().st_size
        return 0

    def _add(self, event: dict[str, Any], *, node: str | None = None, dataset: str | None = None) -> None:
        if self._ids is None:
            return
        hash_node, hash_dataset = self._ids
        if node is not None:
            event["node_id"] = hash_node(node)
        if dataset is not None:
            event["node_id"] = hash_dataset(dataset)
        with self._lock:
            self._events.append(event)
            wait_s = self._written_at + _WRITTEN_EVERY_S - time.monotonic()
            if wait_s > 0 and self._later is None:
                self._later = threading.Timer(wait_s, self._write)
                self._later.daemon = True  # So that a finished run does not wait for it.
                self._later.start()
        if wait_s <= 0:
            self._write()

    def _write(self) -> None:
        """Write the events so far."""
        if self._ids is None:
            return
        with self._lock, contextlib.suppress(OSError, DiskError):  # A status that cannot be written does not fail a run.
            if self._later is not None:
                self._later.cancel()
                self._later = None
            self._written_at = time.monotonic()
            with whole(self._file) as temporary:
                # In one call, not indented: json's C encoder serves neither `dump` nor `indent`.
                temporary.write_text(json.dumps(self._events), encoding="utf-8")


def _identifiers() -> tuple[Any, Any] | None:
    """Return Kedro-Viz's functions that name nodes and datasets; None if it is not installed, or no longer has them."""
    try:
        from kedro_viz.utils import _hash, _hash_input_output
    except ImportError:
        return None
    return _hash, _hash_input_output


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether to keep a log record: not Kedro-Viz's warning that this runner gives no status, since `RunStatus` does."""
    return "Workflow tracking is disabled" not in str(record.msg)


def _error(error: Exception) -> dict[str, str]:
    lines = traceback.format_exception(error)
    return {"error": redacted(str(error)), "timestamp": _now(), "traceback": redacted("".join(lines))}


def _now() -> str:
    return dt.datetime.now(tz=dt.UTC).isoformat()
