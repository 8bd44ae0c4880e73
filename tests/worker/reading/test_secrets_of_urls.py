from __future__ import annotations

import pytest

from kedro_cloudtrain.errors import SourceError
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import UrlSource, make_source, secrets_environment


def url_source(url: str, **more: object) -> UrlSource:
    source = make_source(url, **more)  # type: ignore[arg-type]
    assert isinstance(source, UrlSource)
    return source


@pytest.mark.parametrize(
    "place",
    [
        "https://user:planted/x@a.org/t.csv",
        "https://user:planted@a.org/t.csv",
        "https://user:planted\n@a.org/t.csv",
        "https://user:planted@a.org:0/t.csv",
        "https://user:planted[@a.org/t.csv",
        "s3://user:planted@bucket/t.csv",
        "user:planted@a.org/t.csv",
        "https://a.org/t y.csv?access_token=planted",
    ],
)
def test_a_url_that_is_refused_does_not_show_its_password(place: str) -> None:
    for given in ((place, None), (None, place)):
        if given[1] is not None and "://" not in place:
            continue  # A file of that name is possible.
        with pytest.raises(SourceError) as caught:
            make_source(*given)
        assert "planted" not in str(caught.value)


def test_an_at_sign_in_a_path_is_no_password() -> None:
    assert url_source("https://a.org:8080/v@2/t.csv").url == "https://a.org:8080/v@2/t.csv"
    assert url_source("https://a.org/v@2/t.csv?who=a@b.org").url == "https://a.org/v@2/t.csv?who=a@b.org"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://a..b/t.csv", "between 1 and 63"),
        (f"http://{'a' * 70}.org/t.csv", "between 1 and 63"),
        ("https://a.org/t\u202ecsv.x", "control character"),
        ("https://a.org:x/t.csv", "no URL"),
    ],
)
def test_a_host_or_a_text_that_no_request_can_have_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        make_source(url)


def test_two_urls_that_differ_in_their_secrets_alone_are_refused() -> None:
    first, same, other = (url_source(f"https://a.org/get?file_format=csv&key={key}", file_format="csv") for key in ("one", "one", "two"))
    assert len(secrets_environment([first, same])) == 1
    with pytest.raises(SourceError, match=r"read twice.*ordinary parameter") as caught:
        secrets_environment([first, other])
    assert "two" not in str(caught.value)
    with pytest.raises(SourceError, match="read twice"):
        secrets_environment([first, url_source("https://a.org/get?file_format=csv", file_format="csv")])


def test_a_redacted_url_keeps_its_shape() -> None:
    assert url_source("https://a.org/t.csv?x=1&sig=s#part").redacted == "https://a.org/t.csv?x=1&***#part"
    assert url_source("https://a.org/t.csv?sig=s").redacted == "https://a.org/t.csv?***"


def test_a_token_from_a_file_loses_its_line_end() -> None:
    assert url_source("https://a.org/t.csv", headers={"Authorization": "Bearer abc\n"}).headers == {"Authorization": "Bearer abc"}


@pytest.mark.parametrize(
    "headers", [{"X-Key": "plan\r\nted: x"}, {"X-Key": 3}, {"X Key": "planted"}, {"": "planted"}, {"X-Key": "планted"}, ["x"]]
)
def test_a_header_that_cannot_be_is_refused_without_its_value(headers: object) -> None:
    with pytest.raises(SourceError) as caught:
        make_source("https://a.org/t.csv", headers=headers)  # type: ignore[arg-type]
    assert "ted" not in str(caught.value).replace("wanted", "")


@pytest.mark.parametrize("more", [{"file_format": 3}, {"load_args": "sep=;"}, {"load_args": {3: 4}}])
def test_something_of_another_type_is_refused_by_name(more: dict[str, object]) -> None:
    with pytest.raises(SourceError, match=next(iter(more))):
        make_source("https://a.org/t.csv", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["../x", "a/../x", "/etc/x", "a//b", "./x", ""])
def test_no_key_leaves_the_volume(key: str, tmp_path) -> None:
    with pytest.raises(SourceError, match="no place on the volume"):
        DirectoryVolume(tmp_path).path(key)
