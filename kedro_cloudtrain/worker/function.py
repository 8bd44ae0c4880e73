"""A user's own function as a job: loads its inputs, and saves its outputs where they belong."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import logging
import os
import re
import sys
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .devices import cpu
from .errors import InputError, LostProcessError, OutputError
from .gpus import find_gpu
from .inputs import input_location, laid_out, sent_file, volume_of
from .job import Job
from .partitions import are_partitions, holds_pickle, write_partitions
from .protocol import ATTEMPT_VARIABLE, CODE, CREDENTIALS_VARIABLE, OUTPUTS
from .saved_table import SavedTable, save_version
from .scratch import scratch_of_process
from .signatures import signed, take_keys
from .tracebacks import show_as
from .values import is_frame, read_value, write_table, write_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Names = str | Sequence[str] | Mapping[str, str] | None

_PACKAGES = ("numpy", "pandas", "scikit-learn")


def unpacked_code(script: str) -> str:
    """Unpack `code.zip`, beside a script, for as long as this process lives, and return the folder to import from.

    It is not imported from the archive: a package may read its own files by path, and a traceback shows the source's lines. A traceback
    names the files of the project.
    """
    take_keys()
    _provide_checkpoint()
    folder = scratch_of_process()
    with zipfile.ZipFile(Path(script).resolve().parent / CODE) as archive:
        archive.extractall(folder)
        show_as(folder, json.loads(archive.comment or b"{}"))
    # As Kedro logs on the client: a project's own packages from INFO on, all others from WARNING on.
    logging.basicConfig(format="%(levelname)-8s %(name)s: %(message)s", stream=sys.stdout)
    for package in {path.name.partition(".")[0] for path in folder.iterdir()}:
        logging.getLogger(package).setLevel(logging.INFO)
    return str(folder)


def _provide_checkpoint() -> None:
    """Make `from kedro_cloudtrain import Checkpoint` work on a machine that has nothing else of the package."""
    if importlib.util.find_spec("kedro_cloudtrain") is not None:
        return

    def get(name: str) -> Any:
        if name != "Checkpoint":
            message = f"The machine has only Checkpoint of kedro_cloudtrain: add kedro-cloudtrain to `requirements` for {name}"
            # Python itself asks a module for attributes that it may lack, such as `__path__`.
            raise AttributeError(message) if name.startswith("__") else ImportError(message)
        from .checkpoints import Checkpoint

        return Checkpoint

    module = types.ModuleType("kedro_cloudtrain")
    module.__dict__.update(__getattr__=get)
    sys.modules["kedro_cloudtrain"] = module


class FunctionJob(Job):
    """One call of a user's function, in the folder of its script.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        returns: the datasets of the function's return value, as the node has them: a name, a list of names, a mapping from the keys
            of a returned dict to names, or None.
        saves: the datasets that the machine saves itself: `dataset_key`, `file_format` and `save_args` by the dataset's name, and
            `versioned` where each save makes a version below the key.
        lazy: the datasets that save a dict of callables by calling them.
    """

    def __init__(
        self, script: str, returns: Names = None, saves: Mapping[str, Mapping[str, Any]] | None = None, *, lazy: Sequence[str] = ()
    ) -> None:
        take_keys()
        super().__init__(script, [name for name in _PACKAGES if name in sys.modules])
        self._lazy = lazy
        self._returns = returns
        self._saves = saves or {}

    def begin(self) -> None:
        """Find the GPU that the function may use; which library opens it is the function's own business."""
        self._gpu = find_gpu()
        self.device, self._device_name = ("cuda", self._gpu.name) if self._gpu is not None else ("cpu", cpu().name)

    def share(self, machines: int) -> None:
        """Start processes that share the work: a Dask cluster, to which `distributed.Client()` without arguments connects.

        Args:
            machines: how many.

        Raises:
            MachineError: they do not start.
            PackageError: Dask is not installed.
        """
        from .cluster import Cluster

        self._cluster = Cluster(machines, general=True, on_lost=self._lose)
        # In the environment for processes that the function starts; Dask, which is imported by now, reads it once.
        os.environ["DASK_SCHEDULER_ADDRESS"] = self._cluster.scheduler_address
        sys.modules["dask"].config.set({"scheduler-address": self._cluster.scheduler_address})

    def _lose(self, reason: str) -> None:
        """End the job with its cluster: the function's own clients would wait for other processes, for ever."""
        self._end(LostProcessError(reason))
        sys.stdout.flush()
        os._exit(1)

    def load(
        self,
        *,
        dataset_key: str | None = None,
        dataset_url: str | None = None,
        dataset_file: str | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Load one input: a table from the volume or a web server as a DataFrame, or a sent input.

        Args:
            dataset_key: a table's path below the volume.
            dataset_url: or its URL.
            dataset_file: or the sent input's file.
            file_format: csv, tsv, parquet, xlsx, xls or jsonl; None infers it from the extension.
            load_args: passed to the pandas reader.

        Raises:
            InputError: the input does not exist, or has another format.
        """
        if dataset_file is not None:
            file = sent_file(self.folder, dataset_file)
            value = read_value(file)
            self._count(value, file.stat().st_size, dataset_file)
            return value
        from .tables import read_table  # needed for a table alone

        location = input_location(self.folder, dataset_key, dataset_url, None, file_format, load_args)
        table = read_table(location)
        self._count(table.frame, table.bytes_read, location.place)
        return table.frame

    def with_files(self, entries: Mapping[str, Mapping[str, Any]], files: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
        """Lay out the sent files of some entries, and return the entries with their places.

        Args:
            entries: of the catalog, by name.
            files: by the entry's name and the argument that takes its place, the sent list of its files.
        """
        placed = {name: dict(entry) for name, entry in entries.items()}
        for name, lists in files.items():
            for argument, contents in lists.items():
                folder, size = laid_out(self.folder, contents)
                self._bytes_read += size
                # A path takes the folder, and a filepath its one file; a file that is a folder of files is what a filepath takes as well.
                only = next(folder.iterdir())
                single = argument == "filepath" and only.is_symlink() and len(list(folder.iterdir())) == 1
                placed[name][argument] = str(only if single else folder)
        return placed

    def validated(self, catalog: Any, name: str, value: Any, *, saved: bool = False) -> Any:
        """Return a table as the validator of its catalog entry returns it.

        Args:
            catalog: Kedro's catalog, which has an entry in memory for the table.
            name: the entry's name.
            value: the table.
            saved: whether it is saved; left out, it was loaded.

        Raises:
            InputError: the validator refuses it.
        """
        memory = catalog.get(name)
        try:
            if saved:
                catalog.save(name, value)
                return memory.load()
            memory.save(value)
            return catalog.load(name)
        except Exception as error:
            # A validator raises what it likes; Kedro says which one it was.
            raise InputError(f"`{name}`: {error}") from error

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the call separately: all before it counts as reading, all after it as saving."""
        self.progress.begin(1)
        self.progress.started()
        with super().stage(name):
            yield

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials of the catalog's entries, by the entries' names; they are in the environment only."""
        credentials: dict[str, Any] = json.loads(os.environ.get(CREDENTIALS_VARIABLE) or "{}")
        return credentials

    @property
    def save_version(self) -> str | None:
        """The version that the run saves; None, in a script that is run by hand, lets Kedro choose one."""
        return save_version()

    def save(self, returned: Any, catalog: Any = None) -> None:
        """Save the function's return value, each part where it belongs.

        Parts on the volume are renamed into place once all are written; then the catalog's entries save theirs, each by its own class.

        Args:
            returned: the function's return value.
            catalog: Kedro's catalog, with the entries on other stores.

        Raises:
            OutputError: the value does not match the node's outputs, or cannot be written.
        """
        parts = self._parts(returned)
        missing = [name for name, value in parts.items() if value is None]
        if missing:
            raise OutputError(f"The function returned None for {', '.join(f'`{name}`' for name in missing)}, and no dataset saves None.")
        with_entry = {name: value for name, value in parts.items() if catalog is not None and name in catalog}
        stored = {name: value for name, value in with_entry.items() if name not in self._saves}
        parts |= {name: self.validated(catalog, name, value, saved=True) for name, value in with_entry.items() if name in self._saves}
        tables = {name: SavedTable(volume_of(self.folder), target) for name, target in self._saves.items()}
        try:
            for name, value in parts.items():
                if name in tables:
                    target = self._saves[name]
                    write_table(value, tables[name].temporary, target["file_format"], target.get("save_args") or {})
                elif name not in stored:
                    self._written[name] = self._write(name, value)
        except BaseException:
            for table in tables.values():
                table.temporary.unlink(missing_ok=True)
            raise
        for name, table in tables.items():
            self._kept[name] = table.commit()
        for name, value in stored.items():
            self._kept[name] = self._store(name, value, catalog)

    def _write(self, name: str, value: Any) -> Path:
        """Write a part into the job folder."""
        try:
            if name in self._lazy and are_partitions(value):
                folder = self.folder / OUTPUTS / self._file_name(name)
                write_partitions(value, folder)
                return folder
            return write_value(value, self.folder / OUTPUTS, self._file_name(name))
        except InputError as error:
            raise OutputError(f"`{name}`: {error}. Return a DataFrame, plain values, or an object that can be pickled.") from error

    def _described(self, name: str, path: Path) -> dict[str, Any]:
        """Return what the result has of an output; a pickle is signed."""
        described = super()._described(name, path)
        if not holds_pickle(path):
            return described
        return described | {"signature": signed(self.folder.name, os.environ.get(ATTEMPT_VARIABLE), name, described["sha256"]) or ""}

    def _store(self, name: str, value: Any, catalog: Any) -> dict[str, Any]:
        """Save a part by its catalog entry, and return the identity of its file.

        If the store refuses it, no work is lost: the part stays in the job folder.
        """
        from .stores import file_identity, path_on_store  # needed for such a part alone

        dataset = catalog.get(name)
        try:
            version = dataset.resolve_save_version() if getattr(dataset, "_version", None) else None
            path = path_on_store(dataset, version)
            if version and dataset._fs.exists(path):  # noqa: SLF001
                # A lost machine had saved it before: a version belongs to one run, and one node saves it.
                dataset._fs.rm(path)  # noqa: SLF001
            catalog.save(name, value)
            stored = {**file_identity(dataset._fs, path), "version": version}  # noqa: SLF001
        except Exception as error:
            copy = self._write(name, value).relative_to(self.folder)
            raise OutputError(f"`{name}` was not saved: {error}\nA copy of it is in {self.folder.name}/{copy}.") from error
        print(f"saved {name}")  # noqa: T201
        return {"size": stored["size"] or 0, "stored": stored}

    def _file_name(self, name: str) -> str:
        """Return a file name for a dataset that no other has, not even on a file system that ignores case."""
        taken = {path.stem.casefold() for path in self._written.values()}
        base = re.sub(r"[^\w.@-]+", "_", name).lstrip(".") or "output"
        names = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        return next(name for name in names if name.casefold() not in taken)

    def _parts(self, returned: Any) -> dict[str, Any]:
        """Return the parts of the return value by dataset, by Kedro's own rules (kedro.pipeline.node)."""
        names = self._returns
        if names is None:
            if returned is not None:
                raise OutputError(f"The node has no outputs, but its function returned a {type(returned).__name__}.")
            return {}
        if isinstance(names, str):
            return {names: returned}
        if isinstance(names, dict):
            if not isinstance(returned, dict) or set(returned) != set(names):
                description = sorted(map(str, returned)) if isinstance(returned, dict) else f"a {type(returned).__name__}"
                raise OutputError(f"The function should return a dict with the keys {sorted(names)}, but returned {description}.")
            return {names[key]: value for key, value in returned.items()}
        if not isinstance(returned, list | tuple) or len(returned) != len(names):
            description = f"{len(returned)} values" if isinstance(returned, list | tuple) else f"a {type(returned).__name__}"
            raise OutputError(f"The function should return {len(names)} values ({', '.join(names)}), but returned {description}.")
        return dict(zip(names, returned, strict=True))

    def _count(self, value: Any, size: int, place: str) -> None:
        self._bytes_read += size
        if is_frame(value):
            self._rows["read"] = self._rows.get("read", 0) + int(value.shape[0])
            print(f"read {value.shape[0]:,} rows from {place}")  # noqa: T201
