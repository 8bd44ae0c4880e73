"""A large file of a web server comes over several connections, and is whole whatever becomes of some of them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from support.http_server import Server

from kedro_cloudtrain.worker import range_requests
from kedro_cloudtrain.worker.downloads import downloaded
from kedro_cloudtrain.worker.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

RANGE = 10_000
CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), 105_000))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(range_requests, "LARGE_BYTES", 50_000)
    monkeypatch.setattr(range_requests, "_RANGE_BYTES", RANGE)
    with Server({"large.csv": CONTENT, "small.csv": CONTENT[:40_000]}) as each:
        yield each


def fetched(server: Server, file: str = "large.csv") -> bytes:
    with downloaded(server.url(file)) as download:
        assert download.bytes_read >= len(server.files[file])
        return download.path.read_bytes()


def asked(server: Server) -> list[str | None]:
    return [request.headers.get("range") for request in server.requests]


def test_each_range_is_asked_for_once(server: Server) -> None:
    assert fetched(server) == CONTENT
    first, *others = asked(server)
    assert first is None
    assert sorted(others) == sorted(f"bytes={start}-{min(start + RANGE, len(CONTENT)) - 1}" for start in range(RANGE, len(CONTENT), RANGE))
    tags = {request.headers.get("if-range") for request in server.requests[1:]}
    assert len(tags) == 1
    assert None not in tags


def test_a_smaller_file_comes_over_one_connection(server: Server) -> None:
    assert fetched(server, "small.csv") == CONTENT[:40_000]
    assert asked(server) == [None]


@pytest.mark.parametrize("lacks", ["ranges", "etag"])
def test_a_server_without_what_it_takes_is_asked_once(server: Server, lacks: str) -> None:
    setattr(server, lacks, False)
    assert fetched(server) == CONTENT
    assert asked(server) == [None]


def test_a_range_that_breaks_off_goes_on_where_it_was(server: Server) -> None:
    server.breaks = [200_000, 4000, 3000]
    assert fetched(server) == CONTENT
    assert len(server.requests) == 11 + 2
    assert server.served < 2 * len(CONTENT)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_server_that_refuses_more_connections_is_read_over_one(server: Server, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_requests, "sleep", lambda _: None)
    plain = server._answer

    def answer(handler, *, with_body: bool) -> None:
        # The request for the rest of the file has no end.
        if (handler.headers.get("Range") or "-").endswith("-"):
            plain(handler, with_body=with_body)
        else:
            server.statuses = [status]
            plain(handler, with_body=with_body)

    monkeypatch.setattr(server, "_answer", answer)
    assert fetched(server) == CONTENT
    assert asked(server)[-1] == f"bytes={RANGE}-"


def test_a_file_that_changes_between_its_ranges_is_read_anew(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    changed, plain, numbers = CONTENT[::-1], server._answer, itertools.count(1)

    def answer(handler, *, with_body: bool) -> None:
        if next(numbers) == 3:
            server.files["large.csv"] = changed
        plain(handler, with_body=with_body)

    monkeypatch.setattr(server, "_answer", answer)
    assert fetched(server) == changed


def test_a_file_that_stays_broken_is_refused_as_from_one_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(range_requests, "sleep", lambda _: None)
    server.breaks = [100] * 60
    with pytest.raises(InputError, match=r"could not be read in 3 tries: .* of 105,000 bytes arrived"):
        fetched(server)
