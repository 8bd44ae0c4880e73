"""A GPU's use over a job's time: few points, however long the job was, that stand for all of it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedro_cloudtrain.jobs.gpu_use import MOST_POINTS, GpuUse, thinned


@given(st.integers(0, 2_000), st.floats(0.1, 60.0))
def test_the_points_are_few_evenly_spaced_and_have_the_mean_of_what_was_seen(count: int, every_s: float) -> None:
    use = GpuUse()
    percents = [float(number % 101) for number in range(count)]
    for number, percent in enumerate(percents):
        use.add(number * every_s, percent)
        use.add(number * every_s, None)
    points = use.points
    assert len(points) <= MOST_POINTS + 1
    assert len(points) >= min(count, MOST_POINTS // 2)
    times = [seconds for seconds, _ in points]
    assert times == sorted(times)
    if len(points) > 3:
        gaps = [after - before for before, after in pairwise(times[:-1])]
        assert max(gaps) - min(gaps) <= 0.25 + every_s
        assert sum(percent for _, percent in points) / len(points) == pytest.approx(sum(percents) / count, abs=8)
    few = thinned(points, 12)
    assert len(few) <= 12
    assert not points or (few[0][0] <= times[-1] and few[-1][0] >= times[len(times) // 2])
