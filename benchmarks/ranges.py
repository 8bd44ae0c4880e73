"""Measure a download over several connections against one, from a server on loopback that limits what each connection gets.

python benchmarks/ranges.py [--megabytes 192] [--megabytes-a-second 16] [--runs 3]
"""

import argparse
import re
import statistics
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kedro_cloudtrain.worker import range_requests
from kedro_cloudtrain.worker.downloads import downloaded

PIECE = 256 * 1024

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--megabytes", type=int, default=192)
parser.add_argument("--megabytes-a-second", type=float, default=16.0)
parser.add_argument("--runs", type=int, default=3)
args = parser.parse_args()
content = bytes(range(256)) * (args.megabytes * 4096)


class Limited(BaseHTTPRequestHandler):
    """Sends each connection so many bytes a second."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        """Send the file, or a range of it."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = int(asked[2]) + 1 if asked and asked[2] else len(content)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", '"v1"')
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(content)}")
        self.end_headers()
        began = time.monotonic()
        try:
            for at in range(start, end, PIECE):
                piece = content[at : min(at + PIECE, end)]
                self.wfile.write(piece)
                time.sleep(max(0.0, began + (at + len(piece) - start) / (args.megabytes_a_second * 1e6) - time.monotonic()))
        except OSError:
            self.close_connection = True


server = ThreadingHTTPServer(("127.0.0.1", 0), Limited)
threading.Thread(target=server.serve_forever, daemon=True).start()
large, seconds = range_requests.LARGE_BYTES, {"one": [], "several": []}
for _ in range(args.runs):
    for way, least in (("one", len(content) + 1), ("several", large)):
        range_requests.LARGE_BYTES = least
        began = time.perf_counter()
        with downloaded(f"http://127.0.0.1:{server.server_port}/large.csv") as download:
            seconds[way].append(time.perf_counter() - began)
            assert download.path.stat().st_size == len(content)
for way, times in seconds.items():
    print(f"{way:<8} {args.megabytes * 2**20 / 1e6 / statistics.median(times):>6.1f} MB/s ({min(times):.1f} to {max(times):.1f} s)")
ratios = [one / several for one, several in zip(seconds["one"], seconds["several"], strict=True)]
print(f"several connections: {statistics.median(ratios):.2f} times as fast ({min(ratios):.2f} to {max(ratios):.2f})")
