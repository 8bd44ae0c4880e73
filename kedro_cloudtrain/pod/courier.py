"""The first program on a pod without a network volume: brings the job folder from a bucket, and the job's files back to the bucket.

It needs nothing but the standard library: the pod reads this one file by a URL that is signed for it. The pod has no key of the bucket: it
reads and writes each file by a signed URL of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from time import monotonic, sleep
from typing import Any

_EVERY_S = 2.0
_TRIES = 6
# A bucket that does not answer for longer than this keeps no pod running.
_DELIVERY_S = 300.0
# What zipfile raises for a file that is cut off or is not an archive.
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)
_MIRRORED = ("log.txt", "progress.jsonl", "heartbeat.json")


def main() -> None:
    """Bring the job folder, start the job, and mirror it until its result is delivered; the job's own bootstrap ends the pod."""
    try:
        store: dict[str, Any] = json.loads(get(os.environ["CLOUDTRAIN_STORE"]))
        folder = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}/.cloudtrain/jobs") / store["job"]  # noqa: S108
        for name, url in store["read"].items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(get(url))
        unpack_checkpoint(folder, store["checkpoint"]["read"])
        bootstrap = subprocess.Popen([sys.executable, str(folder / "bootstrap.py")], env={**os.environ, "CLOUDTRAIN_COURIER": "1"})
    except Exception as error:  # noqa: BLE001  # whatever it is: the pod must not outlive it
        log(f"the job folder cannot be brought to this pod: {type(error).__name__}: {error}")
        end_pod()
    else:
        # In a thread of its own: a large checkpoint must not delay the heartbeats.
        threading.Thread(target=carry_checkpoints, args=(folder, store["checkpoint"]["write"]), daemon=True).start()
        mirror(folder, store)
        bootstrap.wait()


def mirror(folder: Path, store: dict[str, Any]) -> None:
    """Write changed files to the bucket, read `machine.json` again, and deliver the result last."""
    sent: dict[str, tuple[int, int]] = {}
    while True:
        done = (folder / "result.json").is_file()
        for name in _MIRRORED:
            with contextlib.suppress(OSError):
                put_changed(folder / name, store["write"][name], sent)
        if done:
            break
        with contextlib.suppress(OSError, ValueError, RecursionError):
            content = get(store["read"]["machine.json"], tries=1)
            json.loads(content)
            temporary = folder / ".machine.json.new"
            temporary.write_bytes(content)
            temporary.replace(folder / "machine.json")
        sleep(_EVERY_S)
    give_up_at = monotonic() + _DELIVERY_S
    while monotonic() < give_up_at:
        try:
            put(store["write"]["outputs.zip"], pack_outputs(folder))
            put(store["write"]["result.json"], (folder / "result.json").read_bytes())
        except OSError as error:
            log(f"the result cannot be delivered yet: {type(error).__name__}")
            sleep(_EVERY_S)
        else:
            break
    (folder / "delivered").write_text("", encoding="utf-8")


def unpack_checkpoint(folder: Path, url: str) -> None:
    """Bring the checkpoint that a lost machine has left in the bucket; without one the work begins anew."""
    archive = folder / "checkpoint.zip"
    with contextlib.suppress(OSError, *_BROKEN_ZIP):
        archive.write_bytes(get(url, tries=1))
        with zipfile.ZipFile(archive) as packing:
            packing.extractall(folder / "checkpoint")


def carry_checkpoints(folder: Path, url: str) -> None:
    """Write each new checkpoint to the bucket, as one file, which replaces the one before as a whole."""
    place, archive = folder / "checkpoint", folder / "checkpoint.zip"
    sent: list[tuple[str, int]] = []
    while not (folder / "result.json").is_file():
        # A checkpoint that is replaced or removed while it is packed is packed the next time.
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            latest = place / "latest.json"
            paths = [latest, *sorted((place / json.loads(latest.read_bytes())["folder"]).rglob("*"))]
            files = [(str(path.relative_to(place)), path.stat().st_mtime_ns) for path in paths if path.is_file()]
            if files != sent:
                with zipfile.ZipFile(archive, "w") as packing:
                    for name, _ in files:
                        packing.write(place / name, name)
                put(url, archive.read_bytes(), tries=2)
                sent = files
        sleep(_EVERY_S)


def pack_outputs(folder: Path) -> bytes:
    """Pack the job's outputs, and return the archive's content."""
    archive = folder / "outputs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packing:
        for file in sorted((folder / "outputs").rglob("*")):
            if file.is_file():
                packing.write(file, file.relative_to(folder))
    return archive.read_bytes()


def put_changed(file: Path, url: str, sent: dict[str, tuple[int, int]]) -> None:
    """Write a file to the bucket if it has changed since the last time."""
    status = file.stat()
    version = (status.st_mtime_ns, status.st_size)
    if sent.get(file.name) != version:
        put(url, file.read_bytes(), tries=1)
        sent[file.name] = version


def get(url: str, tries: int = _TRIES) -> bytes:
    """Read a file of the bucket."""
    content: bytes = _send(urllib.request.Request(url), tries)  # noqa: S310  # the client has signed it
    return content


def put(url: str, content: bytes, tries: int = _TRIES) -> None:
    """Write a file of the bucket."""
    _send(urllib.request.Request(url, data=content, method="PUT", headers={"Content-Type": ""}), tries)  # noqa: S310


def _send(request: urllib.request.Request, tries: int) -> bytes:
    for number in range(tries):
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            # Its own message would hold the URL, which is a kind of key.
            last = OSError(f"{request.get_method()}: {error.code}")
        except OSError as error:
            last = OSError(f"{request.get_method()}: {type(error).__name__}")
        if number < tries - 1:
            sleep(min(20.0, 0.5 * 2.0**number))
    raise last


def log(line: str) -> None:
    """Write a line to the pod's own log."""
    print(f"cloudtrain: {line}", flush=True)  # noqa: T201  # a pod's log is its stdout


def end_pod() -> None:
    """End a pod on which no job has begun; the bootstrap, which knows more ways, could not be brought."""
    base = (os.environ.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io").rstrip("/")
    pod = os.environ.get("RUNPOD_POD_ID", "")
    headers = {
        "Authorization": f"Bearer {os.environ.get('RUNPOD_API_KEY', '')}",
        "Content-Type": "application/json",
        "User-Agent": "kedro-cloudtrain",
    }
    while True:
        for method, path, body in (("POST", f"{pod}/action", b'{"action": "terminate"}'), ("DELETE", pod, None)):
            with contextlib.suppress(OSError):
                request = urllib.request.Request(f"{base}/v2/pods/{path}", data=body, method=method, headers=headers)  # noqa: S310
                urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
            sleep(5.0)


if __name__ == "__main__":
    main()
