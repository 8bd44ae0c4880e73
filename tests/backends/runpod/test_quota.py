"""The calls that the vendor's quota leaves, when answers and calls overtake each other."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kedro_cloudtrain.backends.runpod.quota import Quota


class PausedError(Exception):
    """A call would have waited for the next window."""


def pause(_: float) -> None:
    raise PausedError


def calls_until_pause(quota: Quota) -> int:
    """Return how many calls begin before one of them waits."""
    with ExitStack() as calls:
        for begun in range(100):
            try:
                calls.enter_context(quota.call())
            except PausedError:
                return begun
    return 100


@pytest.mark.parametrize(
    ("in_flight", "answers", "left"),
    [
        (1, ["r=7;t=60"], 7),
        (3, ["r=7;t=60"], 5),  # two others will be counted
        (3, ["r=7;t=60", "r=6;t=60", "r=5;t=60"], 5),
        (3, ["r=5;t=60", "r=7;t=60", "r=6;t=60"], 3),  # the last came first: the two that it counted are subtracted a second time
        (2, ["r=0;t=60"], 0),
        (3, ["r=1;t=60"], 0),
        (1, ['"minute";r=9;t=12, "hour";r=4;t=1812'], 4),
    ],
)
def test_the_calls_in_flight_are_subtracted_from_a_new_window(in_flight: int, answers: list[str], left: int) -> None:
    quota = Quota(pause)
    calls = [ExitStack() for _ in range(in_flight)]
    for call in calls:
        call.enter_context(quota.call())
    for call, answer in zip(calls, answers, strict=False):
        call.close()
        assert quota.update({"RateLimit": answer}) is None
    assert calls_until_pause(quota) == left


def test_a_call_that_was_never_answered_takes_nothing_of_the_next_window() -> None:
    quota = Quota(pause)
    with pytest.raises(KeyboardInterrupt), quota.call():
        raise KeyboardInterrupt
    with quota.call():
        pass
    quota.update({"RateLimit": "r=7;t=60"})
    assert calls_until_pause(quota) == 7


def test_a_refusal_leaves_none_until_it_says() -> None:
    quota = Quota(pause)
    with quota.call():
        pass
    assert quota.update({"RateLimit": "r=3;t=60", "Retry-After": "20"}) == 20
    assert calls_until_pause(quota) == 0
