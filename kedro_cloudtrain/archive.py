"""The archive that travels with a script: `kedro_cloudtrain/worker` as `worker.zip`, its package named `cloudtrain_worker`."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile
from importlib import resources

PACKAGE = "cloudtrain_worker"
_BESIDE = ("bootstrap.py", "courier.py")
# The oldest time that a zip file can hold: the same code gives the same bytes wherever it is packed.
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)


@functools.cache
def worker_archive() -> bytes:
    """Pack the worker's modules; the same modules give the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        # What starts a pod lies beside the archive: no script imports it.
        files = resources.files("kedro_cloudtrain.worker").iterdir()
        modules = (file for file in files if file.name.endswith(".py") and file.name not in _BESIDE)
        for module in sorted(modules, key=lambda file: file.name):
            add_member(archive, f"{PACKAGE}/{module.name}", module.read_bytes())
    return buffer.getvalue()


def add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add a file without a time of its own, so that the same files give the same bytes."""
    member = zipfile.ZipInfo(name, _TIMESTAMP)
    member.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(member, content)


@functools.cache
def worker_digest() -> str:
    """Give the sha256 of the worker's archive: the code's part of a job's fingerprint."""
    return hashlib.sha256(worker_archive()).hexdigest()
