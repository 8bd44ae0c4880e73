"""Who waits for a slot, and still wants one."""

from __future__ import annotations

import threading

import pytest
from support.waiting import wait_until

from kedro_cloudtrain.errors import NotStartedError
from kedro_cloudtrain.running.slots import Slots


@pytest.mark.parametrize("others", [0, 1])
def test_a_job_that_needs_no_slot_any_more_wants_none_before_its_thread_wakes(others: int) -> None:
    slots, served, unserved = Slots(1), threading.Event(), list[bool]()

    def wait(*, needs_none: bool) -> None:
        try:
            with slots.hold("job", unless=served.is_set if needs_none else None):
                pass
        except NotStartedError:
            unserved.append(needs_none)

    threads = [threading.Thread(target=wait, kwargs={"needs_none": True})]
    threads += [threading.Thread(target=wait, kwargs={"needs_none": False}) for _ in range(others)]
    with slots.hold("first"):
        assert not slots.are_wanted
        for thread in threads:
            thread.start()
        wait_until(lambda: len(slots._waiting) == len(threads))
        assert slots.are_wanted
        served.set()  # Nobody has called look_again.
        assert slots.are_wanted is (others > 0)
        slots.look_again()
        threads[0].join(60)
        assert unserved == [True]
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert unserved == [True]
    assert not slots.are_wanted
