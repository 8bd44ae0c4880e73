"""What a run needs of this computer and of the account, looked at: what was seen, and the fix where it will not do."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import stat
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.account import connect, find_api_key
from kedro_cloudtrain.errors import ApiError, AuthError, CloudTrainError
from kedro_cloudtrain.jobs.parameters import LIBRARIES
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Collection

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.storage.volumes import Volume

_PACKAGES = ("requests", "boto3")
# AWS's "Troubleshoot Signature Version 4": a request whose time is more than 15 minutes off is refused, and RunPod's S3 API signs alike.
_CLOCK_S = 15 * 60
# No pod has this id: asking for its end tells a key that may only read (403) from one that may write (404), and ends nothing.
_NO_POD = "cloudtrain-doctor"
# Asked for by HEAD; whether it is there does not matter.
_PROBE_KEY = ".cloudtrain/doctor"
_FORBIDDEN = 403
KEYS_PAGE = "https://console.runpod.io/user/settings"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: its name.
        ok: whether a run can do with it.
        seen: what was found, without a secret.
        fix: what to do about it; empty where nothing is to be done, or `seen` says it.
    """

    what: str
    ok: bool
    seen: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.seen} {self.fix}".strip()


@dataclasses.dataclass
class Examination:
    """All that was looked at.

    Attributes:
        findings: in the order in which a user would mend them.
        api: the client of RunPod's API; None where it cannot be asked.
        volume: the network volume; None where there is none that can be asked.
        data_center: where its pods will be.
    """

    findings: list[Finding] = dataclasses.field(default_factory=list)
    api: RunPodApi | None = None
    volume: S3Store | None = None
    data_center: str | None = None

    @property
    def problems(self) -> list[Finding]:
        """What a run cannot do with."""
        return [finding for finding in self.findings if not finding.ok]


def examine_local(settings: Settings, project: Path, needed: Collection[str]) -> Examination:
    """Look at what the local backend needs: the volume's directory, and the training libraries.

    Args:
        settings: `cloudtrain.yml`.
        project: the project's folder.
        needed: the libraries that the project's training nodes use.
    """
    seen = Examination()
    volume = _volume(settings, project, seen)
    if isinstance(volume, S3Store):
        fix = "A job on this computer needs a directory: volume: {path: data/volume}; or say backend: runpod."
        seen.findings.append(Finding("volume", ok=False, seen=f"{volume.name} is a network volume, and the backend is local.", fix=fix))
    elif volume is not None:
        seen.findings.append(_directory(Path(volume.name)))
    seen.findings += [_library(library, needed) for library in LIBRARIES]
    return seen


def examine_runpod(settings: Settings, project: Path) -> Examination:
    """Look at what the RunPod backend needs: packages, key, volume, S3 keys and clock; nothing is created or written."""
    seen = Examination()
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        seen.findings.append(
            Finding("packages", ok=False, seen=f"{' and '.join(missing)} not installed.", fix='pip install "kedro-cloudtrain[runpod]"')
        )
        return seen
    seen.findings.append(Finding("packages", ok=True, seen=", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)))
    api = _account(seen)
    volume = _volume(settings, project, seen)
    if isinstance(volume, S3Store):
        seen.data_center = volume.data_center
        if not isinstance(volume, NetworkVolume):
            seen.findings.append(Finding("volume", ok=True, seen=f"none; {volume.name} keeps the jobs, and pods read URLs alone"))
        elif seen.api is not None:
            seen.findings.append(_volume_as_sold(seen.api, volume))
        _s3_keys(volume, seen)
    elif volume is not None:
        said = f"{volume.name} is a directory of this computer, and a pod cannot mount that."
        seen.findings.append(Finding("volume", ok=False, seen=said, fix="Name a network volume: volume: {id: …, data_center: …}"))
    if api is not None and api.clock_ahead_s is not None:
        seen.findings.append(_clock(api.clock_ahead_s))
    return seen


def _account(seen: Examination) -> RunPodApi | None:
    """Look for the key, and whether it is accepted; give the client, also where the key is not."""
    try:
        _, place = find_api_key()
    except AuthError as error:
        seen.findings.append(Finding("API key", ok=False, seen=error.message))
        return None
    seen.findings += _key_files(place)
    api = connect()
    try:
        pods = api.pods()
    except ApiError as error:
        seen.findings.append(_refused(error, place))
        return api
    except CloudTrainError as error:
        seen.findings.append(Finding("API key", ok=False, seen=f"{error.message} The key is from {place}."))
        return api
    seen.api = api
    seen.findings.append(Finding("API key", ok=True, seen=f"from {place}, accepted; the account has {len(pods)} pods"))
    seen.findings += _may_write(api, place)
    return api


def _refused(error: ApiError, place: str) -> Finding:
    if error.status != _FORBIDDEN:
        return Finding("API", ok=False, seen=error.message)
    if place == "RUNPOD_API_KEY" and os.environ.get("RUNPOD_POD_ID"):
        # RunPod's "Environment variables" of a pod: its key is scoped to it, and hides one of the user's by that name.
        seen = "RUNPOD_API_KEY is the key that RunPod gave to this pod: it may do nothing but end the pod."
        return Finding("API key", ok=False, seen=seen, fix=f"Set RUNPOD_API_KEY to a key of the account, from {KEYS_PAGE}")
    seen = f"the key from {place} is accepted, and may not list pods ({error.detail or error.status}): its scope is too narrow."
    return Finding("API key", ok=False, seen=seen, fix=f"Make one that may read and write pods: {KEYS_PAGE}")


def _may_write(api: RunPodApi, place: str) -> list[Finding]:
    try:
        api.terminate_pod(_NO_POD)
    except ApiError as error:
        if error.status == _FORBIDDEN:
            seen = f"the key from {place} may read, and may not create or end pods ({error.detail or error.status})."
            return [Finding("API key's scope", ok=False, seen=seen, fix=f"Make one that may read and write: {KEYS_PAGE}")]
    except CloudTrainError as error:
        return [Finding("API key's scope", ok=False, seen=error.message)]
    return [Finding("API key's scope", ok=True, seen="may read and write pods")]


def _key_files(place: str) -> list[Finding]:
    """Look at the file that holds the key: nobody else should be able to read it."""
    file = Path.home() / ".runpod/config.toml"
    if not file.is_file():
        return []
    others = stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
    if others:
        return [Finding("key file", ok=False, seen=f"{file} can be read by others.", fix=f"chmod 600 {file}")]
    return [Finding("key file", ok=True, seen=f"{file}" + ("" if place == str(file) else f", passed over for {place}"))]


def _volume(settings: Settings, project: Path, seen: Examination) -> Volume | None:
    try:
        return settings.volume.make(project)
    except CloudTrainError as error:
        seen.findings.append(Finding("volume", ok=False, seen=error.message))
        return None


def _directory(path: Path) -> Finding:
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not there.is_dir():
        return Finding("volume", ok=False, seen=f"{there} is a file.", fix="Name a directory: volume: {path: data/volume}")
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("volume", ok=False, seen=f"{there} cannot be written to.", fix=f"chmod u+wx {there}, or name another volume.path")
    return Finding("volume", ok=True, seen=f"{path}" if there == path.absolute() else f"{path}, made by the first run")


def _library(library: str, needed: Collection[str]) -> Finding:
    if importlib.util.find_spec(library) is not None:
        return Finding(library, ok=True, seen=metadata.version(library))
    if library not in needed:
        return Finding(library, ok=True, seen="not installed, and no training node uses it")
    return Finding(library, ok=False, seen="not installed.", fix=f'pip install "kedro-cloudtrain[{library}]"')


def _volume_as_sold(api: RunPodApi, volume: NetworkVolume) -> Finding:
    try:
        info = api.network_volume(volume.id)
    except CloudTrainError as error:
        return Finding("volume", ok=False, seen=error.message)
    if info is None:
        seen = f"the account has no network volume {volume.id}."
        return Finding("volume", ok=False, seen=seen, fix="Its id stands at https://console.runpod.io/user/storage: correct volume.id")
    if info.data_center != volume.data_center:
        seen = f"{volume.id} is in {info.data_center}, and volume.data_center says {volume.data_center}."
        return Finding("volume", ok=False, seen=seen, fix=f"Write data_center: {info.data_center}")
    return Finding("volume", ok=True, seen=f"{volume.name}, {info.size} GB")


def _s3_keys(volume: S3Store, seen: Examination) -> None:
    try:
        volume.exists(_PROBE_KEY)
    except CloudTrainError as error:
        seen.findings.append(Finding("S3 keys", ok=False, seen=error.message))
        return
    seen.volume = volume
    seen.findings.append(Finding("S3 keys", ok=True, seen=f"accepted by {volume.name}"))


def _clock(ahead_s: float) -> Finding:
    off = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} RunPod's"
    if abs(ahead_s) < _CLOCK_S:
        return Finding("clock", ok=True, seen=off)
    return Finding("clock", ok=False, seen=f"{off}: S3 refuses signatures beyond 15 minutes.", fix="Set this computer's clock (NTP).")
