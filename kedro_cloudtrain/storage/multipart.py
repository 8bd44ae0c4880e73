"""A large file on its way to a network volume in parts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kedro_cloudtrain.errors import ApiError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")

# 413 is reported above about 100 MB, though RunPod's docs say 500.
PART_BYTES = 64 * 1024 * 1024
_PARTS_AT_ONCE = 4


class S3Store(Protocol):
    """What an upload asks of the place that it goes to."""

    @property
    def name(self) -> str:
        """As it is shown."""
        ...

    @property
    def s3(self) -> Any:
        """boto3's client."""
        ...

    @property
    def broken(self) -> tuple[type[Exception], ...]:
        """The errors of a call whose answer did not come, or was none."""
        ...

    def folder(self, key: str) -> Path:
        """Give a folder here, for notes."""
        ...

    def place(self, key: str) -> dict[str, str]:
        """Give a key as boto3's calls take it."""
        ...

    def head(self, key: str) -> Mapping[str, Any] | None:
        """Ask for a file's size; None where there is no such file."""
        ...

    def tried(self, key: str, once: Callable[[], T]) -> T:
        """Ask until there is an answer."""
        ...


@dataclasses.dataclass
class LargeUpload:
    """A large file on its way in parts; what has arrived is noted here, so that a later call goes on with it.

    Attributes:
        volume: where it goes.
        file: where it is.
        key: its key there.
        size: in bytes.
        md5: of the whole; another content begins anew.
    """

    volume: S3Store
    file: Path
    key: str
    size: int
    md5: str

    def send(self, told: Callable[[int], None]) -> None:
        """Send what is not there yet, and put the parts together; `told` hears of each part's bytes."""
        client, place = self.volume.s3, self.volume.place(self.key)
        tried = self.volume.tried
        upload_id, done = self._begun()
        if upload_id is None:
            upload_id = tried(self.key, lambda: client.create_multipart_upload(**place))["UploadId"]
        self._note(upload_id, done)
        lock = threading.Lock()

        def put(number: int) -> None:
            start = (number - 1) * PART_BYTES
            with self.file.open("rb") as stream:
                stream.seek(start)
                content = stream.read(PART_BYTES)
            sent = tried(self.key, lambda: client.upload_part(**place, UploadId=upload_id, PartNumber=number, Body=content))
            with lock:
                done[number] = sent["ETag"]
                self._note(upload_id, done)
                told(len(content))

        count = -(-self.size // PART_BYTES)
        told(sum(min(PART_BYTES, self.size - (number - 1) * PART_BYTES) for number in done))
        with ThreadPoolExecutor(_PARTS_AT_ONCE, "cloudtrain-parts") as pool:
            list(pool.map(put, [number for number in range(1, count + 1) if number not in done]))
        parts = [{"PartNumber": number, "ETag": done[number]} for number in sorted(done)]
        self._complete(lambda: client.complete_multipart_upload(**place, UploadId=upload_id, MultipartUpload={"Parts": parts}))
        self._note_file.unlink(missing_ok=True)

    def _complete(self, once: Callable[[], Any]) -> None:
        """Put the parts together; an answer that was lost (524) may hide a success, which the size there tells."""

        def complete() -> None:
            try:
                once()
            except self.volume.broken:
                head = self.volume.head(self.key)
                if head is None or head["ContentLength"] != self.size:
                    raise

        self.volume.tried(self.key, complete)

    def _begun(self) -> tuple[str | None, dict[int, str]]:
        """Give the upload that broke, and the parts of it that the volume has; None where there is none, or it is not known any more."""
        state = self._state()
        upload_id, client, place = state.get("upload_id"), self.volume.s3, self.volume.place(self.key)
        if upload_id is None:
            return None, {}
        try:
            said = self.volume.tried(self.key, lambda: client.list_parts(**place, UploadId=upload_id))
        except (SourceError, ApiError):
            return None, {}
        known = {part["PartNumber"]: part["ETag"] for part in said.get("Parts", [])}
        noted = {int(number): etag for number, etag in state.get("parts", {}).items()}
        return upload_id, {number: etag for number, etag in noted.items() if known.get(number) == etag}

    @property
    def _note_file(self) -> Path:
        what = hashlib.sha256(f"{self.volume.name} {self.key} {self.size} {self.md5}".encode()).hexdigest()[:16]
        return self.volume.folder(f".cloudtrain/uploads/{what}.json")

    def _state(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            said: dict[str, Any] = json.loads(self._note_file.read_text(encoding="utf-8"))
            return said
        return {}

    def _note(self, upload_id: str, done: dict[int, str]) -> None:
        self._note_file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._note_file.with_suffix(".new")
        temporary.write_text(json.dumps({"upload_id": upload_id, "parts": done}), encoding="utf-8")
        temporary.replace(self._note_file)
