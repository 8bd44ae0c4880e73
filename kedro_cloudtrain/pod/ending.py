"""The end of a pod: at its deadline by a watchdog, after its job by itself, in one way after another until it is gone."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import subprocess
import urllib.request
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any, NoReturn

from . import job_folder
from .log import kill_job, print_line

if TYPE_CHECKING:
    from collections.abc import Iterator

_DELIVERY_S = 330.0
_LOOK_AGAIN_S = 15.0
_ASK_AGAIN_S = (2.0, 5.0, 15.0, 30.0, 60.0)


def watch(lifetime_s: float) -> None:
    """Wait for the pod's deadline, end the job with a result, and end the pod.

    The deadline may come nearer: the client learns what the pod really costs once it is created.
    """
    began, attempt = time(), os.environ.get("CLOUDTRAIN_ATTEMPT", "")
    waited_s = 0.0
    while waited_s < lifetime_s:
        pause_s = min(_LOOK_AGAIN_S, lifetime_s - waited_s)
        sleep(pause_s)
        waited_s += pause_s
        machine = job_folder.read_machine()
        if machine.get("attempt") == attempt:
            lifetime_s = min(lifetime_s, float(machine.get("lifetime_s") or lifetime_s))
    message = f"its pod's deadline of {lifetime_s:g} s has passed"
    print_line(message)
    kill_job()
    with contextlib.suppress(OSError):
        job_folder.write_failure("timed out", "Timeout", message, "machine", began)
    end_pod()


def end_pod() -> NoReturn:
    """Ask RunPod to end this pod, in each possible way, until it is gone; this function never returns.

    The pod's own key allows that and little else. `action: terminate` is reported to work; the other ways are tried in case it does not.
    """
    _await_delivery()
    for pause_s in itertools.chain(_ASK_AGAIN_S, itertools.repeat(_ASK_AGAIN_S[-1])):
        for outcome in _terminate(os.environ.get("RUNPOD_POD_ID", "")):
            print_line(outcome)
            sleep(pause_s)
    raise AssertionError  # the pauses never end


def _terminate(pod: str) -> Iterator[str]:
    base = (os.environ.get("RUNPOD_API_BASE_URL") or "https://api.runpod.io").rstrip("/")
    whole = str(job_folder.read_machine().get("pod") or "")
    if whole.startswith("cluster/"):  # One of its members cannot be ended by itself.
        yield _request("DELETE", f"{base}/v2/clusters/{whole.partition('/')[2]}")
    yield _request("POST", f"{base}/v2/pods/{pod}/action", {"action": "terminate"})
    yield _request("DELETE", f"{base}/v2/pods/{pod}")
    yield _request("POST", f"{base}/graphql", {"query": f'mutation {{ podTerminate(input: {{podId: "{pod}"}}) }}'})
    command = ["runpodctl", "remove", "pod", pod]
    try:
        outcome = str(subprocess.run(command, capture_output=True, timeout=60, check=False).returncode)
    except (OSError, subprocess.SubprocessError) as error:
        outcome = type(error).__name__
    yield f"{' '.join(command)}: {outcome}"


def _await_delivery() -> None:
    """On a pod without a volume, wait until the courier has delivered the result, but not for ever."""
    give_up_at = monotonic() + _DELIVERY_S
    has_courier, has_result = bool(os.environ.get("CLOUDTRAIN_COURIER")), (job_folder.FOLDER / "result.json").exists()
    while has_courier and has_result and not (job_folder.FOLDER / "delivered").exists() and monotonic() < give_up_at:
        sleep(0.2)


def _request(method: str, url: str, body: dict[str, Any] | None = None) -> str:
    # Without a User-Agent, RunPod's front end answers 403 (reported).
    headers = {"Content-Type": "application/json", "User-Agent": "kedro-cloudtrain"}
    headers["Authorization"] = f"Bearer {os.environ.get('RUNPOD_API_KEY', '')}"
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310  # RunPod's own API, or its stand-in
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return f"{method} {url}: {response.status}"
    except OSError as error:  # an HTTPError with its status code, or no connection
        return f"{method} {url}: {getattr(error, 'code', type(error).__name__)}"
