"""The Python that runs a job: the image's own, or an environment that is made once for the same requirements, and kept on the volume."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from . import cluster, job_folder
from .log import run_logged

if TYPE_CHECKING:
    from .log import Log


# On this pod's own disk, and the same on every pod: an environment holds the paths at which it was made.
DISK = Path("/tmp/cloudtrain-environments")  # noqa: S108


class InstallError(Exception):
    """The job's packages cannot be installed."""


def make_environment(machine: dict[str, Any], log: Log) -> str:
    """Return the Python to run the job with: the image's own, or that of an environment on this pod's disk.

    The environment is kept on the volume, packed into one file: a network volume is slow with many small ones.

    Raises:
        InstallError: the packages cannot be installed.
    """
    requirements: list[str] = machine.get("requirements") or []
    if not requirements:
        return sys.executable
    name = str(machine["environment"])
    place = DISK / name
    python = place / "venv/bin/python"
    # A pod without a volume has nothing to keep it on.
    packed = None if os.environ.get("CLOUDTRAIN_COURIER") else job_folder.VOLUME / ".cloudtrain/environments" / f"{name}.tar"
    if packed is not None and packed.is_file():
        if _unpack(packed, place, python):
            log.note(f"environment {name} exists: nothing to install")
            _note_use(packed)
            return str(python)
        log.note(f"environment {name} is broken, and is made anew")
    shutil.rmtree(place, ignore_errors=True)
    log.note(f"environment {name}: {' '.join(line.partition(' --hash=')[0] for line in requirements)}")
    _install(requirements, machine, place, log)
    if packed is not None and not cluster.rank_of(machine):
        try:
            _pack(place, packed, str(machine["attempt"]))
            _note_use(packed)
        except OSError as error:
            log.note(f"the environment cannot be kept on the volume, which costs the next pod its time: {error}")
    return str(python)


def _install(requirements: list[str], machine: dict[str, Any], place: Path, log: Log) -> None:
    """Make an environment, with its own Python where the image has no such release.

    Raises:
        InstallError: the packages cannot be installed.
    """
    release = str(machine.get("python") or "")
    same = platform.python_version().startswith(f"{release}.") or not release
    uv = _find_uv(str(machine.get("uv") or ""), log)
    own = {"UV_CACHE_DIR": str(DISK / "uv-cache"), "UV_PYTHON_INSTALL_DIR": str(place / "python"), "UV_NO_PROGRESS": "1"}
    variables = {**os.environ, **own}
    # The image's Python is "externally managed" (PEP 668): packages go into an environment of their own.
    create = [uv, "venv", "--quiet", "--python", sys.executable if same else release, str(place / "venv")]
    listed = job_folder.CHILD.with_suffix(".txt")
    listed.write_text("\n".join(requirements), encoding="utf-8")
    # Compiled once, and not by every pod.
    install = [uv, "pip", "install", "--compile-bytecode", "--python", str(place / "venv/bin/python"), "--requirements", str(listed)]
    installed = run_logged(create, log, variables) == 0 and run_logged(install, log, variables) == 0
    _hide_origins(place, log)
    if not installed:
        shutil.rmtree(place, ignore_errors=True)
        raise InstallError("the packages cannot be installed. The log has uv's messages.")


def _hide_origins(place: Path, log: Log) -> None:
    """Take secrets out of where packages came from, as the installer has noted it beside each."""
    for note in place.glob("venv/lib/python*/site-packages/*.dist-info/direct_url.json"):
        text = note.read_text(encoding="utf-8")
        if log.hidden(text) != text:
            note.unlink()
            note.write_text(log.hidden(text), encoding="utf-8")


def _pack(place: Path, packed: Path, attempt: str) -> None:
    """Pack an environment into one file, beside its place and then by rename: another pod may be packing the same one."""
    packed.parent.mkdir(parents=True, exist_ok=True)
    scratch = packed.with_name(f".{packed.name}-{attempt}")
    try:
        with tarfile.open(scratch, "w") as archive:
            archive.add(place, arcname=place.name)
        scratch.replace(packed)
    finally:
        scratch.unlink(missing_ok=True)


def _unpack(packed: Path, place: Path, python: Path) -> bool:
    """Unpack an environment to this pod's disk, and return whether its Python runs."""
    try:
        with tarfile.open(packed) as archive:
            # A pod of this project has packed it, with the links of a virtual environment.
            trusted: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
            archive.extractall(place.parent, **trusted)  # noqa: S202
        return subprocess.run([str(python), "-c", ""], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, EOFError, tarfile.TarError, subprocess.SubprocessError):
        return False


def _note_use(packed: Path) -> None:
    """Write beside an environment how large it is, and when it was used: by it, `clean --environments` knows what nobody needs."""
    with contextlib.suppress(OSError):
        note = {"bytes": packed.stat().st_size, "used_at": time()}
        packed.with_suffix(".json").write_text(json.dumps(note), encoding="utf-8")


def _find_uv(release: str, log: Log) -> str:
    """Return a uv of the client's release, which has resolved the packages; the image's own where no other can be had."""
    own = shutil.which("uv")
    if own is not None and (not release or f" {release} " in f"{_version_of(own)} "):
        return own
    target = "/tmp/cloudtrain-uv"  # noqa: S108
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", target, f"uv=={release}" if release else "uv"]
    if run_logged(install, log, dict(os.environ)) == 0:
        return f"{target}/bin/uv"
    if own is None:
        raise InstallError("the image has no uv, and pip cannot install it")
    log.note(f"uv {release} cannot be installed: the image's own is used")
    return own


def _version_of(uv: str) -> str:
    """Return what a uv calls itself: `uv 0.9.2 (…)`."""
    try:
        return subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
