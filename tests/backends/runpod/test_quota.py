"""The calls that the vendor's quota leaves, when answers and calls overtake each other."""

from __future__ import annotations

import pytest

from kedro_cloudtrain.backends.runpod.quota import Quota


class PausedError(Exception):
    """A call would have waited for the next window."""


def pause(_: float) -> None:
    raise PausedError


def calls_until_pause(quota: Quota) -> int:
    """Return how many calls begin before one of them waits."""
    for begun in range(100):
        try:
            quota.acquire()
        except PausedError:
            return begun
    return 100


@pytest.mark.parametrize(
    ("on_their_way", "answers", "left"),
    [
        (1, ["r=7;t=60"], 7),
        (3, ["r=7;t=60"], 5),  # two others will be counted
        (3, ["r=7;t=60", "r=6;t=60", "r=5;t=60"], 5),
        (3, ["r=5;t=60", "r=7;t=60", "r=6;t=60"], 3),  # the last came first: the two that it counted are left out until the next window
        (2, ["r=0;t=60"], 0),
        (3, ["r=1;t=60"], 0),
        (1, ['"minute";r=9;t=12, "hour";r=4;t=1812'], 4),
    ],
)
def test_a_window_leaves_what_the_calls_on_their_way_will_not_take(on_their_way: int, answers: list[str], left: int) -> None:
    quota = Quota(pause)
    for _ in range(on_their_way):
        quota.acquire()
    for answer in answers:
        assert quota.update({"RateLimit": answer}) is None
    assert calls_until_pause(quota) == left


def test_a_call_that_was_never_answered_takes_nothing_of_the_next_window() -> None:
    quota = Quota(pause)
    quota.acquire()
    quota.acquire()
    quota.release()
    quota.update({"RateLimit": "r=7;t=60"})
    assert calls_until_pause(quota) == 7


def test_a_refusal_leaves_none_until_it_says() -> None:
    quota = Quota(pause)
    quota.acquire()
    assert quota.update({"RateLimit": "r=3;t=60", "Retry-After": "20"}) == 20
    assert calls_until_pause(quota) == 0
