"""Examine what a run needs of this computer and of the RunPod account, and name a fix for each problem."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import stat
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.account import connect, find_api_key
from kedro_cloudtrain.backends.runpod.shared_budget import SharedBudget
from kedro_cloudtrain.errors import ApiError, AuthError, CloudTrainError
from kedro_cloudtrain.jobs.parameters import LIBRARIES
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.s3 import S3Store
from kedro_cloudtrain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Collection

    from kedro_cloudtrain.backends.runpod.api import RunPodApi
    from kedro_cloudtrain.config import BudgetSettings, Settings
    from kedro_cloudtrain.storage.volumes import Volume

_PACKAGES = ("requests", "boto3")
# AWS's "Troubleshoot Signature Version 4": a request whose time is more than 15 minutes off is refused; RunPod's S3 API does the same.
_CLOCK_S = 15 * 60
# No pod has this id: deleting it ends nothing, and distinguishes a key that may only read (403) from one that may write (404).
_NO_POD = "cloudtrain-doctor"
# Requested by HEAD, only to see whether the S3 keys are accepted; the key need not exist.
_PROBE_KEY = ".cloudtrain/doctor"
_FORBIDDEN = 403
KEYS_PAGE = "https://console.runpod.io/user/settings"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found about one thing that a run needs.

    Attributes:
        name: its name.
        ok: whether a run can work with it.
        message: what was found, without a secret.
        fix: what to do about a problem; empty if nothing is to be done, or `message` says it.
        outage: whether nothing was found, since a service did not answer.
    """

    name: str
    ok: bool
    message: str
    fix: str = ""
    outage: bool = False

    @classmethod
    def of(cls, name: str, error: CloudTrainError, addition: str = "") -> Finding:
        """Return the finding of an error, whose message says what to do."""
        outage = isinstance(error, ApiError) and error.is_outage
        return cls(name, ok=False, message=f"{error.message} {addition}".strip(), outage=outage)

    def __str__(self) -> str:
        return f"{self.name}: {self.message} {self.fix}".strip()


@dataclasses.dataclass
class Examination:
    """Everything that was examined.

    Attributes:
        findings: in the order in which a user would fix them.
        api: the client of RunPod's API; None if the API refused the key or did not answer.
        volume: the network volume; None if there is none, or its S3 API refused the keys.
        data_center: where its pods will be.
        shared_taken_usd: what all clients have spent or reserved of the shared budget; None if there is none, or it cannot be told.
    """

    findings: list[Finding] = dataclasses.field(default_factory=list)
    api: RunPodApi | None = None
    volume: S3Store | None = None
    data_center: str | None = None
    shared_taken_usd: float | None = None

    @property
    def problems(self) -> list[Finding]:
        """The findings that a run cannot work with."""
        return [finding for finding in self.findings if not finding.ok]


def examine_local(settings: Settings, project: Path, needed: Collection[str]) -> Examination:
    """Examine what the local backend needs: the volume's directory, and the training libraries.

    Args:
        settings: `cloudtrain.yml`.
        project: the project's folder.
        needed: the libraries that the project's training nodes use.
    """
    examination = Examination()
    volume = _volume(settings, project, examination)
    if isinstance(volume, S3Store):
        message = f"{volume.name} is not on this computer, and the backend is local."
        fix = "A job on this computer needs a directory: volume: {path: data/volume}. Or set backend: runpod."
        examination.findings.append(Finding("volume", ok=False, message=message, fix=fix))
    elif volume is not None:
        examination.findings.append(_directory(Path(volume.name)))
    examination.findings += [_library(library, needed) for library in LIBRARIES]
    return examination


def examine_runpod(settings: Settings, project: Path, *, try_key: bool = False) -> Examination:
    """Examine what the RunPod backend needs: packages, key, volume, S3 keys, shared budget and clock, by reads alone.

    Args:
        settings: `cloudtrain.yml`.
        project: the project's folder.
        try_key: whether the API is also asked to end a pod that does not exist, which shows whether the key may end pods.
    """
    examination = Examination()
    missing = [package for package in _PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        message = f"{' and '.join(missing)} not installed."
        examination.findings.append(Finding("packages", ok=False, message=message, fix='pip install "kedro-cloudtrain[runpod]"'))
        return examination
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in _PACKAGES)
    examination.findings.append(Finding("packages", ok=True, message=versions))
    api = _account(examination, try_key=try_key)
    volume = _volume(settings, project, examination)
    if isinstance(volume, S3Store):
        examination.data_center = volume.data_center
        if not isinstance(volume, NetworkVolume):
            message = f"none; {volume.name} keeps the jobs, and pods read URLs alone"
            examination.findings.append(Finding("volume", ok=True, message=message))
        elif examination.api is not None:
            examination.findings.append(_volume_in_account(examination.api, volume))
        _s3_keys(volume, examination)
        if settings.run.budget is not None and api is not None and examination.volume is not None:
            examination.findings.append(_shared_budget(settings.run.budget, examination.volume, api, examination))
    elif volume is not None:
        message = f"{volume.name} is a directory on this computer, which a pod cannot mount."
        fix = "Name a network volume: volume: {id: …, data_center: …}"
        examination.findings.append(Finding("volume", ok=False, message=message, fix=fix))
    if api is not None and api.clock_ahead_s is not None:
        examination.findings.append(_clock(api.clock_ahead_s))
    return examination


def _account(examination: Examination, *, try_key: bool) -> RunPodApi | None:
    """Find the key and check that RunPod accepts it; return the client even if it does not, or None without a key."""
    try:
        _, place = find_api_key()
    except AuthError as error:
        examination.findings.append(Finding("API key", ok=False, message=error.message))
        return None
    examination.findings += _key_files(place)
    api = connect()
    try:
        pods = api.pods()
    except ApiError as error:
        examination.findings.append(_refused(error, place))
        return api
    except CloudTrainError as error:
        examination.findings.append(Finding.of("API key", error, f"The key is from {place}."))
        return api
    examination.api = api
    examination.findings.append(Finding("API key", ok=True, message=f"from {place}, accepted; the account has {counted(len(pods), 'pod')}"))
    if try_key:
        examination.findings += _may_write(api, place)
    return api


def _refused(error: ApiError, place: str) -> Finding:
    if error.status != _FORBIDDEN:
        return Finding.of("API", error)
    if place == "RUNPOD_API_KEY" and os.environ.get("RUNPOD_POD_ID"):
        # RunPod's "Environment variables" of a pod: its key is scoped to it, and hides one of the user's by that name.
        message = "RUNPOD_API_KEY is the key that RunPod gave to this pod, which can do nothing but end the pod."
        return Finding("API key", ok=False, message=message, fix=f"Set RUNPOD_API_KEY to a key of the account, from {KEYS_PAGE}")
    message = f"the key from {place} is accepted, but may not list pods ({error.detail or error.status}): its scope is too narrow."
    return Finding("API key", ok=False, message=message, fix=f"Create a key that may read and write pods: {KEYS_PAGE}")


def _may_write(api: RunPodApi, place: str) -> list[Finding]:
    try:
        api.terminate_pod(_NO_POD)
    except ApiError as error:
        if error.status == _FORBIDDEN:
            message = f"the key from {place} may read, but may not create or end pods ({error.detail or error.status})."
            return [Finding("API key's scope", ok=False, message=message, fix=f"Create a key that may read and write: {KEYS_PAGE}")]
    except CloudTrainError as error:
        return [Finding.of("API key's scope", error)]
    return [Finding("API key's scope", ok=True, message="may read and write pods")]


def _key_files(place: str) -> list[Finding]:
    """Check that nobody else can read the file that holds the key."""
    file = Path.home() / ".runpod/config.toml"
    if not file.is_file():
        return []
    others = stat.S_IMODE(file.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
    if others:
        return [Finding("key file", ok=False, message=f"other users can read {file}.", fix=f"chmod 600 {file}")]
    return [Finding("key file", ok=True, message=f"{file}" + ("" if place == str(file) else f", not used: {place} has precedence"))]


def _volume(settings: Settings, project: Path, examination: Examination) -> Volume | None:
    try:
        return settings.volume.make(project)
    except CloudTrainError as error:
        examination.findings.append(Finding("volume", ok=False, message=error.message))
        return None


def _directory(path: Path) -> Finding:
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    if not existing.is_dir():
        return Finding("volume", ok=False, message=f"{existing} is a file.", fix="Name a directory: volume: {path: data/volume}")
    if not os.access(existing, os.W_OK | os.X_OK):
        fix = f"chmod u+wx {existing}, or name another volume.path"
        return Finding("volume", ok=False, message=f"{existing} cannot be written to.", fix=fix)
    return Finding("volume", ok=True, message=f"{path}" if existing == path.absolute() else f"{path}, which the first run creates")


def _library(library: str, needed: Collection[str]) -> Finding:
    if importlib.util.find_spec(library) is not None:
        return Finding(library, ok=True, message=metadata.version(library))
    if library not in needed:
        return Finding(library, ok=True, message="not installed, and no training node uses it")
    return Finding(library, ok=False, message="not installed.", fix=f'pip install "kedro-cloudtrain[{library}]"')


def _volume_in_account(api: RunPodApi, volume: NetworkVolume) -> Finding:
    try:
        info = api.network_volume(volume.id)
    except CloudTrainError as error:
        return Finding.of("volume", error)
    if info is None:
        message = f"the account has no network volume {volume.id}."
        return Finding(
            "volume", ok=False, message=message, fix="Find its id at https://console.runpod.io/user/storage and correct volume.id"
        )
    if info.data_center != volume.data_center:
        message = f"{volume.id} is in {info.data_center}, but volume.data_center is {volume.data_center}."
        return Finding("volume", ok=False, message=message, fix=f"Write data_center: {info.data_center}")
    return Finding("volume", ok=True, message=f"{volume.name}, {info.size} GB")


def _s3_keys(volume: S3Store, examination: Examination) -> None:
    try:
        volume.exists(_PROBE_KEY)
    except CloudTrainError as error:
        examination.findings.append(Finding.of("S3 keys", error))
        return
    examination.volume = volume
    examination.findings.append(Finding("S3 keys", ok=True, message=f"accepted by {volume.name}"))


def _shared_budget(settings: BudgetSettings, volume: S3Store, api: RunPodApi, examination: Examination) -> Finding:
    budget = SharedBudget(volume, settings, api.now)
    try:
        taken_usd = examination.shared_taken_usd = budget.taken_usd()
    except CloudTrainError as error:
        return Finding.of("shared budget", error)
    message = f"{settings.name}: ${taken_usd:.2f} of ${settings.max_cost_usd:.2f} spent or reserved in {budget.period()}"
    if taken_usd < settings.max_cost_usd:
        return Finding("shared budget", ok=True, message=message)
    return Finding("shared budget", ok=False, message=f"{message}.", fix="Raise run.budget.max_cost_usd, or wait for the next period.")


def _clock(ahead_s: float) -> Finding:
    difference = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} RunPod's"
    if abs(ahead_s) < _CLOCK_S:
        return Finding("clock", ok=True, message=difference)
    message = f"{difference}: S3 refuses signatures that are off by more than 15 minutes."
    return Finding("clock", ok=False, message=message, fix="Set this computer's clock (NTP).")
