"""The identity of a file on a remote store, from fsspec: the same on the client and on a machine."""

from __future__ import annotations

from typing import Any

# The names that file systems use (s3fs, gcsfs, adlfs, fsspec's own for HTTP; those over SSH and the like have a time and a size only).
_ETAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")


def path_on_store(dataset: Any, version: str | None = None) -> str:
    """Return the path of a dataset's file as its file system takes it.

    Args:
        dataset: one of kedro-datasets.
        version: the version of the file, of an entry that has versions.
    """
    # Kedro's base class has no public names for these.
    path = str(dataset._get_versioned_path(version) if version is not None else dataset._filepath)  # noqa: SLF001
    protocol = getattr(dataset, "_protocol", "")
    # A web server's file system takes whole addresses; Kedro keeps them without the protocol.
    return f"{protocol}://{path}" if protocol in ("http", "https") else path


def file_identity(file_system: Any, path: str) -> dict[str, Any]:
    """Return a file's identity: `etag`, else `modified`, and `size` in bytes; None for each that the store does not have.

    Args:
        file_system: fsspec's file system of the file's store.
        path: the file's path on it.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the store does not answer, or refuses access.
    """
    # A cached listing from before the file was written would not have it.
    file_system.invalidate_cache(path)
    info = file_system.info(path)
    if info.get("type") == "directory":
        return {"etag": None, "modified": None, "size": None}
    etag = next((str(info[name]).strip('"') for name in _ETAGS if info.get(name)), None)
    modified = next((str(info[name]) for name in _TIMES if info.get(name)), None)
    return {"etag": etag, "modified": None if etag else modified, "size": info.get("size")}
