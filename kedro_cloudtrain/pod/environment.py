"""The Python that runs a job: the image's own, or an environment on the volume, made once for the same requirements."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from . import job_folder
from .log import run_logged

if TYPE_CHECKING:
    from .log import Log


class InstallError(Exception):
    """The job's packages cannot be installed."""


def make_environment(machine: dict[str, Any], log: Log) -> str:
    """Return the Python to run the job with: the image's own, or one on the volume, made once for the same requirements.

    Raises:
        InstallError: the packages cannot be installed.
    """
    requirements: list[str] = machine.get("requirements") or []
    if not requirements:
        return sys.executable
    # The image's Python is "externally managed" (PEP 668): packages go into an environment of their own.
    release = str(machine.get("python") or "")
    same = platform.python_version().startswith(f"{release}.") or not release
    # uv finds another release of Python in the image, or downloads it.
    kind = f"{platform.python_version() if same else release} {platform.machine()} {platform.libc_ver()}"
    digest = hashlib.sha256(json.dumps([sorted(requirements), kind]).encode()).hexdigest()[:16]
    place = job_folder.VOLUME / ".cloudtrain/environments" / digest
    python = place / "bin/python"
    if python.exists():
        log.note(f"environment {digest} exists: nothing to install")
        return str(python)
    log.note(f"environment {digest}: {' '.join(line.partition(' --hash=')[0] for line in requirements)}")
    # Built beside its place and renamed: another pod may be building the same one.
    scratch = place.with_name(f".{digest}-{machine['attempt']}")
    uv = _find_uv(str(machine.get("uv") or ""), log)
    cache, pythons = job_folder.VOLUME / ".cloudtrain/uv-cache", job_folder.VOLUME / ".cloudtrain/python"
    kept = {"UV_CACHE_DIR": str(cache), "UV_PYTHON_INSTALL_DIR": str(pythons)}
    variables = {**os.environ, **kept, "UV_NO_PROGRESS": "1"}
    create = [uv, "venv", "--quiet", "--relocatable", "--python", sys.executable if same else release, str(scratch)]
    listed = job_folder.CHILD.with_suffix(".txt")
    listed.write_text("\n".join(requirements), encoding="utf-8")
    install = [uv, "pip", "install", "--python", str(scratch / "bin/python"), "--requirements", str(listed)]
    if run_logged(create, log, variables) != 0 or run_logged(install, log, variables) != 0:
        shutil.rmtree(scratch, ignore_errors=True)
        raise InstallError("the packages cannot be installed. The log has uv's messages.")
    try:
        if not python.exists():  # One whose Python is gone gives way.
            shutil.rmtree(place, ignore_errors=True)
        scratch.rename(place)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)  # Another pod was quicker.
    return str(python)


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
