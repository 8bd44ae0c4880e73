"""A client of RunPod's REST API v2, as far as jobs need it; the only importer of requests."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import os
import re
import threading
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kedro_cloudtrain.backends.runpod.answers import Answer, Lists, log_lines, malformed_list, page_entries, parse
from kedro_cloudtrain.backends.runpod.clock import clock_ahead_s
from kedro_cloudtrain.backends.runpod.clusters import as_pod, is_cluster, joined, path_of, primary_of
from kedro_cloudtrain.backends.runpod.contract import (
    AccountLimits,
    Cluster,
    ClusterBill,
    Cpu,
    Gpu,
    LogLine,
    NetworkVolumeInfo,
    Pod,
    PodBill,
    PodRequest,
)
from kedro_cloudtrain.backends.runpod.quota import Quota
from kedro_cloudtrain.backends.runpod.refusals import STATUS_PAGE, lacks_capacity, refusal
from kedro_cloudtrain.errors import ApiError, BackendError, CapacityError
from kedro_cloudtrain.storage.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import requests

DEFAULT_BASE_URL = "https://api.runpod.io"
# The API's front end answers 403 (1010) to a request without a User-Agent (reported).
_USER_AGENT = "kedro-cloudtrain"
_MOST_PAGES = 1000
# An answer without its list is asked for again: a front end that is at fault may have written it.
_PAGE_TRIES = 3

_CONNECT_S, _READ_S = 10.0, 60.0
# Once the run is over: its pods are to be ended soon.
_HURRIED_S = (5.0, 10.0)
_TRIES = 5
_LONGEST_BACKOFF_S = 30.0
# A Date header has whole seconds, and an answer takes a moment to arrive.
_CLOCK_ERROR_S = 5.0


class RunPodApi:
    """A client of RunPod's REST API v2; thread-safe.

    Reads are retried. A create whose answer was lost is looked up by its name before it is retried. The `RateLimit` headers are obeyed:
    a call that would be refused waits for the next window.

    Args:
        key: the account's key; it appears in no repr, message or log line.
        base_url: the URL of the API.

    Attributes:
        unanswered_at: when a create was last not answered, in seconds since 1970, by the pod's name: it may be carried out later.
        is_closing: whether no pod is to be asked for any more.
        may_have_clusters: whether the account's clusters are to be listed even if no pod is a member of one: it may have no pod yet.
        clock_ahead_s: how far this computer's clock is ahead of the API's, in seconds; None before the first answer.
    """

    def __init__(self, key: str, base_url: str | None = None) -> None:
        self.base_url = (base_url or os.environ.get("RUNPOD_API_BASE_URL") or DEFAULT_BASE_URL).rstrip("/")
        self.clock_ahead_s: float | None = None
        self.unanswered_at: dict[str, float] = {}
        self.is_closing = False
        self.may_have_clusters = False
        self._key = key
        self._hurried = threading.Event()
        self._local = threading.local()
        self._quota = Quota(self._pause)
        self._lists = Lists()
        self._silence = Silence.of(f"RunPod's API ({self.base_url})")

    def __repr__(self) -> str:
        return f"RunPodApi({self.base_url!r})"

    @property
    def account(self) -> str:
        """Eight digits that distinguish the account's key from another one's, and do not give it away."""
        return hashlib.sha256(f"{self.base_url} {self._key}".encode()).hexdigest()[:8]

    def now(self) -> dt.datetime:
        """Return the time by the API's clock, as its last answer had it; by this computer's before the first answer."""
        ahead_s = self.clock_ahead_s or 0.0
        return dt.datetime.fromtimestamp(time.time() - (ahead_s if abs(ahead_s) > _CLOCK_ERROR_S else 0.0), dt.UTC)

    def tolerate_silence(self, seconds: float) -> None:
        """Tolerate the API's silence for a number of seconds, all tries and all threads together."""
        self._silence.begin(seconds)

    def shorten_waits(self) -> None:
        """Limit every wait to a second from now on: the run is over, and its pods have to be terminated soon."""
        self._hurried.set()

    def call_interval_s(self, share: float) -> float:
        """Return the interval, in seconds, at which repeated calls use no more than a share of the remaining quota."""
        return self._quota.call_interval_s(share)

    def pods(self) -> list[Pod]:
        """Return all pods of the account; a cluster is one of them, and its members are not."""
        pods = self._lists.parse(Pod, self._read_all("/v2/pods", "pods", {"includeClusterPods": "true"}))
        has_members = any(pod.cluster is not None for pod in pods)
        if not self.may_have_clusters and not has_members:
            return pods
        try:
            clusters = self._read_all("/v2/clusters", "clusters")
        except ApiError as error:
            # A key that may not list clusters has made none.
            if has_members or error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise
            return pods
        return joined(pods, self._lists.parse(Cluster, clusters))

    def pod(self, pod_id: str) -> Pod | None:
        """Return the pod of an id; None if it does not exist."""
        path = path_of(pod_id)
        if not is_cluster(pod_id):
            return self._read_optional(Pod, path)
        cluster = self._read_optional(Cluster, path)
        return None if cluster is None else as_pod(cluster, self._lists.parse(Pod, self._read_all(f"{path}/pods", "pods")))

    def may_exist(self, pod_id: str) -> bool:
        """Return whether the pod of an id exists, or may exist, since RunPod does not tell."""
        try:
            pod = self.pod(pod_id)
        except BackendError:
            return True
        return pod is not None and pod.status != "TERMINATED"

    def find_pod(self, name: str) -> Pod | None:
        """Return the pod of a name; None if no such pod exists any more."""
        return next((pod for pod in self.pods() if pod.name == name and pod.status != "TERMINATED"), None)

    def create_pod(self, request: PodRequest) -> Pod:
        """Create a pod.

        Raises:
            CapacityError: no machine of this kind is free.
            BalanceError: the account has no money.
            AuthError: the key is not accepted.
            ApiError: any other refusal, with the vendor's detail; 403 means that the account may not have this kind of machine. Without a
                status, the pod may have been created.
        """
        reason, no_capacity, unanswered = "", False, False
        self.may_have_clusters |= request.machines > 1
        for tried in range(_TRIES):
            try:
                answer = self._call("POST", request.path, json=request.body())
                return parse(Pod, answer) if request.machines == 1 else as_pod(parse(Cluster, answer), ())
            except _NoAnswerError as error:
                reason, no_capacity, unanswered = str(error), lacks_capacity(str(error)), True
                self.unanswered_at[request.name] = time.time()
            except BackendError as error:
                # What was asked before, and not answered, may be carried out all the same.
                error.may_have_created = unanswered
                raise
            # RunPod may have created the pod all the same: a second one of the same name would be paid for, too.
            for wait_s in (0.0, 2.0):
                self._pause(wait_s)
                try:
                    pod = self.find_pod(request.name)
                except BackendError as error:
                    # Without a status, which would say that nothing was created.
                    raise ApiError(
                        f"RunPod's API gave no answer to the creation of {request.name} ({reason}), and does not tell whether it exists: "
                        f"{error.message}"
                    ) from None
                if pod is not None:
                    return pod
            if no_capacity:
                lacking = CapacityError(reason)
                lacking.may_have_created = True
                raise lacking
            if self._silence.is_over() or self.is_closing:
                break
            self._pause(_backoff_s(tried))
        raise ApiError(f"RunPod's API gave no answer to the creation of {request.name} in {tried + 1} tries: {reason}. {STATUS_PAGE}")

    def terminate_pod(self, pod_id: str) -> None:
        """Terminate a pod; one that no longer exists is not an error."""
        # Pods are never stopped: a stopped pod bills its disk, and may come back without its GPU.
        for tried in range(_TRIES):
            try:
                self._call_with_retries("DELETE", path_of(pod_id))
            except ApiError as error:
                if error.status == HTTPStatus.NOT_FOUND:
                    return
                # A pod that is between two states is a conflict for a moment.
                if error.status != HTTPStatus.CONFLICT or tried == _TRIES - 1:
                    raise
                self._pause(_backoff_s(tried))
            else:
                return

    def logs(self, pod_id: str, *, tail: int = 100, since_id: str | None = None, source: str = "container") -> Iterator[LogLine]:
        """Follow a pod's log until the pod is gone or the stream breaks; of a cluster, that of the machine with rank 0.

        Args:
            pod_id: the pod's id.
            tail: how many earlier lines come first.
            since_id: the line after which the log is resumed, instead of `tail`.
            source: which of the pod's logs.
        """
        query = {"source": source} | ({} if since_id else {"tail": str(min(tail, 5000))})
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": since_id} if since_id else {})
        member = primary_of(self.pod(pod_id)) if is_cluster(pod_id) else pod_id
        response = self._send("GET", f"{path_of(member)}/logs", params=query, headers=headers, stream=True)
        with response, contextlib.suppress(*_broken_stream_errors()):
            # One byte at a time: a larger chunk would wait for lines that are not written yet.
            yield from log_lines(response.iter_lines(chunk_size=1))

    def gpus(self, count: int = 1, machines: int = 1) -> list[Gpu]:
        """Return the GPU types that RunPod offers in its secure cloud, with stock, for pods of `count` GPUs, or clusters of such."""
        query = {"include": "AVAILABILITY", "product": "POD" if machines == 1 else "CLUSTER", "count": str(count), "cloud": "SECURE"}
        return self._lists.parse(Gpu, self._read_all("/v2/catalog/gpus", "gpus", query))

    def cpus(self, vcpu_count: int = 4) -> list[Cpu]:
        """Return the CPU flavours that RunPod offers, with stock, for pods of `vcpu_count` vCPUs."""
        query = {"include": "AVAILABILITY", "product": "POD", "vcpuCount": str(vcpu_count)}
        return self._lists.parse(Cpu, self._read_all("/v2/catalog/cpus", "cpus", query))

    def network_volume(self, volume_id: str) -> NetworkVolumeInfo | None:
        """Return the network volume of an id; None if the account does not have it."""
        return self._read_optional(NetworkVolumeInfo, f"/v2/network-volumes/{quote(volume_id, safe='')}")

    def limits(self) -> AccountLimits | None:
        """Return what the account may spend an hour; None where the API does not tell, or the key may not read it (`account:read`)."""
        try:
            return parse(AccountLimits, self._call("GET", "/v2/account/limits"))
        except BackendError:
            return None  # Nothing depends on it: RunPod itself refuses the pod that would pass the limit.

    def bills_usd(self, *, clusters: bool = False) -> dict[str, float]:
        """Return what RunPod has charged for each pod of the last 30 days, in dollars by pod id; bills are about an hour late.

        Args:
            clusters: whether clusters are among them; of those, the network between the machines is charged as well.
        """
        charged: list[PodBill | ClusterBill] = []
        charged += self._lists.parse(PodBill, self._read_all("/v2/billing/pods", "records"))
        if clusters:
            charged += self._lists.parse(ClusterBill, self._read_all("/v2/billing/clusters", "records"))
        bills: dict[str, float] = {}
        for bill in charged:
            bills[bill.pod_id] = bills.get(bill.pod_id, 0.0) + bill.total_usd
        return bills

    def _pause(self, seconds: float) -> None:
        if self._hurried.wait(seconds):
            time.sleep(min(seconds, 1.0))

    def _read(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        body: dict[str, Any] = self._call_with_retries("GET", path, params=dict(query or {}))
        return body

    def _read_all(self, path: str, name: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """Return all entries of a list, whose pages name the next one by a cursor.

        Raises:
            ApiError: the answer is not a list, or its pages do not end.
        """
        entries: list[Any] = []
        cursors: set[str] = set()
        page_query = dict(query or {})
        while True:
            part, cursor = self._read_page(path, name, page_query)
            entries += part
            if not cursor:
                return entries
            if cursor in cursors or len(cursors) >= _MOST_PAGES:
                raise ApiError(f"RunPod's API returned a list of {name} whose pages do not end: GET {path}. {STATUS_PAGE}")
            cursors.add(cursor)
            page_query["cursor"] = cursor

    def _read_page(self, path: str, name: str, query: Mapping[str, str]) -> tuple[list[Any], str]:
        for tried in range(_PAGE_TRIES):
            if tried:
                self._pause(_backoff_s(tried - 1))
            page = page_entries(self._read(path, query), name)
            if page is not None:
                return page
        raise malformed_list(name, path)

    def _read_optional(self, model: type[Answer], path: str) -> Answer | None:
        try:
            return parse(model, self._read(path))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _call_with_retries(self, method: str, path: str, **options: Any) -> Any:
        reason = ""
        for tried in range(_TRIES):
            try:
                return self._call(method, path, **options)
            except _NoAnswerError as error:
                reason = str(error)
            if self._silence.is_over():
                break
            self._pause(_backoff_s(tried))
        raise ApiError(f"RunPod's API gave no answer to {method} {path} in {tried + 1} tries: {reason}. Is {self.base_url} reachable?")

    def _call(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON of its answer."""
        with self._send(method, path, **options) as response:
            if response.status_code == HTTPStatus.NO_CONTENT or not response.content:
                return {}
            try:
                return response.json()
            except ValueError:
                raise _NoAnswerError(f"{response.status_code} without JSON") from None

    def _send(self, method: str, path: str, headers: Mapping[str, str] | None = None, **options: Any) -> requests.Response:
        """Send a request; after a 429 wait as long as the answer asks and send it again, since RunPod did not carry it out."""
        import requests  # noqa: PLC0415  # only RunPod's users need it

        url = f"{self.base_url}{path}"
        for tried in range(_TRIES):
            try:
                with self._quota.call(), self._silence.wait(f"{method} {path}"):
                    timeout = _HURRIED_S if self._hurried.is_set() else (_CONNECT_S, _READ_S)
                    response = self._session.request(method, url, headers=dict(headers or {}), timeout=timeout, **options)
            except requests.RequestException as error:
                self._silence.failed()
                raise _NoAnswerError(type(error).__name__) from None
            self._silence.answered()
            wait_s = self._quota.update(response.headers)
            self.clock_ahead_s = clock_ahead_s(response.headers.get("Date"))
            if response.status_code != HTTPStatus.TOO_MANY_REQUESTS:
                break
            response.close()
            self._pause(wait_s if wait_s is not None else _backoff_s(tried))
        if response.ok:
            return response
        with response:
            raise self._refusal(response, method, path)

    def _refusal(self, response: requests.Response, method: str, path: str) -> Exception:
        try:
            body = response.json()
            detail = "; ".join(str(part) for part in (body.get("detail"), *(body.get("errors") or ())) if part)
        except (ValueError, AttributeError):
            detail = re.sub(r"<[^>]+>", " ", response.text)[:300].strip()
        detail = detail.replace(self._key, "***") if self._key else detail
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return _NoAnswerError(f"{response.status_code} {detail}")
        tries = _TRIES if response.status_code == HTTPStatus.TOO_MANY_REQUESTS else 1
        return refusal(response.status_code, detail, f"{method} {path}", tries=tries)

    @property
    def _session(self) -> requests.Session:
        """The thread's own session, since sessions of requests must not be shared."""
        if not hasattr(self._local, "session"):
            import requests  # noqa: PLC0415

            session = requests.Session()
            session.headers["User-Agent"] = _USER_AGENT
            # As the session's `auth`, not as a header of it: a ~/.netrc would replace the header.
            session.auth = _bearer_auth(self._key)
            self._local.session = session
        session_of_thread: requests.Session = self._local.session
        return session_of_thread


class _NoAnswerError(BackendError):
    """A call may have been carried out, or not."""


def _bearer_auth(key: str) -> Callable[[Any], Any]:
    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign


def _broken_stream_errors() -> tuple[type[Exception], ...]:
    import requests  # noqa: PLC0415

    return (requests.RequestException, OSError)


def _backoff_s(tried: int) -> float:
    return min(_LONGEST_BACKOFF_S, 0.5 * 2.0**tried)
