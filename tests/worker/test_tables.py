from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.http_server import Server

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.identity import source_identity
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.worker.downloads import describe, downloaded
from kedro_cloudtrain.worker.errors import InputError
from kedro_cloudtrain.worker.locations import Location
from kedro_cloudtrain.worker.tables import column_names, read_head, read_table
from kedro_cloudtrain.worker.urls import ascii_url

FRAME = pd.DataFrame({"a b": [1.5, 2.5, np.nan], "n[1]": [1, 2, 3], "ünï": ["x", None, "z"], "flag": [True, False, True]})


def written(frame: pd.DataFrame, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind in ("csv", "tsv"):
        return frame.to_csv(index=False, sep="," if kind == "csv" else "\t").encode()
    if kind == "jsonl":
        return frame.to_json(orient="records", lines=True).encode()
    if kind == "parquet":
        frame.to_parquet(buffer, index=False)
    else:
        frame.to_excel(buffer, index=False)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet", "xlsx", "jsonl"])
@pytest.mark.parametrize("remote", [True, False])
def test_every_format_gives_the_columns_that_were_asked_for(kind: str, remote: bool, tmp_path: Path) -> None:
    content = written(FRAME, kind)
    (tmp_path / f"t.{kind}").write_bytes(content)
    with Server({f"t.{kind}": content}) as server:
        location = Location(server.url(f"t.{kind}") if remote else str(tmp_path / f"t.{kind}"))
        table = read_table(location, columns=["ünï", "n[1]", "flag"], float32=["n[1]"])
        assert list(table.frame.columns) == ["ünï", "n[1]", "flag"]
        assert table.frame["n[1]"].dtype == np.float32
        assert table.frame["flag"].dtype == bool
        assert table.frame["ünï"].isna().tolist() == [False, True, False]
        assert table.bytes_read > 0
        assert column_names(location) == list(FRAME.columns)
        assert len(read_head(location, rows=2)) >= 2


def test_a_late_text_among_numbers_is_read_as_text(tmp_path: Path) -> None:
    rows = ["1.5"] * 10_500 + ["many"]
    (tmp_path / "t.csv").write_text("x,y\n" + "\n".join(f"{row},1" for row in rows))
    frame = read_table(Location(str(tmp_path / "t.csv")), columns=["x"], float32=["x"]).frame
    assert frame["x"].iloc[-1] == "many"
    assert frame["x"].iloc[0] == "1.5"


def test_a_missing_column_names_the_closest(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("species,island\nA,B\n")
    with pytest.raises(InputError, match=r"no column `speceis`. Did you mean `species`\? Columns: species, island \(2\)"):
        read_table(Location(str(tmp_path / "t.csv")), columns=["speceis"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "cannot be read as csv"),
        ("a.csv", b"x,y\n", "has no rows"),
        ("a.parquet", b"<html>no</html>", "cannot be read as parquet"),
        ("a.xlsx", b"nothing", "cannot be read as xlsx"),
        ("a.jsonl", b"{no json\n", "cannot be read as jsonl"),
        ("a.bin", b"1", "no known format"),
    ],
)
def test_a_file_that_is_no_table_is_named_with_the_next_step(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(Location(str(tmp_path / name)))


def test_load_args_reach_the_reader_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x;y\n1,5;2\n")
    frame = read_table(Location(str(tmp_path / "t.csv"), load_args={"sep": ";", "decimal": ","}), columns=["x"]).frame
    assert frame["x"].tolist() == [1.5]
    with pytest.raises(InputError, match="load_args"):
        read_table(Location(str(tmp_path / "t.csv"), load_args={"seperator": ";"}))


def test_a_file_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_table(Location(str(tmp_path / "t.csv")))


@pytest.fixture(scope="module")
def wide() -> bytes:
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    pd.DataFrame({f"c{number}": random.normal(size=20_000) for number in range(60)}).to_parquet(buffer, row_group_size=5_000)
    return buffer.getvalue()


def test_three_columns_of_a_wide_parquet_cost_three_columns(wide: bytes) -> None:
    with Server({"w.parquet": wide}) as server:
        table = read_table(Location(server.url("w.parquet")), columns=["c3", "c30", "c59"])
        assert len(table.frame) == 20_000
        assert server.served < len(wide) * 0.08
        assert table.bytes_read <= server.served


def test_without_ranges_a_parquet_is_streamed_and_its_columns_kept(wide: bytes) -> None:
    with Server({"w.parquet": wide}, ranges=False) as server:
        table = read_table(Location(server.url("w.parquet")), columns=["c3"])
        assert list(table.frame.columns) == ["c3"]
        assert table.bytes_read == len(wide)


def test_the_head_of_a_large_csv_costs_its_first_piece() -> None:
    content = b"x,y\n" + b"1.25,some text here\n" * 200_000
    with Server({"t.csv": content}) as server:
        assert len(read_head(Location(server.url("t.csv")), rows=5)) == 5
        assert server.served < 300_000


def test_a_break_is_resumed_where_it_was() -> None:
    content = bytes(range(256)) * 4000
    with Server({"f.bin": content}, breaks=[300_000, 200_000]) as server, downloaded(server.url("f.bin"), timeout_s=5) as download:
        assert download.path.read_bytes() == content
        assert download.bytes_read == len(content)
        assert [request.headers.get("range") for request in server.requests] == [None, "bytes=300000-", "bytes=500000-"]


def test_a_server_without_ranges_is_asked_for_all_again() -> None:
    content = bytes(range(256)) * 4000
    with Server({"f.bin": content}, breaks=[300_000], ranges=False) as server, downloaded(server.url("f.bin"), timeout_s=5) as download:
        assert download.path.read_bytes() == content


def test_three_broken_tries_are_the_end_and_nothing_stays_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Server({"f.bin": b"x" * 1000}, breaks=[10, 10, 10, 10]) as server:
        with pytest.raises(InputError, match="3 tries"), downloaded(server.url("f.bin"), timeout_s=5):
            pass
        assert len(server.requests) == 3
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_the_reader_leaves_nothing_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Server({"t.parquet": b"no parquet"}, ranges=False) as server, pytest.raises(InputError, match="as parquet"):
        read_table(Location(server.url("t.parquet")), columns=["x"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_reported_without_the_secret(status: int) -> None:
    with Server({"t.csv": b"x\n1\n"}, statuses=[status, status]) as server:
        with pytest.raises(InputError, match=f"answered {status}") as caught, downloaded(server.url("t.csv"), secret_query="token=planted"):
            pass
        assert "planted" not in str(caught.value)
        assert len(server.requests) == 1
        assert "token=planted" in server.requests[0].target


def test_a_busy_server_is_asked_again() -> None:
    with Server({"t.csv": b"x\n1\n"}, statuses=[503, 429]) as server, downloaded(server.url("t.csv")) as download:
        assert download.path.read_bytes() == b"x\n1\n"


def test_a_stalled_server_runs_into_the_read_timeout() -> None:
    with Server({"t.csv": b"x\n1\n"}, stall=True) as server, pytest.raises(InputError, match=r"[Tt]imed? ?out"):
        with downloaded(server.url("t.csv"), timeout_s=0.2, tries=1):
            pass


def test_secrets_do_not_follow_a_redirect_to_another_host() -> None:
    with Server({"t.csv": b"x\n1\n"}) as other, Server({}, redirect={"t.csv": other.url("t.csv")}) as server:
        with downloaded(server.url("t.csv"), headers={"Authorization": "Bearer planted"}, secret_query="sig=planted") as download:
            assert download.path.read_bytes() == b"x\n1\n"
        assert server.requests[0].headers["authorization"] == "Bearer planted"
        assert "planted" not in str(other.requests)


def test_headers_follow_a_redirect_on_the_same_host() -> None:
    with Server({"u.csv": b"x\n1\n"}, required_header=("X-Key", "planted"), redirect={"t.csv": "/u.csv"}) as server:
        with downloaded(server.url("t.csv"), headers={"X-Key": "planted"}) as download:
            assert download.path.read_bytes() == b"x\n1\n"


@pytest.mark.parametrize("path", ["a%20b/c.csv", "donn%C3%A9es.csv", "x.csv?signature=a%2Fb%2B"])
def test_what_is_escaped_is_asked_for_as_it_is(path: str) -> None:
    with Server({"a b/c.csv": b"x\n1\n", "données.csv": b"x\n1\n", "x.csv": b"x\n1\n"}) as server:
        assert column_names(Location(server.url(path), "csv")) == ["x"]
        assert {request.target for request in server.requests} == {f"/{path}"}


def test_unicode_is_escaped_on_the_wire() -> None:
    assert ascii_url("https://bücher.example:8/dé é.csv?q=ü#x") == "https://xn--bcher-kva.example:8/d%C3%A9%20%C3%A9.csv?q=%C3%BC"
    assert ascii_url("http://[::1]:8/a%zz") == "http://[::1]:8/a%25zz"
    with Server({"données.csv": b"x\n1\n"}, host="::1") as server:
        assert read_table(Location(server.url("données.csv"))).frame["x"].tolist() == [1]


def test_a_url_is_known_by_its_etag_and_a_file_by_its_time_and_size(tmp_path: Path) -> None:
    with Server({"t.csv": b"x\n1\n"}) as server:
        identity = source_identity(make_source(server.url("t.csv")), None)
        assert identity.is_certain
        assert identity.size == 4
        with pytest.raises(SourceError, match="404"):
            source_identity(make_source(server.url("u.csv")), None)
    with Server({"t.csv": b"x\n1\n"}, head=False) as server:
        # A server without HEAD is asked for the first byte.
        assert source_identity(make_source(server.url("t.csv")), None) == identity
        assert describe(server.url("t.csv")).size == 4
        assert server.requests[-1].headers["range"] == "bytes=0-0"
    with pytest.raises(SourceError, match="could not be read in 3 tries: ConnectionRefusedError"):
        source_identity(make_source("http://127.0.0.1:1/t.csv"), None)
    volume = DirectoryVolume(tmp_path)
    (tmp_path / "t.csv").write_text("x\n1\n")
    before = source_identity(make_source(None, "t.csv"), volume)
    (tmp_path / "t.csv").write_text("x\n12\n")
    assert source_identity(make_source(None, "t.csv"), volume) != before
    with pytest.raises(SourceError, match="needs a volume"):
        source_identity(make_source(None, "t.csv"), None)
    with pytest.raises(SourceError, match=r"no gone.csv on the volume"):
        volume.identity("gone.csv")


def test_many_readers_at_once_do_not_disturb_each_other(wide: bytes) -> None:
    with Server({"w.parquet": wide}) as server:
        rows: list[int] = []
        location = Location(server.url("w.parquet"))
        readers = [threading.Thread(target=lambda: rows.append(len(read_table(location, columns=["c1"]).frame))) for _ in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert rows == [20_000] * 4
