"""Signatures of pickled outputs: reading a pickle runs code, so a client reads only what a machine with the job's key has signed."""

from __future__ import annotations

import hashlib
import hmac
import json
import os

from .protocol import JOB_KEYS_VARIABLE

_keys: dict[str, str] = {}


def take_keys() -> None:
    """Take the keys of jobs out of the environment, where the user's code and what it starts would find them."""
    _keys.update(json.loads(os.environ.pop(JOB_KEYS_VARIABLE, "{}")))


def signed(job: str, attempt: str | None, output: str, sha256: str) -> str | None:
    """Return the signature of a job's output; None where this process has no key of the job: its script is run by hand.

    Args:
        job: the job's name.
        attempt: the attempt that the result names.
        output: the output's name.
        sha256: of its content.
    """
    return signature(_keys[job], job, attempt, output, sha256) if job in _keys else None


def signature(key: str, job: str, attempt: str | None, output: str, sha256: str) -> str:
    """Return the HMAC-SHA256 of an output's identity, by a job's key."""
    return hmac.new(key.encode(), json.dumps([job, attempt or "", output, sha256]).encode(), hashlib.sha256).hexdigest()


def sealed(key: str, machine_key: str, run: str, job: str) -> str:
    """Seal a job's key for a machine that is kept, or open what was sealed: on a volume, nobody else can read it.

    Each key is sealed by a pad of its own, as long as the key, which only who has the machine's key can make.

    Args:
        key: the job's key, or a sealed one: 64 hexadecimal digits.
        machine_key: the machine's own key.
        run: the name of the machine's run.
        job: the job's name.
    """
    pad = hmac.new(machine_key.encode(), json.dumps(["seal", run, job]).encode(), hashlib.sha256).digest()
    return bytes(one ^ other for one, other in zip(bytes.fromhex(key), pad, strict=True)).hex()
