"""The upload of a large file to an S3 store, in parts."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import threading
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.errors import ApiError, SourceError
from kedro_cloudtrain.storage.disk import dispensable
from kedro_cloudtrain.storage.files import whole
from kedro_cloudtrain.storage.threads import DaemonExecutor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kedro_cloudtrain.storage.s3 import S3Store

# 413 is reported above about 100 MB, though RunPod's docs say 500.
PART_BYTES = 64 * 1024 * 1024
_PARTS_AT_ONCE = 4


@dataclasses.dataclass
class LargeUpload:
    """The upload of a large file in parts; the parts that have arrived are noted on this computer, so that a later call resumes it.

    Attributes:
        store: where the file goes.
        file: the file on this computer.
        key: its key in the store.
        size: in bytes.
        md5: of the whole file; the upload of another content begins anew.
    """

    store: S3Store
    file: Path
    key: str
    size: int
    md5: str

    def send(self, report: Callable[[int], None]) -> None:
        """Send the parts that the store lacks, and put all parts together.

        Args:
            report: called with the number of bytes of each part that the store has.
        """
        client, place = self.store.large_client, self.store.place(self.key)
        upload_id, done = self._broken_off()
        if upload_id is None:
            upload_id = self.store.retry(self.key, lambda: client.create_multipart_upload(**place))["UploadId"]
        self._write_note(upload_id, done)
        lock = threading.Lock()

        def send_part(number: int) -> None:
            start = (number - 1) * PART_BYTES
            with self.file.open("rb") as stream:
                stream.seek(start)
                content = stream.read(PART_BYTES)

            def upload() -> Any:
                return client.upload_part(**place, UploadId=upload_id, PartNumber=number, Body=self.store.moving(content))

            response = self.store.retry(self.key, upload)
            with lock:
                done[number] = response["ETag"]
                self._write_note(upload_id, done)
                report(len(content))

        count = -(-self.size // PART_BYTES)
        report(sum(min(PART_BYTES, self.size - (number - 1) * PART_BYTES) for number in done))
        pool = DaemonExecutor(_PARTS_AT_ONCE, "cloudtrain-parts")
        try:
            list(pool.map(send_part, [number for number in range(1, count + 1) if number not in done]))
        except Exception:
            pool.close(None, cancel_futures=True)
            raise
        finally:
            # After Ctrl-C, a part that hangs is not waited for.
            pool.close(0.0, cancel_futures=True)
        parts = [{"PartNumber": number, "ETag": done[number]} for number in sorted(done)]
        self._complete(lambda: client.complete_multipart_upload(**place, UploadId=upload_id, MultipartUpload={"Parts": parts}))
        self._note.unlink(missing_ok=True)

    def _complete(self, call: Callable[[], Any]) -> None:
        """Put the parts together; a lost answer (524) may hide a success, which the size in the store reveals."""

        def complete() -> None:
            try:
                call()
            except self.store.broken:
                head = self.store.head(self.key)
                if head is None or head["ContentLength"] != self.size:
                    raise

        self.store.retry(self.key, complete)

    def _broken_off(self) -> tuple[str | None, dict[int, str]]:
        """Return the id of an upload that broke off and the ETags of its parts in the store; no id if there is none to resume."""
        note = self._read_note()
        upload_id, client, place = note.get("upload_id"), self.store.client, self.store.place(self.key)
        if upload_id is None:
            return None, {}
        try:
            response = self.store.retry(self.key, lambda: client.list_parts(**place, UploadId=upload_id))
        except (SourceError, ApiError):
            return None, {}
        stored = {part["PartNumber"]: part["ETag"] for part in response.get("Parts", [])}
        noted = {int(number): etag for number, etag in note.get("parts", {}).items()}
        return upload_id, {number: etag for number, etag in noted.items() if stored.get(number) == etag}

    @property
    def _note(self) -> Path:
        """The file that notes what has arrived."""
        upload = hashlib.sha256(f"{self.store.name} {self.key} {self.size} {self.md5}".encode()).hexdigest()[:16]
        return self.store.folder(f".cloudtrain/uploads/{upload}.json")

    def _read_note(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            note: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
            return note
        return {}

    def _write_note(self, upload_id: str, done: dict[int, str]) -> None:
        with dispensable("What has been uploaded already"), whole(self._note) as temporary:
            temporary.write_text(json.dumps({"upload_id": upload_id, "parts": done}), encoding="utf-8")
