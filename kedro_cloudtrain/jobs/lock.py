"""The lock of a machine's environment: what its requirements come to, found by uv before the machine is paid for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError, JobCancelledError, LockError
from kedro_cloudtrain.jobs.requirements import pin_of, project_hashes
from kedro_cloudtrain.jobs.requirements_file import CONSTRAINT, REQUIRE_HASHES
from kedro_cloudtrain.jobs.uv_lock import FILE
from kedro_cloudtrain.secrecy import sealed, variables_of
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.children import ChildEndedError, run_child
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.storage.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# RunPod's hosts are x86-64. Every image of the last six years has a C library of at least this release.
PLATFORM = "x86_64-manylinux_2_28"
_QUIET = ("--quiet", "--no-config", "--no-header", "--no-annotate", "--no-progress", "--no-python-downloads")
# What only this computer is set to: a pod has none of it.
_SET_HERE = re.compile(r"UV_(INDEX|EXTRA_INDEX_URL|FIND_LINKS|CONSTRAINT|OVERRIDE|EXCLUDE|NO_INDEX|PRERELEASE|RESOLUTION|PROJECT|PYTHON)")
_TIMEOUT_S = 300.0
_AT_ONCE = threading.Lock()
_NO_VARIABLES: Mapping[str, str] = {}


def lock(requirements: Sequence[str], *, python: str, project: Path | None = None) -> tuple[str, ...]:
    """Return each package that requirements come to on a pod, in one release: the lines of a requirements file.

    What the project's `uv.lock` has, or its requirements files give hashes of, is taken as it stands there. A lock is kept: the same
    requirements have the same one until they change.

    Args:
        requirements: as `requirements` and `function_requirements` return them.
        python: the release of Python, such as `3.12`.
        project: the project's folder, if there is one.

    Raises:
        ConfigError: no releases meet the requirements, or `uv.lock` is not valid.
        LockError: that cannot be told: an index does not answer, or uv is not installed.

    Example:
        >>> lock(["six==1.16.0"], python="3.12")  # doctest: +SKIP
        ('six==1.16.0',)
    """
    if not requirements:
        return ()
    constraints = [line.removeprefix(CONSTRAINT) for line in requirements if line.startswith(CONSTRAINT)]
    exported: list[tuple[str, list[str]]] = []
    hashes: Mapping[str, Sequence[str]] = {}
    with _AT_ONCE:  # Jobs that start together have mostly the same requirements.
        if project is not None:
            exported += ((sealed(line), given) for line, given in _logical_lines(_export(project))) if (project / FILE).is_file() else ()
            constraints += [line for line, _ in exported]
            hashes = {**project_hashes(project), **{pin: given for line, given in exported if given and (pin := pin_of(line)) is not None}}
        lines = [line for line in requirements if not line.startswith((CONSTRAINT, REQUIRE_HASHES))]
        # The first index that has a package is the one that counts.
        options = [line for line in lines if line.startswith("-")]
        all_hashes = REQUIRE_HASHES in requirements
        question = json.dumps([sorted(lines), options, sorted(constraints), sorted(hashes.items()), all_hashes, python, PLATFORM])
        kept = cache_folder() / "locks" / f"{hashlib.sha256(question.encode()).hexdigest()[:16]}.txt"
        if kept.is_file():
            return tuple(kept.read_text(encoding="utf-8").splitlines())
        try:
            answer = _compile(lines, constraints, python, all_hashes=all_hashes)
        except ConfigError as error:
            stale = f" {FILE} bounds them, too: if it is older than pyproject.toml, write it again: uv lock" if exported else ""
            raise ConfigError(f"{error.message}{stale}") from None
        locked = (*options, *(_with_hashes(line, given, hashes) for line, given in _logical_lines(answer)))
        with dispensable("The locks of packages"), whole(kept) as scratch:
            scratch.write_text("\n".join(locked), encoding="utf-8")
    return locked


def unlocked(requirements: Sequence[str]) -> tuple[str, ...]:
    """Return requirements as a pod can install them without a lock."""
    # What is constrained may not be needed; it does no harm.
    return tuple(line.removeprefix(CONSTRAINT) for line in requirements if line != REQUIRE_HASHES)


@functools.cache
def uv_release() -> str:
    """Return the release of uv that has locked the packages: a pod installs them with the same one."""
    with contextlib.suppress(LockError, OSError, subprocess.SubprocessError):
        shown = subprocess.run([_program(), "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
        if release := re.match(r"uv (\d+(\.\d+)+)", shown):
            return release[1]
    return ""


def _compile(lines: Sequence[str], constraints: Sequence[str], python: str, *, all_hashes: bool) -> str:
    variables = variables_of((*lines, *constraints))
    if any("{{" in value for value in variables.values()):
        raise LockError("only RunPod has the secret of its package index.")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "constraints.txt").write_text("\n".join(constraints), encoding="utf-8")
        options = [*_QUIET, "--python-version", python, "--python-platform", PLATFORM, "--constraints", "constraints.txt"]
        done = _uv(
            ["pip", "compile", *options, *(["--generate-hashes"] if all_hashes else []), "-"], Path(folder), "\n".join(lines), variables
        )
    if done.returncode == 0:
        return done.stdout
    reason = _reason(done.stderr)
    if "No solution found" in done.stderr:
        raise ConfigError(
            f"its packages cannot be installed together, for Python {python} on Linux: {reason} Correct the requirements, in "
            "pyproject.toml, requirements.txt or `requirements` of cloudtrain.yml."
        )
    raise LockError(f"uv cannot lock its packages now: {reason}")


def _export(project: Path) -> str:
    """Return what a project's `uv.lock` installs on any platform, each with its hashes, as a requirements file."""
    # Packages of the project's own travel as code; groups are for its developers.
    options = ["--frozen", "--no-emit-local", "--no-default-groups", "--format", "requirements-txt", "--python", sys.executable]
    done = _uv(["export", *options, *(option for option in _QUIET if option != "--no-config")], project)
    if done.returncode != 0:
        raise ConfigError(f"{project / FILE} cannot be used: {_reason(done.stderr)} Write it again: uv lock")
    return done.stdout


def _uv(
    arguments: Sequence[str], folder: Path, text: str = "", variables: Mapping[str, str] = _NO_VARIABLES
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not _SET_HERE.match(name)}
    environment |= variables
    environment |= {"UV_HTTP_RETRIES": environment.get("UV_HTTP_RETRIES", "1"), "NO_COLOR": "1"}
    silence = Silence.of(f"The package index {' or '.join(_hosts(text)) or 'that uv asks'}")
    silence.begin(_TIMEOUT_S)
    try:
        with silence.wait("the releases of the packages"):
            done = run_child([_program(), *arguments], folder=folder, environment=environment, text=text, timeout_s=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise LockError(f"uv cannot lock its packages now: no answer for {_TIMEOUT_S:g} s.") from None
    except ChildEndedError:
        raise JobCancelledError("Its packages were not locked: the run is over.") from None
    silence.answered()
    return done


def _hosts(text: str) -> list[str]:
    """Return the hosts of the indexes that requirements name."""
    urls = re.findall(r"^--(?:extra-)?index-url[= ](\S+)", text, re.MULTILINE)
    hosts = [re.sub(r"^[^:]*://(?:[^/]*@)?([^/:?#]*).*", r"\1", url) for url in urls]
    return list(dict.fromkeys(filter(None, hosts)))


def _program() -> str:
    """Return the path of uv: of the package of that name, else of the command."""
    try:
        import uv  # noqa: PLC0415  # of the extra [runpod]

        return str(uv.find_uv_bin())
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
    if path is None:
        raise LockError('its packages cannot be locked: uv is not installed. Install it: pip install "kedro-cloudtrain[runpod]"')
    return path


def _reason(stderr: str) -> str:
    """Return uv's own words as one line."""
    lines = [re.sub(r"^\s*(error|cause|╰─▶|├─▶|×):?\s*", "", line).strip() for line in stderr.split("\nhint:", maxsplit=1)[0].splitlines()]
    text = " ".join(line for line in lines if line and not line.startswith("No solution found"))
    return text if text.endswith((".", "!")) else f"{text}."


def _logical_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the requirements of a file that uv has written, each with its hashes."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        if requirement and not requirement.startswith("#"):
            yield requirement, hashes


def _with_hashes(line: str, given: Sequence[str], hashes: Mapping[str, Sequence[str]]) -> str:
    return " ".join([line, *(f"--hash={digest}" for digest in hashes.get(pin_of(line) or "", given))])
