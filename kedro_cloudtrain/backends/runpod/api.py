"""A client of RunPod's REST v2, as far as jobs need it; the only importer of requests."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from kedro_cloudtrain.backends.runpod.contract import Cpu, Gpu, LogLine, NetworkVolumeInfo, Pod, PodRequest
from kedro_cloudtrain.errors import ApiError, AuthError, BackendError, BalanceError, CapacityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

DEFAULT_BASE_URL = "https://api.runpod.io"
# The front end answers 403 (1010) to whoever has none (reported).
_USER_AGENT = "kedro-cloudtrain"
# The one text that tells a want of machines from a broken rule, both of which are a 400.
_NO_CAPACITY = "no longer any instances available"
Answer = TypeVar("Answer", bound=BaseModel)

KEY_PLACES = "Give it as RUNPOD_API_KEY, or in ~/.runpod/config.toml."
_CONNECT_S, _READ_S = 10.0, 60.0
_TRIES = 5
_LONGEST_PAUSE_S = 30.0


class RunPodApi:
    """A client of REST v2; safe to be used from many threads.

    Reads are tried again; a create whose answer was lost is looked up by its name before it is tried again. `RateLimit` headers are
    obeyed: a call that would be refused waits for the next window.

    Args:
        key: the account's key; it is in no repr, message or log line.
        base_url: where the API is.
    """

    def __init__(self, key: str, base_url: str | None = None) -> None:
        self.base_url = (base_url or os.environ.get("RUNPOD_API_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        self._key = key
        self._hurried = threading.Event()
        self._local = threading.local()
        self._quota = _Quota(self._pause)
        # By how many seconds the API's clock is ahead of this one; unknown before its first answer.
        self.clock_ahead_s: float | None = None

    def __repr__(self) -> str:
        return f"RunPodApi({self.base_url!r})"

    def hurry(self) -> None:
        """Wait no longer than a moment from now on: the run is over, and its pods have to go."""
        self._hurried.set()

    def spare_s(self, share: float) -> float:
        """Say how often a call may be made, in seconds, so that it takes no more than a share of what the quota leaves."""
        return self._quota.spare_s(share)

    def pods(self) -> list[Pod]:
        """Give all pods of the account."""
        found: list[Pod] = []
        query: dict[str, str] = {}
        while True:
            said = self._read("/v2/pods", query)
            found += [_parsed(Pod, one) for one in said.get("pods", [])]
            pages = said.get("pagination") or {}
            if not pages.get("hasNextPage") or not pages.get("nextCursor"):
                return found
            query = {"cursor": str(pages["nextCursor"])}

    def pod(self, pod_id: str) -> Pod | None:
        """Give a pod; None where there is none of this id."""
        try:
            return _parsed(Pod, self._read(f"/v2/pods/{pod_id}"))
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004
                return None
            raise

    def find_pod(self, name: str) -> Pod | None:
        """Give the pod of a name; None where there is none that still is."""
        return next((pod for pod in self.pods() if pod.name == name and pod.status != "TERMINATED"), None)

    def create_pod(self, request: PodRequest) -> Pod:
        """Create a pod.

        Raises:
            CapacityError: no machine of this kind is free.
            BalanceError: the account has no money.
            AuthError: the key is not accepted.
            ApiError: anything else, the vendor's detail kept; 403 says that the account may not have this one.
        """
        said = ""
        for number in range(_TRIES):
            try:
                return _parsed(Pod, self._call("POST", "/v2/pods", json=request.body()))
            except _NoAnswerError as lost:
                said = str(lost)
            # Whether it was created is not known: a second one of the same name would be paid for, too.
            for wait_s in (0.0, 2.0):
                self._pause(wait_s)
                found = self.find_pod(request.name)
                if found is not None:
                    return found
            self._pause(_backoff_s(number))
        raise ApiError(f"RunPod's API gave no answer to a create in {_TRIES} tries: {said}. Status page: https://uptime.runpod.io")

    def terminate_pod(self, pod_id: str) -> None:
        """End a pod for good; one that is gone already is no error."""
        # Never stopped: a stopped pod bills its disk, and may come back without its GPU.
        for number in range(_TRIES):
            try:
                self._retried("DELETE", f"/v2/pods/{pod_id}")
            except ApiError as error:
                if error.status == 404:  # noqa: PLR2004
                    return
                if error.status != 409 or number == _TRIES - 1:  # noqa: PLR2004  # between two of its states
                    raise
                self._pause(_backoff_s(number))
            else:
                return

    def logs(self, pod_id: str, *, tail: int = 100, since_id: str | None = None, source: str = "container") -> Iterator[LogLine]:
        """Follow a pod's log: `tail` lines of what was, or all since a line; the stream ends with the pod, or when it breaks."""
        query = {"source": source} | ({} if since_id else {"tail": str(min(tail, 5000))})
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": since_id} if since_id else {})
        answer = self._send("GET", f"/v2/pods/{pod_id}/logs", params=query, headers=headers, stream=True)
        with answer, contextlib.suppress(*_broken()):
            event = ""
            # A byte at a time: a larger piece would wait for lines that are not written yet.
            for line in answer.iter_lines(chunk_size=1):
                name, _, value = line.decode(errors="replace").partition(":")
                if name == "id":
                    event = value.strip()
                elif name == "data":
                    with contextlib.suppress(ValueError):
                        said = json.loads(value)
                        yield LogLine(event, str(said.get("ts", "")), str(said.get("source", "")), str(said.get("line", "")))

    def gpus(self, count: int = 1) -> list[Gpu]:
        """Give the catalogue of GPUs of the secure cloud, with stock."""
        query = {"include": "AVAILABILITY", "product": "POD", "count": str(count), "cloud": "SECURE"}
        return [_parsed(Gpu, one) for one in self._read("/v2/catalog/gpus", query).get("gpus", [])]

    def cpus(self, vcpu_count: int = 4) -> list[Cpu]:
        """Give the catalogue of CPU flavours, with stock."""
        query = {"include": "AVAILABILITY", "product": "POD", "vcpuCount": str(vcpu_count)}
        return [_parsed(Cpu, one) for one in self._read("/v2/catalog/cpus", query).get("cpus", [])]

    def network_volume(self, volume_id: str) -> NetworkVolumeInfo | None:
        """Give a network volume; None where the account has none of this id."""
        try:
            return _parsed(NetworkVolumeInfo, self._read(f"/v2/network-volumes/{volume_id}"))
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004
                return None
            raise

    def bills_usd(self) -> dict[str, float]:
        """Give what each pod of the last 30 days has cost by the bill, in dollars; the bill is about an hour late."""
        found: dict[str, float] = {}
        for record in self._read("/v2/billing/pods").get("records", []):
            pod_id = str(record.get("podId", ""))
            found[pod_id] = found.get(pod_id, 0.0) + float(record.get("totalAmount", 0.0))
        return found

    def _pause(self, seconds: float) -> None:
        if not self._hurried.wait(seconds):
            return
        time.sleep(min(seconds, 1.0))

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        said: dict[str, Any] = self._retried("GET", path, params=dict(query or {}))
        return said

    def _retried(self, method: str, path: str, **more: Any) -> Any:
        said = ""
        for number in range(_TRIES):
            try:
                return self._call(method, path, **more)
            except _NoAnswerError as lost:
                said = str(lost)
            self._pause(_backoff_s(number))
        raise ApiError(f"RunPod's API gave no answer to {method} {path} in {_TRIES} tries: {said}. Is {self.base_url} reachable?")

    def _call(self, method: str, path: str, **more: Any) -> Any:
        """Send a request; a 429 waits as it says, and is sent again, since it was not worked on."""
        with self._send(method, path, **more) as answer:
            if answer.status_code == 204 or not answer.content:  # noqa: PLR2004
                return {}
            try:
                return answer.json()
            except ValueError:
                raise _NoAnswerError(f"{answer.status_code} without JSON") from None

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **more: Any) -> requests.Response:
        import requests  # noqa: PLC0415  # for who uses RunPod alone

        for number in range(_TRIES):
            self._quota.wait()
            try:
                answer = self._session.request(
                    method, f"{self.base_url}{path}", headers=dict(headers or {}), timeout=(_CONNECT_S, _READ_S), **more
                )
            except requests.RequestException as error:
                raise _NoAnswerError(type(error).__name__) from None
            wait_s = self._quota.hear(answer.headers)
            self.clock_ahead_s = _clock_ahead_s(answer.headers.get("Date"))
            if answer.status_code != 429:  # noqa: PLR2004
                break
            answer.close()
            self._pause(wait_s if wait_s is not None else _backoff_s(number))
        if answer.ok:
            return answer
        with answer:
            raise self._error(answer, method, path)

    def _error(self, answer: requests.Response, method: str, path: str) -> Exception:
        status = answer.status_code
        try:
            said = answer.json()
            detail = "; ".join(str(part) for part in (said.get("detail"), *(said.get("errors") or ())) if part)
        except (ValueError, AttributeError):
            detail = re.sub(r"<[^>]+>", " ", answer.text)[:300].strip()
        detail = detail.replace(self._key, "***") if self._key else detail
        where = f"{method} {path}"
        if status >= 500:  # noqa: PLR2004
            return _NoAnswerError(f"{status} {detail}")
        match status:
            case 401:
                return AuthError(
                    f"RunPod does not accept the API key ({detail}). Make one at https://console.runpod.io/user/settings. {KEY_PLACES}"
                )
            case 402:
                return BalanceError(f"The RunPod account has no balance ({detail}). Add some: https://console.runpod.io/user/billing")
            case 400 if _NO_CAPACITY in detail:
                return CapacityError(detail)
            case 429:
                return ApiError(f"RunPod's API refused {where} {_TRIES} times for its quota: {detail}", status, detail)
        return ApiError(f"RunPod's API answered {status} to {where}: {detail or 'no reason given'}", status, detail)

    @property
    def _session(self) -> requests.Session:
        """The thread's own session: requests' are not made to be shared."""
        if not hasattr(self._local, "session"):
            import requests  # noqa: PLC0415

            session = requests.Session()
            session.headers.update({"Authorization": f"Bearer {self._key}", "User-Agent": _USER_AGENT})
            # A ~/.netrc must not replace the key.
            session.trust_env = True
            session.auth = _bearer(self._key)
            self._local.session = session
        made: requests.Session = self._local.session
        return made


class _NoAnswerError(BackendError):
    """What was asked may have been done, or not."""


class _Quota:
    """What the `RateLimit` headers leave: a call waits where the window has none."""

    def __init__(self, pause: Callable[[float], None]) -> None:
        self._pause = pause
        self._lock = threading.Lock()
        self._left: float = float("inf")
        self._anew_at = 0.0

    def wait(self) -> None:
        """Take one call of the window's; wait for the next window where there is none."""
        while True:
            with self._lock:
                wait_s = self._anew_at - time.monotonic()
                if wait_s <= 0 or self._left >= 1:
                    self._left -= 1
                    return
            self._pause(min(wait_s, _LONGEST_PAUSE_S))

    def spare_s(self, share: float) -> float:
        """Say how often a call may be made, in seconds, so that it takes no more than a share of what is left."""
        with self._lock:
            return max(0.0, self._anew_at - time.monotonic()) / max(1.0, self._left * share)

    def hear(self, headers: Mapping[str, str]) -> float | None:
        """Learn from an answer's headers; give the seconds that a 429 asks to wait.

        The field's form is `"minute";r=0;t=12, "hour";r=2800;t=1812`: calls left, and seconds until the window is renewed.
        """
        windows = [(int(left), float(renewed_s)) for left, renewed_s in re.findall(r"r=(\d+);\s*t=(\d+)", headers.get("RateLimit", ""))]
        retry_after = headers.get("Retry-After", "")
        wait_s = float(retry_after) if retry_after.isdigit() else None
        if wait_s is not None:
            windows.append((0, wait_s))
        if windows:
            left, renewed_s = min(windows)
            now = time.monotonic()
            with self._lock:
                anew_at = now + renewed_s
                # Calls that are under way are not in an older answer's count: within a window it only falls.
                same_window = now < self._anew_at and abs(anew_at - self._anew_at) < max(2.0, renewed_s * 0.1)
                self._left = min(self._left, left) if same_window else left
                self._anew_at = anew_at
        return wait_s


def _bearer(key: str) -> Callable[[Any], Any]:
    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign


def _clock_ahead_s(date: str | None) -> float | None:
    try:
        return time.time() - parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None


def _broken() -> tuple[type[Exception], ...]:
    import requests  # noqa: PLC0415

    return (requests.RequestException, OSError)


def _backoff_s(number: int) -> float:
    return min(_LONGEST_PAUSE_S, 0.5 * 2.0**number)


def _parsed(model: type[Answer], value: object) -> Answer:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        what = ", ".join(".".join(str(part) for part in one["loc"]) for one in error.errors())
        raise ApiError(f"RunPod's API gave a {model.__name__} that is none: {what}.") from None
