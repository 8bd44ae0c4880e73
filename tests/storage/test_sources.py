"""A table's place as a user gives it: what is accepted, what is refused with which reason, and where its secrets go."""

from __future__ import annotations

import json

import pytest

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.sources import UrlSource, VolumeSource, make_source, secrets_environment

BOTH = "Cannot provide both dataset_key and dataset_url. Only one dataset source is allowed."
NEITHER = "Must provide either dataset_key or dataset_url. Exactly one dataset source is required."


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("https://a.org/x.csv", "x.csv", BOTH),
        (None, None, NEITHER),
        ("", "", NEITHER),
        ("  ", None, NEITHER),
        (None, "\t", NEITHER),
    ],
)
def test_both_or_neither_of_url_and_key_get_the_fixed_messages(url: str | None, key: str | None, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        make_source(url, key)
    assert str(caught.value) == message


def test_blank_counts_as_not_given() -> None:
    assert make_source("  ", "a.csv") == VolumeSource("a.csv", "csv")
    assert make_source(" https://a.org/x.csv ", " ") == UrlSource("https://a.org/x.csv", "csv")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/a.csv",
        "https://example.org/a.csv?x=1&y=%20#part",
        "http://[::1]:81/a.csv",
        "https://bücher.example/données.csv",
        "https://example.org/a%20b/c.parquet",
        "HTTPS://EXAMPLE.org/A.CSV",
        "https://example.org:443/a.tsv",
    ],
)
def test_a_valid_url_is_taken_as_it_is_written(url: str) -> None:
    source = make_source(url)
    assert isinstance(source, UrlSource)
    assert source.url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd.csv", "'file'"),
        ("ftp://a.org/x.csv", "'ftp'"),
        ("s3://bucket/x.csv", "'s3'"),
        ("a.org/x.csv", "no scheme"),
        ("https://user:hunter2@a.org/x.csv", "user name or a password"),
        ("https:///x.csv", "no host"),
        ("https:x.csv", "no host"),
        ("https://a.org:99999/x.csv", "not a valid URL"),
        ("https://a.org:0/x.csv", "port 0"),
        ("https://a.org/x\ny.csv", "control character"),
        ("https://a.org/x y.csv", "space"),
        ("https://a.org\\x.csv", "backslash"),
        ("http://[::zz]/x.csv", "not a valid URL"),
    ],
)
def test_an_invalid_url_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(SourceError, match="dataset_url") as caught:
        make_source(url)
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("/etc/a.csv", "absolute"),
        ("C:/a.csv", "absolute"),
        ("../a.csv", ".."),
        ("a/../../b.csv", ".."),
        ("a//b.csv", "part that is empty"),
        ("./a.csv", "single dot"),
        ("a\\b.csv", "backslash"),
        ("a\x00.csv", "control character"),
        ("https://a.org/x.csv", "dataset_url"),
    ],
)
def test_an_invalid_key_is_refused_with_the_reason(key: str, reason: str) -> None:
    with pytest.raises(SourceError, match="dataset_key") as caught:
        make_source(None, key)
    assert reason in str(caught.value)


def test_another_type_is_refused() -> None:
    with pytest.raises(SourceError, match="42"):
        make_source(42)


def test_a_credential_in_a_query_is_kept_apart_and_shown_nowhere() -> None:
    source = make_source("https://a.org/x.csv?year=2020&X-Amz-Signature=planted&token=secret1")
    assert isinstance(source, UrlSource)
    assert source.url == "https://a.org/x.csv?year=2020"
    for shown in (repr(source), str(source), source.redacted):
        assert "planted" not in shown
        assert "secret1" not in shown
    (carried,) = secrets_environment([source]).values()
    assert json.loads(carried) == {source.url: {"query": "X-Amz-Signature=planted&token=secret1", "headers": {}}}


def test_an_azure_signature_takes_its_parameters_along_and_alone_they_are_ordinary() -> None:
    signed = make_source("https://a.org/x.csv?sv=1&sig=planted&keep=2")
    assert isinstance(signed, UrlSource)
    assert (signed.url, signed.secret_query) == ("https://a.org/x.csv?keep=2", "sv=1&sig=planted")
    assert make_source("https://a.org/x.csv?sv=1&se=2").secret_query == ""  # type: ignore[union-attr]


def test_a_refused_url_does_not_show_its_token() -> None:
    with pytest.raises(SourceError) as caught:
        make_source("ftp://a.org/x.csv?token=planted")
    assert "planted" not in str(caught.value)


def test_headers_travel_in_the_environment_alone() -> None:
    source = make_source("https://a.org/x.csv", headers={"Authorization": "Bearer planted"})
    assert isinstance(source, UrlSource)
    assert "planted" not in repr(source)
    assert "Bearer planted" in secrets_environment([source])["CLOUDTRAIN_URL_SECRETS"]
    assert secrets_environment([make_source("https://a.org/x.csv")]) == {}  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("place", "file_format", "expected"),
    [
        ("a.CSV", None, "csv"),
        ("a.pq", None, "parquet"),
        ("a", "tsv", "tsv"),
        ("a.ndjson", None, "jsonl"),
        ("a.dat", "XLSX", "xlsx"),
        ("a.xls", None, "xls"),
    ],
)
def test_the_format_is_the_given_one_or_that_of_the_extension(place: str, file_format: str | None, expected: str) -> None:
    assert make_source(None, place, file_format=file_format).file_format == expected


def test_an_unknown_format_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SourceError, match=r"Set file_format to one of csv, tsv, parquet, xlsx, xls, jsonl"):
        make_source("https://a.org/data.bin?x=a.csv")
    with pytest.raises(SourceError, match="'feather'"):
        make_source(None, "a.csv", file_format="feather")
