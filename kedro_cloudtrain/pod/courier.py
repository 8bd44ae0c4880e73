"""What a pod without a network volume runs first: brings the job folder here from a bucket, and takes what the job writes back to it.

Standard library alone, and a file by itself: the pod reads it by a URL that is good for that alone. The bucket is reached by such URLs, one
a file, so that the pod has no key of it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

_EVERY_S = 2.0
_TRIES = 6
# Longer than this, a bucket that does not answer keeps no pod.
_DELIVERY_S = 300.0
_MIRRORED = ("log.txt", "progress.jsonl", "heartbeat.json")


def main() -> None:
    """Bring the folder, start the job, mirror it until its result is delivered; the job's own bootstrap ends the pod."""
    try:
        said: dict[str, Any] = json.loads(get(os.environ["CLOUDTRAIN_STORE"]))
        folder = Path(f"/tmp/cloudtrain-{os.environ.get('RUNPOD_POD_ID', 'pod')}/.cloudtrain/jobs") / said["job"]  # noqa: S108
        for name, url in said["read"].items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(get(url))
        unpack_checkpoint(folder, said["checkpoint"]["read"])
        started = subprocess.Popen([sys.executable, str(folder / "bootstrap.py")], env={**os.environ, "CLOUDTRAIN_COURIER": "1"})
    except Exception as error:  # noqa: BLE001  # whatever it is: the pod must not outlive it
        say(f"the job cannot be brought here: {type(error).__name__}: {error}")
        end_pod()
    else:
        # By itself: a large state must not keep the heartbeats.
        threading.Thread(target=carry_checkpoints, args=(folder, said["checkpoint"]["write"]), daemon=True).start()
        mirror(folder, said)
        started.wait()


def mirror(folder: Path, said: dict[str, Any]) -> None:
    """Write what changes to the bucket, read `machine.json` again, and deliver the result last."""
    sent: dict[str, tuple[int, int]] = {}
    while True:
        done = (folder / "result.json").is_file()
        for name in _MIRRORED:
            with contextlib.suppress(OSError):
                put_changed(folder / name, said["write"][name], sent)
        if done:
            break
        with contextlib.suppress(OSError, ValueError):
            content = get(said["read"]["machine.json"], tries=1)
            json.loads(content)
            temporary = folder / ".machine.json.new"
            temporary.write_bytes(content)
            temporary.replace(folder / "machine.json")
        time.sleep(_EVERY_S)
    give_up_at = time.monotonic() + _DELIVERY_S
    while time.monotonic() < give_up_at:
        try:
            put(said["write"]["outputs.zip"], packed(folder))
            put(said["write"]["result.json"], (folder / "result.json").read_bytes())
        except OSError as error:
            say(f"the result cannot be delivered yet: {type(error).__name__}")
            time.sleep(_EVERY_S)
        else:
            break
    (folder / "delivered").write_text("", encoding="utf-8")


def unpack_checkpoint(folder: Path, url: str) -> None:
    """Bring the state that a lost machine has left here, where there is one; without it the work begins anew."""
    archive = folder / "checkpoint.zip"
    with contextlib.suppress(OSError, zipfile.BadZipFile):
        archive.write_bytes(get(url, tries=1))
        with zipfile.ZipFile(archive) as packing:
            packing.extractall(folder / "checkpoint")


def carry_checkpoints(folder: Path, url: str) -> None:
    """Write each new state to the bucket, as one file, which is replaced as a whole."""
    place, archive = folder / "checkpoint", folder / "checkpoint.zip"
    sent: list[tuple[str, int]] = []
    while not (folder / "result.json").is_file():
        # One that is replaced or taken away meanwhile is packed the next time.
        with contextlib.suppress(OSError, ValueError, KeyError):
            latest = place / "latest.json"
            files = [latest, *sorted((place / json.loads(latest.read_bytes())["folder"]).rglob("*"))]
            found = [(str(file.relative_to(place)), file.stat().st_mtime_ns) for file in files if file.is_file()]
            if found != sent:
                with zipfile.ZipFile(archive, "w") as packing:
                    for name, _ in found:
                        packing.write(place / name, name)
                put(url, archive.read_bytes(), tries=2)
                sent = found
        time.sleep(_EVERY_S)


def packed(folder: Path) -> bytes:
    """Pack what the job has left."""
    archive = folder / "outputs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packing:
        for file in sorted((folder / "outputs").rglob("*")):
            if file.is_file():
                packing.write(file, file.relative_to(folder))
    return archive.read_bytes()


def put_changed(file: Path, url: str, sent: dict[str, tuple[int, int]]) -> None:
    """Write a file, where it is another than the last time."""
    status = file.stat()
    version = (status.st_mtime_ns, status.st_size)
    if sent.get(file.name) != version:
        put(url, file.read_bytes(), tries=1)
        sent[file.name] = version


def get(url: str, tries: int = _TRIES) -> bytes:
    """Read a file of the bucket."""
    content: bytes = _asked(urllib.request.Request(url), tries)  # noqa: S310  # the client has signed it
    return content


def put(url: str, content: bytes, tries: int = _TRIES) -> None:
    """Write a file of the bucket."""
    _asked(urllib.request.Request(url, data=content, method="PUT", headers={"Content-Type": ""}), tries)  # noqa: S310


def _asked(request: urllib.request.Request, tries: int) -> bytes:
    for number in range(tries):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            # Its words hold the URL, which is a key of a kind.
            last = OSError(f"{request.get_method()}: {error.code}")
        except OSError as error:
            last = OSError(f"{request.get_method()}: {type(error).__name__}")
        if number < tries - 1:
            time.sleep(min(20.0, 0.5 * 2.0**number))
    raise last


def say(line: str) -> None:
    """Write a line of the pod's own log."""
    print(f"cloudtrain: {line}", flush=True)  # noqa: T201  # a pod's log is its stdout


def end_pod() -> None:
    """End the pod where no job has begun; the bootstrap, which knows more ways, is not here."""
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
            time.sleep(5.0)


if __name__ == "__main__":
    main()
