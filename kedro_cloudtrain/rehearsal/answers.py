"""The answers of RunPod's REST API v2: by the key, the quota, the faults that are due, and the contract."""

from __future__ import annotations

import email.utils
import io
import json
import re
import sys
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from pydantic import ValidationError

from kedro_cloudtrain.rehearsal import cluster_schemas, schemas
from kedro_cloudtrain.rehearsal.calls import API_KEY, Call, RefusalError
from kedro_cloudtrain.rehearsal.logs import stream

if TYPE_CHECKING:
    from kedro_cloudtrain.rehearsal.server import RunPodStandIn


class Server(ThreadingHTTPServer):
    """The stand-in's HTTP server."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stand_in: RunPodStandIn) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.stand_in = stand_in

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of a client that does not wait for its answer."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers by the contract, or by a fault."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server
    call: Call
    quota_headers: dict[str, str]

    @property
    def stand_in(self) -> RunPodStandIn:
        """The account that is asked."""
        return self.server.stand_in

    def log_message(self, *args: Any) -> None:
        """Log nothing: `RunPodStandIn.calls` has each call."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the time by the stand-in's clock."""
        return email.utils.formatdate((timestamp or time.time()) - self.stand_in.clock_behind_s, usegmt=True)

    def do_GET(self) -> None:
        """Answer a call of any method."""
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(content) if content else None
        except ValueError:
            body = content.decode(errors="replace")
        self.call = Call(self.command, url.path, query, dict(self.headers), body, time.monotonic())
        self.stand_in.calls.append(self.call)
        self.quota_headers = {}
        try:
            self._answer_or_fail()
        except RefusalError as refusal:
            body = schemas.ErrorResponse(title="Error", status=refusal.status, detail=refusal.detail).json_object()
            self.send_json(refusal.status, body | ({"errors": refusal.errors} if refusal.errors else {}))

    do_POST = do_DELETE = do_GET  # noqa: N815  # http.server's names

    def _answer_or_fail(self) -> None:
        if not self.headers.get("User-Agent"):
            return self.send_text(403, "error code: 1010")
        pod_id = self._authenticated()
        allowed, self.quota_headers = self.stand_in.quota.take(self.headers.get("Authorization") or "")
        if not allowed:
            raise RefusalError(429, "rate limit exceeded")
        fault = self.stand_in.faults.take_call_fault(self.command, self.call.path, _gpu_of(self.call.body))
        if fault is None:
            return self._answer(pod_id)
        time.sleep(fault.delay_s)
        if fault.status == 0:
            return self._answer(pod_id)
        if fault.status == HTTPStatus.OK:
            return self.send_json(200, fault.body)
        if fault.worked:
            self._answer_nobody(pod_id)
        if fault.status is None:
            self.close_connection = True
            self.call.answered.append(0)
            return None
        self.quota_headers |= fault.headers
        raise RefusalError(fault.status, fault.detail or "on demand")

    def _answer_nobody(self, pod_id: str | None) -> None:
        """Carry the call out without sending its answer."""
        written, self.wfile = self.wfile, io.BytesIO()
        try:
            self._answer(pod_id)
        finally:
            self.wfile = written

    def _authenticated(self) -> str | None:
        """Return the id of the pod whose key it is; None for the account's key."""
        key = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if key == API_KEY:
            return None
        pod = next((pod for pod in self.stand_in.pods.values() if pod.key == key), None)
        if pod is None:
            raise RefusalError(401, "invalid api key")
        if pod.fault is not None and pod.fault.kind == "cannot end":
            pod.fault.happened = True
            raise RefusalError(403, "this key may not do that")
        return pod.id

    def _answer(self, pod_id: str | None) -> None:
        match = re.fullmatch(r"/v2/pods/([^/]+)(/action|/logs)?", self.call.path)
        cluster = re.fullmatch(r"/v2/clusters/([^/]+)(/pods)?", self.call.path)
        if match is not None:
            self._answer_pod(pod_id, match[1], match[2] or "")
        elif cluster is not None:
            self._answer_cluster(pod_id, cluster[1], cluster[2] or "")
        elif self.call.path == "/graphql":
            self._answer_graphql(pod_id)
        elif pod_id is not None:
            raise RefusalError(403, "a pod's key is for its own pod alone")
        else:
            self._answer_account()

    def _answer_account(self) -> None:
        match self.command, self.call.path:
            case "GET" | "POST", "/v2/clusters":
                self._answer_clusters()
            case "GET", "/v2/pods":
                members = self.call.query.get("includeClusterPods") == "true"
                listed = [self.stand_in.view(pod) for pod in self.stand_in.living if members or not pod.cluster]
                answer = schemas.ListPodsResponse(pods=listed).json_object()
                self.send_json(200, {"pods": [*answer["pods"], *self.stand_in.odd_pods]})
            case "POST", "/v2/pods":
                self.send_json(201, self.stand_in.view(self.stand_in.create(self.call.body)).json_object())
            case "GET", "/v2/catalog/gpus":
                self._check_include()
                gpus = self.stand_in.offers.for_clusters if self.call.query.get("product") == "CLUSTER" else self.stand_in.offers.gpus
                answer = schemas.ListGpuTypesResponse(gpus=gpus).json_object()
                self.send_json(200, {"gpus": [*answer["gpus"], *self.stand_in.offers.odd]})
            case "GET", "/v2/catalog/cpus":
                self._check_include()
                answer = schemas.ListCpuTypesResponse(cpus=self.stand_in.offers.cpus).json_object()
                self.send_json(200, {"cpus": [*answer["cpus"], *self.stand_in.offers.odd]})
            case "GET", "/v2/account/limits" if self.stand_in.account_limits is not None:
                self.send_json(200, self.stand_in.account_limits)
            case "GET", "/v2/billing/pods" | "/v2/billing/clusters":
                self._answer_bill()
            case "GET", path if volume := self.stand_in.offers.volumes.get(path.removeprefix("/v2/network-volumes/")):
                self.send_json(200, volume.json_object())
            case _:
                raise RefusalError(404, "not found")

    def _answer_clusters(self) -> None:
        if self.command == "POST":
            return self.send_json(201, self.stand_in.create_cluster(self.call.body).view().json_object())
        clusters = [cluster.view() for cluster in self.stand_in.living_clusters]
        return self.send_json(200, cluster_schemas.ListClustersResponse(clusters=clusters).json_object())

    def _answer_bill(self) -> None:
        if self.call.path == "/v2/billing/clusters":
            return self.send_json(200, self.stand_in.bill_clusters(self.call.query.get("clusterId")).json_object())
        return self.send_json(200, self.stand_in.bill(self.call.query.get("podId")).json_object())

    def _check_include(self) -> None:
        if (self.call.query.get("include") == "AVAILABILITY") != ("product" in self.call.query):
            raise RefusalError(400, "include=AVAILABILITY and product go together")

    def _answer_pod(self, pod_id: str | None, wanted: str, what: str) -> None:
        pod = self.stand_in.pods.get(wanted)
        if pod_id not in (None, wanted):
            raise RefusalError(403, "a pod's key is for its own pod alone")
        if pod is None or pod.gone:
            raise RefusalError(404, "pod not found")
        if self.command == "GET" and what == "/logs":
            return stream(self, pod)
        if self.command == "GET" and not what:
            return self.send_json(200, self.stand_in.view(pod).json_object())
        if self.command == "POST" and what == "/action":
            self._check_action()
        elif self.command != "DELETE" or what:
            raise RefusalError(404, "not found")
        if pod.cluster:
            raise RefusalError(409, f"pod {pod.id} is a member of cluster {pod.cluster}, which ends as a whole")
        if pod_id is None:
            pod.end()
            return self.send_json(204, None)
        # A pod that terminates itself gets the answer if it is quick: it is killed with the answer on its way.
        self.send_json(204, None)
        return pod.end()

    def _check_action(self) -> None:
        try:
            action = schemas.PodActionRequest.model_validate(self.call.body).action
        except ValidationError as error:
            raise RefusalError(422, "request validation failed", [str(error.errors()[0]["msg"])]) from None
        if action != "terminate":
            raise RefusalError(409, f"the stand-in does not know {action}")

    def _answer_cluster(self, pod_id: str | None, wanted: str, what: str) -> None:
        cluster = self.stand_in.clusters.get(wanted)
        # The vendor does not say that a member's key may end its cluster.
        if pod_id is not None:
            raise RefusalError(403, "a pod's key is for its own pod alone")
        if cluster is None or cluster.is_over:
            raise RefusalError(404, "cluster not found")
        match self.command, what:
            case "GET", "/pods":
                members = schemas.ListPodsResponse(pods=[self.stand_in.view(pod) for pod in cluster.living])
                self.send_json(200, members.json_object())
            case "GET", "":
                self.send_json(200, cluster.view().json_object())
            case "DELETE", "":
                cluster.end()
                self.send_json(204, None)
            case _:
                raise RefusalError(404, "not found")

    def _answer_graphql(self, pod_id: str | None) -> None:
        match = re.search(r'podTerminate.*?podId:\s*\\*"([^"\\]+)', json.dumps(self.call.body))
        pod = self.stand_in.pods.get(match[1]) if match is not None else None
        if pod is None or pod.cluster or pod_id not in (None, pod.id):
            return self.send_json(200, {"errors": [{"message": "not found"}], "data": None})
        self.send_json(200, {"data": {"podTerminate": None}})
        return pod.end()

    def send_json(self, status: int, body: object) -> None:
        """Answer with JSON; None is an empty body."""
        content = b"" if body is None else json.dumps(body).encode()
        self._send(status, content, "application/json" if status < HTTPStatus.BAD_REQUEST else "application/problem+json")

    def send_text(self, status: int, text: str) -> None:
        """Answer with plain text, as a gateway does."""
        self._send(status, text.encode(), "text/plain")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.call.answered.append(status)
        self.send_response(status)
        for name, value in self.quota_headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _gpu_of(body: object) -> str | None:
    """Return the GPU type that a request for a pod or a cluster names."""
    for place, name in (("gpu", "id"), ("compute", "gpuTypeId")):
        part = body.get(place) if isinstance(body, dict) else None
        if isinstance(part, dict) and isinstance(part.get(name), str):
            return str(part[name])
    return None
