"""The archive that travels with a script: `kedro_cloudtrain/worker` as `worker.zip`, its package named `cloudtrain_worker`."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import marshal
import threading
import zipfile
from importlib import resources

from kedro_cloudtrain.worker.protocol import PACKAGE

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
        files = resources.files("kedro_cloudtrain.worker").iterdir()
        modules = (file for file in files if file.name.endswith(".py"))
        for module in sorted(modules, key=lambda file: file.name):
            source = module.read_bytes()
            add_member(archive, f"{PACKAGE}/{module.name}", source)
            if bytecode:
                add_member(archive, f"{PACKAGE}/{module.name}c", _compiled(source, f"{PACKAGE}/{module.name}"))
    return buffer.getvalue()


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
