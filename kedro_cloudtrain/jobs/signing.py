"""The keys by which machines sign pickled outputs, and the client's check of what comes back."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.worker.protocol import JOB_KEYS_VARIABLE, MASTER_KEY_VARIABLE
from kedro_cloudtrain.worker.signatures import signature

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.jobs.result import JobOutput, JobResult

# A reader of a signed result can try out keys, and would find a word.
_LEAST_LETTERS = 24
_DIGITS = 64


def signing_environment(job: str) -> dict[str, str]:
    """Return the environment variable by which a job's machine signs its outputs.

    Raises:
        ConfigError: there is no key, and none can be made.
    """
    return {JOB_KEYS_VARIABLE: json.dumps({job: job_key(job)})}


def is_signed(job: str, result: JobResult, name: str, output: JobOutput) -> bool:
    """Return whether a machine with this client's key of the job has signed an output.

    Raises:
        ConfigError: there is no key, and none can be made.
    """
    wanted = signature(job_key(job), job, result.attempt, name, output.sha256)
    return hmac.compare_digest(wanted.encode(), output.signature.encode())


def job_key(job: str) -> str:
    """Return a job's key: of the master key, which no machine has, and the job's name.

    Raises:
        ConfigError: there is no master key, and none can be made.
    """
    return hmac.new(_master_key().encode(), job.encode(), hashlib.sha256).hexdigest()


def _master_key() -> str:
    """Return the key that a team has in its environment, or else this user's own, which is made at the first call.

    Raises:
        ConfigError: that of the environment is too short, or the user's own cannot be read or written.
    """
    given = os.environ.get(MASTER_KEY_VARIABLE, "").strip()
    if given and len(given) < _LEAST_LETTERS:
        raise ConfigError(
            f"{MASTER_KEY_VARIABLE} has {len(given)} letters, and a key needs {_LEAST_LETTERS} at least. Make one: "
            'python -c "import secrets; print(secrets.token_hex(32))"'
        )
    if given:
        return given
    try:
        return _own_key(cache_folder() / "signing-key")
    except (OSError, RuntimeError) as error:  # a RuntimeError where there is no home
        raise ConfigError(
            f"The key that signs what machines return cannot be kept: {error}. Set XDG_CACHE_HOME to a folder that can be written, or "
            f"{MASTER_KEY_VARIABLE} to a key of your own."
        ) from error


def _own_key(file: Path) -> str:
    """Return the key in a file, which only its owner can read; where there is none, or half of one, a new one."""
    for _ in range(2):
        with contextlib.suppress(FileNotFoundError):
            key = file.read_text(encoding="ascii", errors="replace").strip()
            if len(key) == _DIGITS:
                return key
            file.unlink(missing_ok=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{secrets.token_hex(6)}")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(_DIGITS // 2))
        try:
            # Another client may be making one at the same moment: the first one stays.
            with contextlib.suppress(FileExistsError):
                os.link(new, file)
        finally:
            new.unlink()
    return file.read_text(encoding="ascii").strip()
