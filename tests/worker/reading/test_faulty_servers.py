from __future__ import annotations

import gzip
import io
import json
import traceback

import numpy as np
import pandas as pd
import pytest
from support.http_server import Server

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.identity import SourceIdentity, url_identity
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.worker.downloads import describe, downloaded
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table

CONTENT = b"0123456789" * 100
SECRET = f"pla{'nted'}"  # Not in one piece: a traceback shows the lines of this file, too.
QUERY = f"sig={SECRET}"


@pytest.fixture(scope="module")
def table() -> bytes:
    buffer = io.BytesIO()
    random = np.random.default_rng(0)
    pd.DataFrame({f"c{number}": random.normal(size=2_000) for number in range(20)}).to_parquet(buffer, row_group_size=500)
    return buffer.getvalue()


def shown(error: BaseException) -> str:
    """What a log or result.json would show of an error: its whole chain."""
    return "".join(traceback.format_exception(error))


def test_a_url_that_is_signed_for_get_alone_has_an_identity(scripted, answer) -> None:
    def signed_for_get(asked):
        return answer(403) if asked.method == "HEAD" else asked.part_of(b"x\n1\n", ETag='"v1"')

    with scripted(signed_for_get) as (url, asked):
        assert url_identity(make_source(f"{url}t.csv?X-Amz-Signature=abc")) == SourceIdentity('"v1"', None, 4)
        assert [each.target for each in asked] == ["/t.csv?X-Amz-Signature=abc"] * 2
        assert column_names(Location(f"{url}t.csv")) == ["x"]


HEADS = {
    "refuses the method": 405, "knows no HEAD": 404, "has lost it": 410, "forbids it": 403, "breaks": 500, "is busy": 503, "redirects": 302,
    "answers nothing": None, "has an empty file": 200,
}  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_only_a_get_says_that_a_file_is_not_there(head: str, scripted, answer) -> None:
    def framework(asked):
        if asked.method != "HEAD":
            return asked.part_of(b"x\n1\n", ETag='"v1"')
        status = HEADS[head]
        return None if status is None else answer(status, b"", **({"Location": "/nowhere"} if status == 302 else {}))

    with scripted(framework) as (url, _):
        assert url_identity(make_source(f"{url}t.csv")) == SourceIdentity('"v1"', None, 4)
        assert column_names(Location(f"{url}t.csv")) == ["x"]


def test_a_server_that_takes_no_range_of_one_byte_is_asked_without(scripted, answer) -> None:
    def picky(asked):
        return answer(405) if asked.method == "HEAD" else answer(400) if "range" in asked.headers else answer(200, b"x\n1\n")

    with scripted(picky) as (url, _):
        assert describe(url).size == 4
    with scripted(lambda asked: answer(403)) as (url, _), pytest.raises(SourceError, match="answered 403"):
        url_identity(make_source(f"{url}t.csv"))


def test_a_busy_server_is_asked_for_an_identity_again(scripted, answer) -> None:
    with scripted(
        lambda asked: answer(503, headers={"Retry-After": "0"}) if asked.number == 1 else answer(200, b"x\n", {"ETag": '"a"'})
    ) as (
        url,
        _,
    ):
        assert url_identity(make_source(f"{url}t.csv")).etag == '"a"'


def test_a_size_that_is_that_of_an_encoding_is_none(scripted, answer) -> None:
    with scripted(lambda asked: answer(200, b"x" * 9, {"Content-Encoding": "gzip"})) as (url, _):
        assert describe(url).size is None


def broken_once(content: bytes, then, answer, **headers: str):
    """Break the first answer off after 400 bytes; `then` answers what comes."""
    return lambda asked: answer(200, content, headers, cut=400) if asked.number == 1 else then(asked)


def test_a_file_that_changed_meanwhile_is_never_put_together_with_its_old_part(scripted, answer) -> None:
    changed = b"b" * 1000

    def ignores_if_range(asked):
        return asked.part_of(changed, ETag='"new"')

    with scripted(broken_once(CONTENT, ignores_if_range, answer, ETag='"old"')) as (url, asked), downloaded(url) as download:
        assert download.path.read_bytes() == changed
        assert [each.headers.get("range") for each in asked] == [None, "bytes=400-", None]


def test_another_range_than_the_missing_one_is_not_taken(scripted, answer) -> None:
    def off_by_some(asked):
        if "range" not in asked.headers:
            return answer(200, CONTENT, {"ETag": '"v"'})
        return answer(206, CONTENT[300:], {"Content-Range": "bytes 300-999/1000", "ETag": '"v"'})

    with scripted(broken_once(CONTENT, off_by_some, answer, ETag='"v"')) as (url, _), downloaded(url) as download:
        assert download.path.read_bytes() == CONTENT


def test_a_file_that_became_shorter_is_read_from_its_start(scripted, answer) -> None:
    def shorter(asked):
        return answer(416) if "range" in asked.headers else answer(200, CONTENT[:300])

    with scripted(broken_once(CONTENT, shorter, answer, ETag='"v"')) as (url, _), downloaded(url) as download:
        assert download.path.read_bytes() == CONTENT[:300]


def test_without_a_validator_nothing_is_resumed(scripted, answer) -> None:
    with scripted(broken_once(CONTENT, lambda asked: asked.part_of(CONTENT), answer)) as (url, asked), downloaded(url) as download:
        assert download.path.read_bytes() == CONTENT
        assert [each.headers.get("range") for each in asked] == [None, None]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_an_encoding_that_was_not_asked_for_is_undone(name: str, scripted, answer) -> None:
    packed = gzip.compress(b"x,y\n" + b"1,2\n" * 50_000)
    with scripted(lambda asked: answer(200, packed, {"Content-Encoding": "gzip"})) as (url, asked):
        assert len(read_table(Location(url + name)).frame) == 50_000
        assert len(read_head(Location(url + name), rows=3)) == 3
        assert asked[0].headers["accept-encoding"] == "identity"


def test_an_encoding_that_cannot_be_undone_is_named(scripted, answer) -> None:
    with scripted(lambda asked: answer(200, b"x\n1\n", {"Content-Encoding": "br"})) as (url, _), pytest.raises(InputError, match="as br"):
        read_table(Location(f"{url}t.csv"))
    with (
        scripted(lambda asked: answer(200, b"x\n1\n", {"Content-Encoding": "gzip"})) as (url, _),
        pytest.raises(InputError, match="is not"),
    ):
        read_table(Location(f"{url}t.csv"))


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.jsonl"])
@pytest.mark.parametrize("size", [0, 200_000])
def test_a_web_page_is_no_table(name: str, size: int) -> None:
    page = b"\n <!DOCTYPE html>\n<html><body>Sign in</body></html>" + b" " * size
    with Server({name: page}, ranges=False) as server:
        for read in (read_table, read_head):
            with pytest.raises(InputError, match="answered with a web page"):
                read(Location(server.url(name)))


def test_a_part_that_breaks_is_asked_for_again(table: bytes, scripted, answer) -> None:
    def once_broken(asked):
        part = asked.part_of(table)
        return answer(part.status, part.body, part.headers, cut=10) if asked.number == 4 else part

    with scripted(once_broken) as (url, asked):
        assert read_table(Location(f"{url}t.parquet"), columns=["c1", "c2"]).frame.shape == (2_000, 2)
        assert all("range" in each.headers for each in asked if each.method == "GET")


def test_parts_that_do_not_come_are_downloaded_whole(table: bytes, scripted, answer) -> None:
    def no_parts_after_all(asked):
        return answer(500) if asked.number > 3 and "range" in asked.headers else asked.part_of(table)

    with scripted(no_parts_after_all) as (url, _):
        location = Location(f"{url}t.parquet")
        downloaded_table = read_table(location, columns=["c1", "c2"])
        assert downloaded_table.frame.shape == (2_000, 2)
        assert downloaded_table.bytes_read >= len(table)
    for read in (column_names, read_head):
        with scripted(no_parts_after_all) as (url, _):
            assert len(read(Location(f"{url}t.parquet"))) > 0


@pytest.mark.parametrize("from_number", [1, 2, 3, 5])
def test_a_signature_that_runs_out_meanwhile_is_not_shown(from_number: int, table: bytes, scripted, answer) -> None:
    def runs_out(asked):
        return asked.part_of(table) if asked.number < from_number else answer(403)

    with scripted(runs_out) as (url, _), pytest.raises(InputError, match="answered 403") as caught:
        read_table(Location(f"{url}t.parquet", secret_query=QUERY), columns=["c1", "c2"])
    assert SECRET not in shown(caught.value)


def test_a_server_that_says_it_has_no_ranges_is_believed(table: bytes, scripted) -> None:
    with scripted(lambda asked: asked.part_of(table, **{"Accept-Ranges": "none"})) as (url, asked):
        read_table(Location(f"{url}t.parquet"), columns=["c1"])
        assert [each.headers.get("range") for each in asked] == [None, None]


def test_no_header_follows_a_redirect_to_another_server(table: bytes) -> None:
    files = {"t.parquet": table, "t.csv": b"x,y\n" + b"1,2\n" * 50_000}
    with Server(files) as other, Server({}, redirect={name: other.url(name) for name in files}) as server:
        for name in files:
            location = Location(server.url(name), headers={"X-Key": SECRET, "Authorization": SECRET}, secret_query=QUERY)
            read_table(location, columns=None if name == "t.csv" else ["c1"])
            assert len(read_head(location, rows=2)) == 2
            describe(location.place, headers=location.headers, secret_query=QUERY)
        assert server.requests[0].headers["x-key"] == SECRET
        assert SECRET not in str(other.requests)
        assert other.served < len(table) + 3 * len(files["t.csv"])
    assert {request.method for request in other.requests} == {"GET", "HEAD"}


@pytest.mark.parametrize("place", [f"file:///etc/passwd?token={SECRET}", f"ftp://a.org/x?token={SECRET}", "/t.csv"])
def test_a_redirect_that_leads_nowhere_is_reported_without_its_place(place: str) -> None:
    with (
        Server({}, redirect={"t.csv": place}) as server,
        pytest.raises(InputError, match="redirects without end, or not to a web address") as caught,
    ):
        read_table(Location(server.url("t.csv")))
    assert SECRET not in shown(caught.value)


@pytest.mark.parametrize("location", [Location("http://a..b/t.csv"), Location("http://127.0.0.1:9/t.csv", headers={"X": f"{SECRET}\n"})])
def test_what_cannot_be_requested_is_reported_without_the_header(location: Location) -> None:
    with pytest.raises(InputError, match="cannot be requested") as caught:
        read_table(location)
    assert SECRET not in shown(caught.value)


def test_the_head_of_a_large_file_ends_its_stream_early() -> None:
    content = b"x,y\n" + b"1.25,some text here\n" * 1_000_000
    with Server({"t.csv": content}, ranges=False) as server:
        assert len(read_head(Location(server.url("t.csv")), rows=5)) == 5
        # `served` counts a body that was taken whole.
        assert server.served == 0


def test_a_head_takes_more_until_its_rows_are_whole() -> None:
    rows = b"".join(json.dumps({"x": number, "text": "a" * 40_000}).encode() + b"\n" for number in range(20))
    with Server({"t.jsonl": rows}) as server:
        assert read_head(Location(server.url("t.jsonl")), rows=4)["x"].tolist() == [0, 1, 2, 3]
        assert server.served < len(rows) / 2
    with Server({"t.csv": b'x\n"' + b"a\n" * 100_000 + b'"\n2\n' * 2}) as server:
        assert len(read_head(Location(server.url("t.csv")), rows=1)) == 1


def test_a_head_of_another_encoding_is_reported_at_once() -> None:
    content = "x,y\né,1\n".encode("latin-1") * 50_000
    with Server({"t.csv": content}) as server:
        with pytest.raises(InputError, match="encoding: latin-1"):
            read_head(Location(server.url("t.csv")), rows=2)
        assert server.served < 100_000
        assert read_head(Location(server.url("t.csv"), load_args={"encoding": "latin-1"}), rows=1)["x"].tolist() == ["é"]
        with pytest.raises(InputError, match="load_args"):
            read_head(Location(server.url("t.csv"), load_args={"seperator": ";", "encoding": "latin-1"}), rows=1)


def test_a_head_whose_connection_breaks_is_downloaded(scripted, answer) -> None:
    content = b"x,y\n" + b"1,2\n" * 50_000

    def breaks(asked):
        return answer(200, content, cut=100 if asked.number == 2 else None)

    with scripted(breaks) as (url, _):
        assert len(read_head(Location(f"{url}t.csv"), rows=3)) == 3
