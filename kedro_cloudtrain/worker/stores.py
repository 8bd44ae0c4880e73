"""A file on a remote store, as fsspec knows it: by what it is known to be the same, here and on a machine."""

from __future__ import annotations

from typing import Any

# What file systems call it (s3fs, gcsfs, adlfs, fsspec's own for HTTP; those over SSH and the like have a time and a size alone).
_ETAGS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")


def file_identity(file_system: Any, path: str) -> dict[str, Any]:
    """Say by what a file is known to be the same: `etag`, else `modified`, and `size` in bytes; None for what the store does not say.

    Args:
        file_system: fsspec's, of the file's store.
        path: the file's, there.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the store does not answer, or does not let one in.
    """
    # A listing that was kept from before the file was written would not know it.
    file_system.invalidate_cache(path)
    info = file_system.info(path)
    if info.get("type") == "directory":
        return {"etag": None, "modified": None, "size": None}
    etag = next((str(info[name]).strip('"') for name in _ETAGS if info.get(name)), None)
    modified = next((str(info[name]) for name in _TIMES if info.get(name)), None)
    return {"etag": etag, "modified": None if etag else modified, "size": info.get("size")}
