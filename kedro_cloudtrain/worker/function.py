"""A user's own function as a job: its inputs are loaded, its outputs are saved where they belong."""

from __future__ import annotations

import atexit
import contextlib
import filecmp
import importlib.util
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .inputs import input_location, sent_file, volume_of
from .job import Job
from .results import md5_of
from .values import is_frame, read_value, write_table, write_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Names = str | Sequence[str] | Mapping[str, str] | None

_PACKAGES = ("numpy", "pandas", "scikit-learn")


def unpacked_code(script: str) -> str:
    """Unpack `code.zip`, which lies beside a script, for as long as this process lives; give the folder to import from.

    Unpacked, since a package may read files of its own by their paths, and a traceback shows its lines.
    """
    _lend_checkpoint()
    folder = Path(tempfile.mkdtemp(prefix="cloudtrain-code-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with zipfile.ZipFile(Path(script).resolve().parent / "code.zip") as archive:
        archive.extractall(folder)
    # As Kedro logs here: a project's own packages from INFO on, any other from WARNING on.
    logging.basicConfig(format="%(levelname)-8s %(name)s: %(message)s", stream=sys.stdout)
    for package in {path.name.partition(".")[0] for path in folder.iterdir()}:
        logging.getLogger(package).setLevel(logging.INFO)
    return str(folder)


def _lend_checkpoint() -> None:
    """Let a function's `from kedro_cloudtrain import Checkpoint` do where nothing of the package but this has travelled."""
    if importlib.util.find_spec("kedro_cloudtrain") is not None:
        return

    def lend(name: str) -> Any:
        if name != "Checkpoint":
            said = f"kedro_cloudtrain is not installed here, but for Checkpoint: add kedro-cloudtrain to `requirements` for {name}"
            # A module that has no such attribute is asked for some by Python itself: `__path__`, say.
            raise AttributeError(said) if name.startswith("__") else ImportError(said)
        from .checkpoints import Checkpoint

        return Checkpoint

    lent = types.ModuleType("kedro_cloudtrain")
    lent.__dict__.update(__getattr__=lend)
    sys.modules["kedro_cloudtrain"] = lent


class FunctionJob(Job):
    """One call of a user's function, in the folder of its script.

    Args:
        script: the script's `__file__`; the job's files are beside it.
        returns: the datasets that take what the function returns, as the node has them: a name, a list of names, a mapping from the keys
            of a returned dict to names, or None.
        saves: where the machine saves some of them itself: `dataset_key`, `file_format` and `save_args` by the dataset's name.
    """

    def __init__(self, script: str, returns: Names = None, saves: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        super().__init__(script, [name for name in _PACKAGES if name in sys.modules])
        self._returns = returns
        self._saves = saves or {}

    def load(
        self,
        *,
        dataset_key: str | None = None,
        dataset_url: str | None = None,
        dataset_file: str | None = None,
        file_format: str | None = None,
        load_args: Mapping[str, Any] | None = None,
    ) -> Any:
        """Load one input: a table of the volume or of a web server as a DataFrame, or whatever was sent along.

        Args:
            dataset_key: a table's path below the volume.
            dataset_url: or its URL.
            dataset_file: or the file that was sent along.
            file_format: csv, tsv, parquet, xlsx, xls or jsonl; None goes by the extension.
            load_args: passed to the pandas reader.

        Raises:
            InputError: it is not there, or of another format.
        """
        if dataset_file is not None:
            file = sent_file(self.folder, dataset_file)
            value = read_value(file)
            self._note(value, file.stat().st_size, dataset_file)
            return value
        from .tables import read_table  # for a job that reads one

        location = input_location(self.folder, dataset_key, dataset_url, None, file_format, load_args)
        table = read_table(location)
        self._note(table.frame, table.bytes_read, location.place)
        return table.frame

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the call by itself: what comes before it counts as reading, what comes after as saving."""
        self.progress.begin(1)
        self.progress.started()
        with super().stage(name):
            yield

    @property
    def credentials(self) -> dict[str, Any]:
        """The credentials of the catalog's entries, by the entries' names; they are in the environment alone."""
        known: dict[str, Any] = json.loads(os.environ.get("CLOUDTRAIN_CREDENTIALS") or "{}")
        return known

    @property
    def save_version(self) -> str | None:
        """The version that the run saves; None, by hand, lets Kedro make one."""
        return os.environ.get("CLOUDTRAIN_SAVE_VERSION")

    def save(self, returned: Any, catalog: Any = None) -> None:
        """Save what the function has returned, each part where it belongs.

        On the volume, by rename, once all parts are written; then by the catalog's entries, each by its own class.

        Args:
            returned: what it has returned.
            catalog: Kedro's, of the entries on other stores.

        Raises:
            InputError: it is not what the node says that it returns, or cannot be written.
        """
        parts = self._parts(returned)
        missing = [name for name, value in parts.items() if value is None]
        if missing:
            raise InputError(f"The function returned None for {', '.join(f'`{name}`' for name in missing)}, which no dataset saves.")
        stored = {name: value for name, value in parts.items() if catalog is not None and name in catalog}
        volume, places = volume_of(self.folder), {}
        for name, value in parts.items():
            if name in stored:
                continue
            if name not in self._saves:
                self._written[name] = self._write(name, value)
                continue
            said = self._saves[name]
            place = volume / said["dataset_key"]
            place.parent.mkdir(parents=True, exist_ok=True)
            # Beside its place: a rename does not cross disks. The ending stays, for writers that go by it.
            temporary = place.with_name(f".{os.urandom(6).hex()}.{place.name}")
            places[name] = (temporary, place)
            try:
                write_table(value, temporary, said["file_format"], said.get("save_args") or {})
            except BaseException:
                for written, _ in places.values():
                    written.unlink(missing_ok=True)
                raise
        for name, (temporary, place) in places.items():
            if place.is_file() and filecmp.cmp(temporary, place, shallow=False):
                temporary.unlink()  # What is there already stays as it is, and is no change to the nodes below.
            else:
                temporary.replace(place)
            status = place.stat()
            said = {"key": self._saves[name]["dataset_key"], "size": status.st_size, "modified_ns": status.st_mtime_ns}
            # A directory's file is told from another by its size and its time; a network volume's, seen from elsewhere, by its ETag.
            self._kept[name] = said | ({"md5": md5_of(place)} if "RUNPOD_POD_ID" in os.environ else {})
            print(f"saved {self._saves[name]['dataset_key']}")  # noqa: T201
        for name, value in stored.items():
            self._kept[name] = self._store(name, value, catalog)

    def _write(self, name: str, value: Any) -> Path:
        """Write a part into the job folder."""
        try:
            return write_value(value, self.folder / "outputs", self._file_name(name))
        except InputError as error:
            said = str(error).rstrip(".")
            raise InputError(f"`{name}`: {said}. Return what can be pickled, or a DataFrame, or plain values.") from error

    def _store(self, name: str, value: Any, catalog: Any) -> dict[str, Any]:
        """Save a part by its entry; say by what its file is known to be the same.

        A store that refuses it costs no work: the part stays in the job folder.
        """
        from .stores import file_identity  # for a job that has such a part

        dataset = catalog.get(name)
        try:
            version = dataset.resolve_save_version() if getattr(dataset, "_version", None) else None
            path = str(dataset._get_versioned_path(version) if version else dataset._filepath)  # noqa: SLF001  # Kedro's base has no word for it
            if version and dataset._fs.exists(path):  # noqa: SLF001
                # An earlier attempt at this job was lost after it had saved: a version is of one run, and is saved by one node.
                dataset._fs.rm(path)  # noqa: SLF001
            catalog.save(name, value)
            stored = {**file_identity(dataset._fs, path), "version": version}  # noqa: SLF001
        except Exception as error:
            kept = self._write(name, value).relative_to(self.folder)
            raise InputError(f"`{name}` was not saved: {error}\nWhat it was is kept in {self.folder.name}/{kept}.") from error
        print(f"saved {name}")  # noqa: T201
        return {"size": stored["size"] or 0, "stored": stored}

    def _file_name(self, name: str) -> str:
        """Give a dataset's name as a file's, and no two the same: where capitals count for nothing, too."""
        taken = {path.stem.casefold() for path in self._written.values()}
        base = re.sub(r"[^\w.@-]+", "_", name).lstrip(".") or "output"
        return next(one for one in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))) if one.casefold() not in taken)

    def _parts(self, returned: Any) -> dict[str, Any]:
        """Take what was returned apart, by Kedro's own rules (kedro.pipeline.node)."""
        names = self._returns
        if names is None:
            if returned is not None:
                raise InputError(f"The node has no outputs, and its function returned a {type(returned).__name__}.")
            return {}
        if isinstance(names, str):
            return {names: returned}
        if isinstance(names, dict):
            if not isinstance(returned, dict) or set(returned) != set(names):
                said = sorted(map(str, returned)) if isinstance(returned, dict) else f"a {type(returned).__name__}"
                raise InputError(f"The function should return a dict of the keys {sorted(names)}, and returned {said}.")
            return {names[key]: value for key, value in returned.items()}
        if not isinstance(returned, list | tuple) or len(returned) != len(names):
            said = f"{len(returned)} values" if isinstance(returned, list | tuple) else f"a {type(returned).__name__}"
            raise InputError(f"The function should return {len(names)} values ({', '.join(names)}), and returned {said}.")
        return dict(zip(names, returned, strict=True))

    def _note(self, value: Any, size: int, place: str) -> None:
        self._bytes_read += size
        if is_frame(value):
            self._rows["read"] = self._rows.get("read", 0) + int(value.shape[0])
            print(f"read {value.shape[0]:,} rows of {place}")  # noqa: T201
