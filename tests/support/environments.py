"""Environments of their own for packages that would take part in every other test: they lie over the environment of the tests."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def make_environment(folder: Path, *requirements: str) -> Path:
    """Make an environment with what is required, where this environment has it not, or in another release.

    All else comes from this environment, whose modules have been compiled: a new environment compiles some thousand modules.

    Returns:
        Its Python.
    """
    uv("venv", "--python", sys.executable, folder)
    python = folder / "bin/python"
    lines = uv("pip", "compile", "--no-header", "--no-annotate", "-", text="\n".join(requirements)).splitlines()
    here = {canonicalize_name(each.metadata["Name"]): each.version for each in importlib.metadata.distributions()}
    others = [line for line in lines if not is_met(Requirement(line), here)]
    uv("pip", "install", "--python", python, "--no-deps", "-r", "-", text="\n".join(others))
    (beneath,) = folder.glob("lib/python*/site-packages")
    (beneath / "beneath.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return python


def is_met(requirement: Requirement, installed: dict[str, str]) -> bool:
    version = installed.get(canonicalize_name(requirement.name))
    return version is not None and requirement.specifier.contains(version, prereleases=True)


def uv(*arguments: str | Path, text: str = "") -> str:
    done = subprocess.run([sys.executable, "-m", "uv", "-q", *arguments], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
