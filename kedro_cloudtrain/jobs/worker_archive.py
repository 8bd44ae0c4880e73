"""The archives that travel: `kedro_cloudtrain/worker` as `worker.zip` with each script, `kedro_cloudtrain/pod` as `pod.zip` to each pod."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import marshal
import threading
import zipfile
from importlib import resources
from typing import TYPE_CHECKING

from kedro_cloudtrain.worker.protocol import BOOTSTRAP, COURIER, PACKAGE, POD_PACKAGE

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

# The oldest time that a zip file can hold: with it, the same code gives the same bytes on every computer.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_packing = threading.Lock()


def worker_archive(*, bytecode: bool = False) -> bytes:
    """Pack the worker's modules; the same modules give the same bytes.

    Args:
        bytecode: whether each module has its bytecode beside it, for this release of Python: a job on this computer then starts in two
            thirds of the time. Other releases read the source.
    """
    with _packing:  # Jobs that start at the same time share one archive.
        return _pack(bytecode=bytecode)


@functools.cache
def _pack(*, bytecode: bool) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in _modules("kedro_cloudtrain.worker"):
            source = module.read_bytes()
            add_member(archive, f"{PACKAGE}/{module.name}", source)
            if bytecode:
                add_member(archive, f"{PACKAGE}/{module.name}c", _compiled(source, f"{PACKAGE}/{module.name}"))
    return buffer.getvalue()


@functools.cache
def pod_archive() -> bytes:
    """Pack the modules that `bootstrap.py` imports on a pod."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in _modules("kedro_cloudtrain.pod"):
            if module.name not in (BOOTSTRAP, COURIER):  # These travel as files.
                add_member(archive, f"{POD_PACKAGE}/{module.name}", module.read_bytes())
    return buffer.getvalue()


def _modules(package: str) -> list[Traversable]:
    modules = (file for file in resources.files(package).iterdir() if file.name.endswith(".py"))
    return sorted(modules, key=lambda file: file.name)


def _compiled(source: bytes, name: str) -> bytes:
    """Compile a module as `py_compile` does, to a .pyc that Python does not compare with its source (PEP 552)."""
    code = compile(source, name, "exec", dont_inherit=True)
    return importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + importlib.util.source_hash(source) + marshal.dumps(code)


def add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file with a fixed time, so that the same files give the same bytes."""
    member = zipfile.ZipInfo(name, _TIMESTAMP)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content)


def worker_digest() -> str:
    """Return the sha256 of the worker's archive: the code's part of a job's fingerprint."""
    return hashlib.sha256(worker_archive()).hexdigest()
