"""A pod's log as server-sent events, resumed by id; the stream goes on until the pod or the client does."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

    from kedro_cloudtrain.rehearsal.pods import RunningPod


def stream(handler: BaseHTTPRequestHandler, pod: RunningPod) -> None:
    """Answer a request for a pod's log."""
    query = handler.call.query  # type: ignore[attr-defined]
    last_id, tail = handler.headers.get("Last-Event-ID"), int(query.get("tail", "100"))
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    ids = [event_id for event_id, _, _ in pod.lines]
    at = ids.index(last_id) + 1 if last_id in ids else max(0, len(ids) - tail)
    with contextlib.suppress(OSError):
        while True:
            with pod.changed:
                if at >= len(pod.lines) and not pod.gone:
                    pod.changed.wait(1.0)
                lines, over = pod.lines[at:], pod.gone
            for event_id, ts, line in lines:
                data = json.dumps({"ts": ts, "source": "container", "line": line})
                handler.wfile.write(f"id: {event_id}\ndata: {data}\n\n".encode())
            at += len(lines)
            handler.wfile.write(b"" if lines else b": keep-alive\n\n")
            handler.wfile.flush()
            if over and not lines:
                return
