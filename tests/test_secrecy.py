"""What is secret is in no text: it is found by its form, or known because it was given as a credential."""

from __future__ import annotations

import logging

import pytest

from kedro_cloudtrain import secrecy
from kedro_cloudtrain.config.making import make_settings
from kedro_cloudtrain.errors import CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.jobs.environment_name import environment_name
from kedro_cloudtrain.secrecy import know, redacted, sealed, variables_of
from kedro_cloudtrain.storage.sources import make_source

TOKEN = "PLANTED0token"  # noqa: S105  # a planted one


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_known", set())


@pytest.mark.parametrize(
    ("text", "public"),
    [
        (f"pkg @ https://u:{TOKEN}@h.org/p.whl", "pkg @ https://***@h.org/p.whl"),
        (f"--extra-index-url=https://{TOKEN}@h.org/simple", "--extra-index-url=https://***@h.org/simple"),
        (f"git+https://oauth2:{TOKEN}@h.org/r.git@v1#subdirectory=a", "git+https://***@h.org/r.git@v1#subdirectory=a"),
        (f"'https://a:b@c:{TOKEN}@h.org/'", "'https://***@h.org/'"),
        (f"GET https://h.org/a?x=1&token={TOKEN}&y=2 failed", "GET https://h.org/a?x=1&token=***&y=2 failed"),
        (f"https://h.org/a?X-Amz-Signature={TOKEN}#f", "https://h.org/a?X-Amz-Signature=***#f"),
        (f"https://h.org/a?sig={TOKEN}.", "https://h.org/a?sig=***"),
        (f"https://h.org/a?sig=***{TOKEN}", "https://h.org/a?sig=***"),
        ("rpa_0123456789ABCDEFGHIJ is no GPU", "*** is no GPU"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "***"),
        (f"https://h.org/a#token={TOKEN}", "https://h.org/a#token=***"),
        (f"git+https://u:{TOKEN}/x@h.org/r.git failed", "git+https://***@h.org/r.git failed"),
        (f"see 'https://u:{TOKEN};x@h.org/r'", "see 'https://***@h.org/r'"),
        # What is no secret stays.
        ("http://h.org:8080/a@b http://[::1]/a@b", "http://h.org:8080/a@b http://[::1]/a@b"),
        ("https://h.org/a.csv?code=DE-2024-population#code=x", "https://h.org/a.csv?code=DE-2024-population#code=x"),
        ("git+ssh://git@h.org/r.git", "git+ssh://git@h.org/r.git"),
        ("https://h.org/a@b?page=1", "https://h.org/a@b?page=1"),
        ("mail me@h.org: key=value, token=none", "mail me@h.org: key=value, token=none"),
        ("https://${NAME}@h.org/", "https://${NAME}@h.org/"),
    ],
)
def test_a_secret_is_taken_out_of_a_text(text: str, public: str) -> None:
    assert redacted(text) == public
    assert redacted(public) == public
    assert str(CloudTrainError(text)).rstrip(".") == public.rstrip(".")


@pytest.mark.parametrize(
    ("line", "given"),
    [
        ("pkg @ https://u:{}@h.org/p-1.0-py3-none-any.whl", "u:{}"),
        ("pkg @ https://h.org/p.whl?x=1&token={}#sha256=ab ; sys_platform == 'linux'", "token={}"),
        ("--index-url=https://{}@h.org/simple/", "{}"),
        ("pkg @ git+https://u:{}@h.org/r.git@v1", "u:{}"),
        ("https://u:{}@h.org/p.zip", "u:{}"),
        ("pkg @ https://h.org/p.whl?accessToken={}", "accessToken={}"),
        ("pkg @ https://u:a;{}@h.org/p.whl ; sys_platform == 'linux'", "u:a;{}"),
        ("pkg @ https://u:a/{}@h.org/p.whl", "u:a/{}"),
        ("pkg @ git+https://h.org/r.git@glpat-0123456789{}#subdirectory=a", "glpat-0123456789{}"),
        ("pkg @ git+ssh://glpat-0123456789{}@h.org/r.git", "glpat-0123456789{}"),
    ],
)
def test_a_sealed_line_is_the_same_for_another_token_and_its_variable_has_the_token(line: str, given: str) -> None:
    first = sealed(line.format(TOKEN))
    assert variables_of([first]) != {}
    assert list(variables_of([first]).values()) == [given.format(TOKEN)]
    assert TOKEN not in first
    second = sealed(line.format("ANOTHER0token"))
    assert second == first == sealed(first)
    assert list(variables_of([second]).values()) == [given.format("ANOTHER0token")]
    assert environment_name([first], "3.12", "image") == environment_name([second], "3.12", "image")
    # An installer puts the value in where the secret was.
    (name,) = variables_of([second])
    assert second.replace(f"${{{name}}}", given.format("ANOTHER0token")) == line.format("ANOTHER0token")


@pytest.mark.parametrize(
    "name",
    [
        *("accessToken", "apiToken", "authToken", "sessionToken", "idToken", "X-Auth-Token", "PRIVATE-TOKEN", "job_token", "accesstoken"),
        *("secretKey", "privateKey", "subscriptionKey", "Ocp-Apim-Subscription-Key", "apiKey", "api%4bey", "X-Api-Key", "clientSecret"),
        *("client_secret", "userPassword", "passphrase", "code", "appid", "appId", "sessionId", "session_id", "sid"),
    ],
)
def test_a_secret_parameter_is_found_by_its_words_however_they_are_joined(name: str) -> None:
    for value in ("aB3dE5gH7jK9mN1p", "0123456789abcdef0123456789abcdef", "Zm9vYmFyMTIz%2Bc2VjcmV0LWtleQ%3D%3D"):
        url = f"https://h.org/a.csv?page=1&{name}={value}"
        assert secrecy.split_secret(url) == ("https://h.org/a.csv?page=1", f"{name}={value}")
        assert secrecy.split_secret(f"https://h.org/a.csv#{name}={value}") == ("https://h.org/a.csv", "")
        assert redacted(url) == f"https://h.org/a.csv?page=1&{name}=***"
        assert value not in sealed(f"a @ {url}#sha256=ab")


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("s3://h.org/a#token=PLANTED", "s3://h.org/a#token=***"),
        ("s3://h.org/a?x=1&accessToken=PLANTED&y=2#f", "s3://h.org/a?x=1&accessToken=***&y=2#f"),
        ("s3://h.org/a?token=a#PLANTED", "s3://h.org/a?token=***"),
        ("s3://h.org/a?x=1#authToken=PLANTED", "s3://h.org/a?x=1#authToken=***"),
        ("s3://u:PLANTED/a@h.org/a", "s3://***@h.org/a"),
    ],
)
def test_a_refused_dataset_url_shows_no_secret(url: str, public: str) -> None:
    with pytest.raises(SourceError) as refused:
        make_source(url)
    assert repr(public) in str(refused.value)


@pytest.mark.parametrize(
    "query",
    [
        *("code=DE", "code=DE-2024-01-population", "code=1234567890123456", "appid=730", "sid=lower_case_words_only", "sessionId=42"),
        *(
            "keyword=x",
            "monkey=x",
            "tokens=3",
            "tokenizer=a",
            "secretary=x",
            "country=aB3dE5gH7jK9mN1p",
            "id=aB3dE5gH7jK9mN1p",
            "policyYear=1",
        ),
    ],
)
def test_an_ordinary_parameter_stays_in_its_url(query: str) -> None:
    url = f"https://h.org/a.csv?{query}#part=1"
    assert secrecy.split_secret(url) == (url, "")
    assert redacted(url) == url == sealed(url)


def test_a_variable_of_the_users_own_is_carried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", TOKEN)
    line = "--index-url=https://u:${SHOP_TOKEN}@h.org/simple"
    assert sealed(line) == line
    assert variables_of([line]) == {"SHOP_TOKEN": TOKEN}


def test_a_known_secret_is_in_no_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    know("a known one")
    logging.getLogger("kedro.cloudtrain").warning("%s is %s", "it", "a known one")
    assert caplog.messages == ["it is ***"]


INDEX = "https://h.org/simple"


def test_settings_have_indexes_with_credentials_and_no_secret() -> None:
    own = {"index_url": f"https://v:{TOKEN}@h.org/c", "credentials": None, "extra_index_url": []}
    nodes = {"a": {"index_url": f"{INDEX}/a"}, "b": {"credentials": "other"}, "c": own}
    credentials = {"shop": {"username": "u", "password": "p/w PLANTED"}, "other": {"token": "t-PLANTED"}}
    defaults = {"extra_index_url": INDEX, "credentials": "shop"}
    settings = make_settings({"defaults": defaults, "nodes": nodes}, credentials=credentials)
    assert "PLANTED" not in repr(settings)
    users = {name: list(variables_of(settings.for_node(name).index_lines).values()) for name in "abc"}
    # The same index is asked as another user for another node.
    assert users == {"a": ["u:p%2Fw%20PLANTED"] * 2, "b": ["t-PLANTED"], "c": [f"v:{TOKEN}"]}
    assert settings.for_node("a").index_lines[0].startswith("--index-url=https://${")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"requirements": [f"--extra-index-url=https://u:{TOKEN}@h.org/simple"]}, "an index is set by index_url or extra_index_url"),
        ({"requirements": [f"pkg @@ https://u:{TOKEN}@h.org"]}, "is not a valid requirement"),
        ({"index_url": f"ftp://u:{TOKEN}@h.org"}, "is not the address of an index"),
        ({"index_url": INDEX, "credentials": "shop"}, "credentials.yml has no 'shop' with a `password` or a `token`"),
        ({"gpu_count": "rpa_0123456789ABCDEFGHIJKL"}, "`defaults.gpu_count`"),
        ({"min_cuda_version": "0a1b2c3d4e5f0a1b2c3d4e5f0a1b2c3d"}, "*** (32 characters)"),
    ],
)
def test_a_refusal_repeats_no_secret(values: dict[str, object], part: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_settings({"defaults": values})
    assert part in str(refused.value)
    for secret in (TOKEN, "0123456789ABC", "0a1b2c3d4e5f"):
        assert secret not in str(refused.value)
