"""RunPod's REST v2 on loopback, as far as the commands read it: state that a test sets, and refusals on demand."""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import urlsplit

KEY = "rpa_PLANTED_ACCOUNT_KEY"


def gpu(name: str, memory: int, usd: float, **stock: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "memory": memory,
        "secure": True,
        "community": True,
        "price": {"secure": usd, "community": usd},
        "availability": "LOW",
        "dataCenters": [{"id": place.replace("_", "-"), "availability": level} for place, level in stock.items()],
        "cudaVersions": [{"version": "12.8", "available": True}, {"version": "12.9", "available": False}],
    }


@dataclass
class ApiServer:
    """`with ApiServer() as api: api.base_url`."""

    gpus: list[dict[str, Any]] = field(
        default_factory=lambda: [
            gpu("NVIDIA H100 80GB HBM3", 80, 2.99, US_KS_2="HIGH"),
            gpu("NVIDIA L4", 24, 0.43, EU_RO_1="HIGH", US_KS_2="LOW"),
            gpu("NVIDIA RTX A5000", 24, 0.27, EU_RO_1="NONE"),
            gpu("NVIDIA A40", 48, 0.40, EU_RO_1="LOW"),
        ]
    )
    volumes: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"vol123abc": {"id": "vol123abc", "name": "shop", "size": 50, "dataCenter": "EU-RO-1", "type": "STANDARD"}}
    )
    pods: dict[str, dict[str, Any]] = field(default_factory=dict)
    # By method: what is answered instead, as a status and a detail.
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)
    clock_behind_s: float = 0.0
    requests: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def date_time_string(self, timestamp: float | None = None) -> str:
                return email.utils.formatdate((timestamp or time.time()) - outer.clock_behind_s, usegmt=True)

            def do_GET(self) -> None:
                outer._answer(self)

            do_DELETE = do_POST = do_GET

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def add_pod(self, name: str, minutes: float = 30, usd: float = 0.43, status: str = "RUNNING") -> str:
        created = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
        pod_id = f"pod{len(self.pods)}"
        self.pods[pod_id] = {
            "id": pod_id,
            "name": name,
            "status": status,
            "cost": usd,
            "dataCenterId": "EU-RO-1",
            "gpu": {"id": "NVIDIA L4", "count": 1},
            "runtime": {"uptime": int(minutes * 60), "gpus": []},
            "createdAt": created.isoformat().replace("+00:00", "Z"),
        }
        return pod_id

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = urlsplit(handler.path).path
        self.requests.append(f"{handler.command} {handler.path}")
        if handler.headers.get("Authorization") != f"Bearer {KEY}":
            return self._say(handler, 401, {"title": "Unauthorized", "status": 401, "detail": "invalid api key"})
        if handler.command in self.refusals:
            status, detail = self.refusals[handler.command]
            return self._say(handler, status, {"title": "Refused", "status": status, "detail": detail})
        *_, kind, name = ("", *path.strip("/").split("/"))
        if handler.command == "DELETE":
            gone = self.pods.pop(name, None)
            return self._say(handler, 204 if gone else 404, None if gone else {"title": "Not Found", "status": 404})
        if path == "/v2/pods":
            return self._say(handler, 200, {"pods": list(self.pods.values())})
        if path == "/v2/catalog/gpus":
            return self._say(handler, 200, {"gpus": self.gpus})
        if path == "/v2/catalog/cpus":
            cpu = {
                "id": "cpu5c",
                "name": "Compute",
                "vcpu": {"min": 2, "max": 32},
                "ramGbPerVcpu": 2,
                "price": {"securePerVcpu": 0.035},
                "availability": "HIGH",
                "dataCenters": [{"id": "EU-RO-1", "availability": "HIGH"}],
            }
            return self._say(handler, 200, {"cpus": [cpu]})
        if kind == "network-volumes" and name in self.volumes:
            return self._say(handler, 200, self.volumes[name])
        return self._say(handler, 404, {"title": "Not Found", "status": 404, "detail": "no such thing"})

    def _say(self, handler: BaseHTTPRequestHandler, status: int, body: object) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)
