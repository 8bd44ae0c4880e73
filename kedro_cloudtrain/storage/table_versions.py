"""The versions of a table on a volume, in the layout of Kedro's own versioned datasets: `KEY/VERSION/NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.worker.protocol import version_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kedro_cloudtrain.storage.volumes import Volume

# So many versions are named in a message.
_NAMED = 3


def is_version_of(key: str, versioned_key: str) -> bool:
    """Return whether a key is that of a version of a table."""
    version = key.removeprefix(f"{versioned_key}/").partition("/")[0]
    return key == version_key(versioned_key, version)


def existing_versions(volume: Volume, key: str) -> Iterator[str]:
    """Yield the versions of a table, the latest first; a folder in which no save was finished is not one."""
    return (version for version in sorted(volume.folders(key), reverse=True) if volume.exists(version_key(key, version)))


def key_of_version(volume: Volume, key: str, version: str) -> str:
    """Return the key of a version that a user names.

    Raises:
        SourceError: there is no such version.
    """
    wanted = _checked(key, version)
    if volume.exists(wanted):
        return wanted
    versions = [each for each, _ in zip(existing_versions(volume, key), range(_NAMED), strict=False)]
    if not versions:
        raise _without_versions(volume, key)
    raise SourceError(
        f"There is no version {version} of {key} {volume.where}. The latest: {', '.join(versions)}. Name one of its versions by "
        "--load-versions=NAME:VERSION, or leave that out to load the latest."
    )


def key_of_latest(volume: Volume, key: str) -> str:
    """Return the key of the latest version.

    Raises:
        SourceError: there is none.
    """
    latest = next(existing_versions(volume, key), None)
    if latest is None:
        raise _without_versions(volume, key)
    return version_key(key, latest)


def key_to_save(volume: Volume, key: str, version: str) -> str:
    """Return the key of a version to save.

    Raises:
        SourceError: the volume has it already.
    """
    wanted = _checked(key, version)
    if volume.exists(wanted):
        raise SourceError(f"{wanted} {volume.where} exists already, and each save makes a version of its own. Run again.")
    return wanted


def _checked(key: str, version: str) -> str:
    if not version or version in (".", "..") or "/" in version or "\\" in version:
        raise SourceError(f"{version!r} is not a version of {key}: a version is the name of a folder, like 2026-08-01T09.30.00.000Z.")
    return version_key(key, version)


def _without_versions(volume: Volume, key: str) -> SourceError:
    place = version_key(key, "VERSION")
    if volume.exists(key):
        return SourceError(
            f"{key} {volume.where} is one table without versions. Leave `versioned: true` out of its entry; or make it the first version: "
            f"move it to {place}, with a version like 2026-08-01T09.30.00.000Z."
        )
    return SourceError(
        f"There is no version of {key} {volume.where}. Run the node that saves it; or upload one: kedro cloudtrain upload FILE {place}, "
        "with a version like 2026-08-01T09.30.00.000Z."
    )
