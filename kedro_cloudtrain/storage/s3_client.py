"""boto3's clients of an S3 server, made so that only this package tries again, and for a limited time."""

from __future__ import annotations

import functools
import hashlib
import io
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.storage.multipart import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CONNECT_S = 10.0
# A small file, or an answer about one; and between two pieces of a large one, or while the server puts parts together.
SMALL_READ_S, LARGE_READ_S = 20.0, 120.0


def make_client(
    endpoint_url: str | None,
    region: str | None,
    keys: tuple[str | None, str | None],
    read_timeout_s: float,
    check: Callable[[Mapping[str, str | None]], None],
) -> Any:
    """Return a client of boto3's.

    Args:
        endpoint_url: the server's address; None for AWS's own.
        region: the S3 region; None leaves it to boto3.
        keys: the access key and the secret key; None leaves them to boto3's own search.
        read_timeout_s: how long an answer, or its next piece, is waited for.
        check: is given the keys by their names, those that boto3 has found as well.

    Raises:
        ImportError: boto3 is not installed.
    """
    import boto3  # noqa: PLC0415  # half a second that only users of an S3 store wait for
    import botocore.session  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.credentials import Credentials  # noqa: PLC0415
    from botocore.handlers import add_expect_header  # noqa: PLC0415

    # A session of its own: threads must not share boto3's default one.
    session = botocore.session.Session()
    boto3_session = boto3.session.Session(botocore_session=session)
    session.register_component("data_loader", _descriptions(session.get_config_variable("data_path")))
    credentials = boto3_session.get_credentials() if keys[0] is None else None
    # Those that expire come from a server, not from somebody's hand.
    of_hand = credentials if type(credentials) is Credentials else None
    check(
        {"S3 access key": keys[0] or getattr(of_hand, "access_key", None), "S3 secret key": keys[1] or getattr(of_hand, "secret_key", None)}
    )
    check({"S3 session token": getattr(of_hand, "token", None)})
    client = boto3_session.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            # RunPod's S3 API does not list conditional checksums among what it supports.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            # Tries of botocore's own would multiply with those of `S3Store.retry`.
            retries={"mode": "standard", "total_max_attempts": 1},
            connect_timeout=CONNECT_S,
            read_timeout=read_timeout_s,
            max_pool_connections=64,
        ),
    )
    for operation in ("PutObject", "UploadPart"):
        # A stream is sent at once, as bytes are: a server that knows no `Expect` would cost a second each.
        client.meta.events.unregister(f"before-call.s3.{operation}", add_expect_header)
    return client


@functools.cache
def _descriptions(data_path: str | None) -> Any:
    """Return what loads botocore's descriptions of S3 and its regions: megabytes of JSON, which all clients of a process share."""
    from botocore.loaders import create_loader  # noqa: PLC0415

    return create_loader(data_path)


class Moving(io.BytesIO):
    """A content that is sent, which reports that it is read: a slow upload is not a silent one.

    Args:
        content: the bytes.
        moved: called at each read.
    """

    def __init__(self, content: bytes, moved: Callable[[], None]) -> None:
        super().__init__(content)
        self._moved = moved

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on."""
        self._moved()
        return super().read(size)


class BreakError(Exception):
    """A transfer broke off; another try may complete it."""


def etags_of(file: Path, size: int) -> tuple[str, str]:
    """Return what an S3 server may use as a file's ETag: its MD5, or after a multipart upload that of its parts' MD5s with their number."""
    whole = hashlib.md5(usedforsecurity=False)
    sums = []
    with file.open("rb") as stream:
        while piece := stream.read(PART_BYTES):
            whole.update(piece)
            sums.append(hashlib.md5(piece, usedforsecurity=False).digest())
    parts = hashlib.md5(b"".join(sums), usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{parts}-{len(sums)}" if size > PART_BYTES else whole.hexdigest()
