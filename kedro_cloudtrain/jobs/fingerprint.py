"""What names a job: the same work has the same fingerprint, and therefore the same folder."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from kedro_cloudtrain.jobs.worker_archive import worker_digest
from kedro_cloudtrain.storage.identity import KIND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_cloudtrain.jobs.code import Code


class Fingerprint(BaseModel):
    """What names a piece of work: the same work finds the same folder, whichever client asks for it again.

    GPU, budget, backend and paths are not part of it.

    Attributes:
        script: sha256 of the rendered script, which holds parameters, columns and seeds.
        inputs: each input's identity (ETag, or size and time, or the content's sha256) by the input's name; None if it has no identity.
        code: sha256 of the code that the script imports.
        requirements: what the job installs, as pip writes it.
        kinds: what each identity was made of, by the input's name: `etag`, `time` or `content`; not part of what names the work.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    script: str
    inputs: dict[str, JsonValue] = Field(default_factory=dict)
    code: str = ""
    requirements: tuple[str, ...] = ()
    kinds: dict[str, str] = Field(default_factory=dict)

    @classmethod
    def of(cls, script: str, inputs: Mapping[str, JsonValue], code: str, requirements: Sequence[str] = ()) -> Self:
        """Return the fingerprint of a script and what it needs."""
        digest = hashlib.sha256(script.encode()).hexdigest()
        kinds = {name: str(identity.get(KIND, "etag")) if isinstance(identity, dict) else "content" for name, identity in inputs.items()}
        contents: dict[str, JsonValue] = {
            name: {key: value for key, value in identity.items() if key != KIND} if isinstance(identity, dict) else identity
            for name, identity in inputs.items()
        }
        return cls(script=digest, inputs=contents, code=code, requirements=tuple(requirements), kinds=kinds)

    @property
    def digest(self) -> str:
        """64 hexadecimal digits."""
        text = json.dumps([self.script, self.inputs, self.code, self.requirements], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def unidentified(self) -> list[str]:
        """The inputs without an identity: such inputs always count as changed."""
        return [name for name, identity in self.inputs.items() if identity is None]

    @property
    def input_digests(self) -> dict[str, str]:
        """The kind of each input's identity and twelve digits of it, as `etag:0123456789ab`; `unknown` where it has none."""
        digests = {
            name: f"{self.kinds.get(name, 'etag')}:{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]}"
            for name, identity in self.inputs.items()
        }
        return digests | dict.fromkeys(self.unidentified, "unknown")


def code_digest(code: Code | None) -> str:
    """Return the sha256 of the code that a script imports: the worker's, and the project's where the script imports any of that."""
    return worker_digest() if code is None else hashlib.sha256((worker_digest() + code.digest).encode()).hexdigest()


def job_name(node: str, digest: str) -> str:
    """Return the name of a job and its folder: the node's name as a file name, and the first twelve digits of its fingerprint."""
    return f"{re.sub(r'[^A-Za-z0-9_]+', '-', node).strip('-')[:80] or 'job'}-{digest[:12]}"


def name_patterns(job: str, digits: str = "12") -> tuple[str, str, str]:
    """Return the patterns by which a user names a job, the first that matches wins: its name, its node's, how its name begins.

    Args:
        job: what the user wrote.
        digits: how many digits of the fingerprint a name has, as a regular expression repeats them.
    """
    return re.escape(job), f"{re.escape(job_name(job, ''))}[0-9a-f]{{{digits}}}", f"{re.escape(job)}.*"
