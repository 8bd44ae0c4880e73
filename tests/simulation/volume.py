"""A network volume without a network: what boto3's client does with a bucket, at the world's time, with faults that a seed decides."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from simulation.scheduler import Scheduler

ENDPOINT = "http://s3.simulated"
_ANSWER_S = (0.005, 0.15)
_READ_TIMEOUT_S = 20.0


class Bucket:
    """The volume's files, by key."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def below(self, prefix: str) -> list[str]:
        return sorted(key for key in self.files if key.startswith(prefix))


class _Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while piece := self.read(size):
            yield piece


class S3Client:
    """One process's client of the volume.

    Attributes:
        rate: how many of a hundred requests fail.
        outage_until: until when no request is answered.
        drawn: how many faults of each kind there were.
    """

    def __init__(self, scheduler: Scheduler, chance: random.Random, bucket: Bucket, faults: S3Faults) -> None:
        self._scheduler = scheduler
        self._chance = chance
        self._bucket = bucket
        self._faults = faults
        self.meta = type("Meta", (), {"endpoint_url": ENDPOINT})()

    def get_object(self, Bucket: str, Key: str, Range: str | None = None, IfMatch: str | None = None) -> dict[str, Any]:  # noqa: N803
        with self._answered("GET"):
            content = self._content(Key)
            if IfMatch is not None and IfMatch != _etag(content):
                raise _refusal(412, "PreconditionFailed")
            if Range is None:
                return {"Body": _Body(content), "ContentLength": len(content), "ETag": _etag(content)}
            first, _, last = Range.removeprefix("bytes=").partition("-")
            if int(first) >= len(content):
                raise _refusal(416, "InvalidRange")
            part = content[int(first) : int(last) + 1 if last else None]
            return {"Body": _Body(part), "ContentLength": len(part), "ETag": _etag(content), "ContentRange": f"bytes {Range}"}

    def head_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        with self._answered("HEAD"):
            content = self._content(Key)
            return {"ContentLength": len(content), "ETag": _etag(content)}

    def put_object(self, Bucket: str, Key: str, Body: Any) -> dict[str, Any]:  # noqa: N803
        with self._answered("PUT"):
            content = Body if isinstance(Body, bytes) else Body.read()
            self._bucket.files[Key] = content
            return {"ETag": _etag(content)}

    def delete_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        with self._answered("DELETE"):
            self._bucket.files.pop(Key, None)
            return {}

    def get_paginator(self, name: str) -> S3Client:
        assert name == "list_objects_v2"
        return self

    def paginate(self, Bucket: str, Prefix: str, Delimiter: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        with self._answered("LIST"):
            keys = [key for key in self._bucket.below(Prefix) if Delimiter not in key[len(Prefix) :]]
            files = [{"Key": key, "Size": len(self._bucket.files[key]), "ETag": _etag(self._bucket.files[key])} for key in keys]
            yield {"Contents": files}

    def _content(self, key: str) -> bytes:
        if key not in self._bucket.files:
            raise _refusal(404, "NoSuchKey")
        return self._bucket.files[key]

    def _answered(self, method: str) -> _Answered:
        return _Answered(self._scheduler, self._chance, self._faults, method)


class S3Faults:
    """Faults of the volume that a seed decides.

    Attributes:
        rate: how many of a hundred requests fail.
        outage_until: until when no request is answered.
        drawn: how many faults of each kind there were.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.rate = 0.0
        self.outage_until = self.outages_s = 0.0
        self.drawn: dict[str, int] = {}

    def draw(self, method: str, now: float) -> str | None:
        if now < self.outage_until:
            return self._counted("an outage")
        if self._chance.random() * 100 >= self.rate:
            return None
        kinds = (
            "500",
            "503",
            "524",
            "break",
            "no answer",
            *(("524 though it worked", "lost answer") if method in ("PUT", "DELETE") else ()),
        )
        return self._counted(self._chance.choice(kinds))

    def _counted(self, kind: str) -> str:
        self.drawn[f"S3: {kind}"] = self.drawn.get(f"S3: {kind}", 0) + 1
        return kind


class _Answered:
    """One request: fails before it is carried out, or after."""

    def __init__(self, scheduler: Scheduler, chance: random.Random, faults: S3Faults, method: str) -> None:
        self._scheduler, self._chance = scheduler, chance
        self._kind = faults.draw(method, scheduler.now)

    def __enter__(self) -> None:
        self._scheduler.sleep(self._chance.uniform(*_ANSWER_S))
        match self._kind:
            case "500" | "503" | "524":
                raise _refusal(int(self._kind), "Internal")
            case "an outage" | "break":
                raise EndpointConnectionError(endpoint_url=ENDPOINT)
            case "no answer":
                self._scheduler.sleep(_READ_TIMEOUT_S)
                raise ReadTimeoutError(endpoint_url=ENDPOINT)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self._kind == "524 though it worked":
            raise _refusal(524, "Timeout")
        if kind is None and self._kind == "lost answer":
            raise EndpointConnectionError(endpoint_url=ENDPOINT)
        self._scheduler.sleep(0.0)


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _refusal(status: int, code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "simulated")
