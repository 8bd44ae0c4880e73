"""The words of messages: a suggestion is never the very word that was typed."""

from __future__ import annotations

import itertools

import pytest

from kedro_cloudtrain.config import make_settings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.wording import did_you_mean

WORDS = ("nokey", "nokeys", "key", "keys", "url", "urls", "")


def test_a_name_that_exists_is_not_suggested_and_no_other_is_instead() -> None:
    for name, *names in itertools.product(WORDS, repeat=4):
        assert f"`{name}`" not in did_you_mean(name, names)
        assert name not in names or did_you_mean(name, names) == ""
        assert did_you_mean(name, iter(names)) == did_you_mean(name, names)
    assert did_you_mean("nokey", ["url", "nokeys"]) == " Did you mean `nokeys`?"


@pytest.mark.parametrize(
    ("settings", "credentials", "message"),
    [
        ({"run": {"notify": {"credentials": "nokey"}}}, {"nokey": {}}, "'nokey' in credentials.yml has neither a `url` nor"),
        ({"run": {"notify": {"credentials": "nokey"}}}, {"nokeys": {}}, "Did you mean `nokeys`?"),
        ({"defaults": {"credentials": "nokey"}}, {"nokey": {}}, "'nokey' in credentials.yml has neither a `password` nor a `token`"),
        ({"defaults": {"credentials": "nokey"}}, {"nokeys": {}}, "Did you mean `nokeys`?"),
    ],
)
def test_an_entry_that_is_there_and_lacks_a_part_is_told_what_it_lacks(settings: dict, credentials: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings(settings, credentials=credentials)
    assert message in str(caught.value)
    assert "`nokey`?" not in str(caught.value)
