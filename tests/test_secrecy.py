"""What is secret is in no text: it is found by its form, or known because it was given as a credential."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from urllib.parse import quote

import pytest

from kedro_cloudtrain import secrecy
from kedro_cloudtrain.backends.runpod.account import find_api_key
from kedro_cloudtrain.config.making import make_settings
from kedro_cloudtrain.errors import AuthError, CloudTrainError, ConfigError, SourceError
from kedro_cloudtrain.jobs.environment_name import environment_name
from kedro_cloudtrain.planning.entries import _check_credentials
from kedro_cloudtrain.secrecy import know, redacted, sealed, variables_of
from kedro_cloudtrain.storage.bucket import Bucket
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.storage.sources import make_source

TOKEN = "PLANTED0token"  # noqa: S105  # a planted one


@pytest.fixture(autouse=True)
def _no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrecy, "_secret_texts", set())


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
        ("rpa_0123456789ABCDEFGHIJ is not a GPU", "*** is not a GPU"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "***"),
        (f"https://h.org/a#token={TOKEN}", "https://h.org/a#token=***"),
        (f"git+https://u:{TOKEN}/x@h.org/r.git failed", "git+https://***@h.org/r.git failed"),
        (f"see 'https://u:{TOKEN};x@h.org/r'", "see 'https://***@h.org/r'"),
        # All else stays.
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


SECRET_IN_QUERY = (
    *("pass", "user_pass", "userpass", "PASS", "dbPass", "login-pass", "pw", "user_pw", "pat", "ticket", "authTicket", "proxy_ticket"),
    *("otp", "totp", "psk", "bearer", "cookie", "assertion", "SAMLResponse", "samlart", "jsessionid", "PHPSESSID", "hdnts", "hdnea"),
    *("access_code", "authCode", "api_pass", "loginPin", "x-signature", "url_signature", "token", "sig", "api_key"),
)
ORDINARY = (
    *("passenger", "passengers", "pass_id", "passes", "compass", "bypass", "first_pass", "boarding_pass", "highpass", "password_policy"),
    *("pattern", "path", "patient", "pat_id", "spat", "tickets", "ticket_class", "ticketing", "season_ticket", "pin", "postcode", "power"),
    *("cookies", "otpional", "assertions", "bearers", "session_number", "country_code", "design", "pwd_length", "token_count"),
)


@pytest.mark.parametrize("before", ["?", "?x=1&", "?x=1;", "?x=1;y=2;", ";", "/b;"])
def test_a_secret_of_a_query_is_found_by_its_name_and_behind_a_semicolon(before: str) -> None:
    for name in SECRET_IN_QUERY:
        secrecy._secret_texts.clear()  # Each is found by its name, not because it is known.
        url = f"https://h.org/a{before}{name}=PLANTED"
        assert redacted(url) == f"https://h.org/a{before}{name}=***"
        assert redacted(f"{url}&z=3 failed") == f"https://h.org/a{before}{name}=***&z=3 failed"
        if before.startswith("?"):
            public, secret = secrecy.split_secret(f"{url}&z=3")
            assert (secret, "PLANTED" in public, public.endswith("z=3")) == (f"{name}=PLANTED", False, True)
            assert "PLANTED" not in sealed(f"a @ {url}")
        else:
            with pytest.raises(SourceError, match="holds a secret in its path") as refused:
                make_source(f"{url}.csv")
            assert "PLANTED" not in str(refused.value)
    secrecy._secret_texts.clear()
    for name in ORDINARY:
        url = f"https://h.org/a{before}{name}=PLANTED"
        assert redacted(url) == url
        assert secrecy.split_secret(url) == (url, "")


@pytest.mark.parametrize(
    ("query", "public", "secret"),
    [
        ("token=a;b", "", "token=a;b"),
        ("x=1;token=a;b;y=2", "x=1", "token=a;b;y=2"),
        ("x=1;pass=a;y=2&z=3", "x=1&z=3", "pass=a;y=2"),
        ("q=a;token=b", "q=a", "token=b"),
        ("q=a;b;token", "q=a;b;token", ""),
        ("q=a;b&token=c", "q=a;b", "token=c"),
    ],
)
def test_what_follows_a_secret_up_to_the_next_ampersand_is_hidden_with_it(query: str, public: str, secret: str) -> None:
    kept, hidden = secrecy.split_secret(f"https://h.org/a?{query}")
    assert (kept, hidden) == (f"https://h.org/a{'?' if public else ''}{public}", secret)
    assert (secret.partition("=")[2] or "PLANTED") not in redacted(f"see https://h.org/a?{query} .")


@pytest.mark.parametrize("secret", ["line one\nand line two", "tab\tand\x00zero", "clé-d'accès \\ “x”", "a\r\nb: c\r\nLONG-ENOUGH-LINE"])
def test_a_known_secret_is_hidden_as_python_json_and_urls_write_it(secret: str) -> None:
    know(secret)
    for text in (
        secret,
        repr(secret),
        repr(secret.encode()),
        repr([secret]),
        json.dumps({"a": secret}),
        quote(secret, safe=""),
        str(ValueError(secret.encode())),
    ):
        shown = redacted(f"ValueError: Invalid header value {text}")
        assert "***" in shown
        for part in secret.split():
            assert len(part) < 4 or part not in shown


@pytest.mark.parametrize(
    "key",
    [
        "rpa_PLANTED\nrest",
        "rpa_PLANTED\rrest",
        "rpa_PLANTED rest",
        "rpa_PLANTED\trest",
        "rpa_PLANTEDé",
        "rpa_PLANTED\u2028rest",
        "rpa_PLANTED\x00rest",
    ],
)
def test_a_key_that_no_header_may_have_is_refused_by_its_place(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusals = []
    with monkeypatch.context() as patch:
        patch.setattr("os.environ", {"RUNPOD_API_KEY": key})
        with pytest.raises(AuthError, match="RunPod API key in RUNPOD_API_KEY has a") as refused:
            find_api_key(tmp_path)
    refusals.append(refused.value)
    (tmp_path / ".runpod").mkdir()
    (tmp_path / ".runpod/config.toml").write_text(f"apikey = {json.dumps(key)}\n", encoding="utf-8")
    monkeypatch.delenv("RUNPOD_API_KEY", raising=False)
    with pytest.raises(AuthError, match=r"config\.toml has a") as refused:
        find_api_key(tmp_path)
    refusals.append(refused.value)
    for keys, name in (({"access_key": key, "secret_key": "b"}, "access key"), ({"access_key": "a", "secret_key": key}, "secret key")):
        with pytest.raises(AuthError, match=f"The S3 {name} for the volume vol1 in EU-RO-1 has a") as refused:
            NetworkVolume("vol1", "EU-RO-1", "http://127.0.0.1:9", keys).read_bytes("a")
        refusals.append(refused.value)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.replace("\x00", "\n"))
    with pytest.raises(AuthError, match="The S3 secret key for the bucket b has a") as refused:
        Bucket("b", "eu-central-1", "http://127.0.0.1:9").read_bytes("a")
    refusals.append(refused.value)
    if not {" ", "\t", "é"} & set(key):  # A header may have these.
        with pytest.raises(SourceError, match="The value of the header X-Token") as refused_header:
            make_source("https://h.org/a.csv", headers={"X-Token": key})
        refusals.append(refused_header.value)
    assert not [refusal for refusal in refusals if "PLANTED" in str(refusal) or "PLANTED" in repr(refusal)]


def test_an_entrys_credentials_are_checked_by_their_place() -> None:
    for fine in (
        {"key": "a", "secret": "b"},
        {"token": "{\n  'type': 'service_account'\n}"},
        {"private_key": "-----BEGIN KEY-----\nx\n"},
        {"token": "a\n"},
    ):
        _check_credentials("shops", fine)
    with pytest.raises(SourceError, match=r"`credentials\.client_kwargs\.secret` of `shops` has a line break") as refused:
        _check_credentials("shops", {"client_kwargs": {"secret": "PLANTED\nrest"}})
    assert "PLANTED" not in str(refused.value)


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
