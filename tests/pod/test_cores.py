"""The cores that a job really has: its affinity, or its container's quota as the kernel shows it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kedro_cloudtrain.pod import cores

V2 = "0::/\n"
V1 = "12:memory:/docker/ab\n5:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param(V2, {}, 16, id="no quota file"),
        pytest.param(V2, {"cpu.max": "max 100000\n"}, 16, id="no quota"),
        pytest.param(V2, {"cpu.max": "400000 100000\n"}, 4, id="four cores"),
        pytest.param(V2, {"cpu.max": "25000 100000\n"}, 0.25, id="a quarter of a core"),
        pytest.param(V2, {"cpu.max": "99900000 100000\n"}, 16, id="more than there are"),
        pytest.param(V2, {"cpu.max": "what is this\n"}, 16, id="no number"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, 2, id="the parent's quota"),
        pytest.param("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "500000 100000"}, 3, id="the child's quota"),
        pytest.param("0::/of/the/host\n", {"cpu.max": "200000 100000"}, 2, id="the host's path in a container"),
        pytest.param(V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16, id="version 1, no quota"),
        pytest.param(V1, {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5, id="version 1"),
        pytest.param(
            V1,
            {"cpu,cpuacct/docker/ab/cpu.cfs_quota_us": "50000", "cpu,cpuacct/docker/ab/cpu.cfs_period_us": "25000"},
            2,
            id="its own tree",
        ),
        pytest.param(None, {"cpu.max": "200000 100000"}, 2, id="no /proc"),
    ],
)
def test_the_quota_bounds_the_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, groups: str | None, files: dict[str, str], expected: float
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    if groups is not None:
        (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    assert cores.usable_cores(tmp_path / "cgroup", tmp_path / "own") == expected


def test_the_affinity_bounds_the_cores(tmp_path: Path) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores.usable_cores(tmp_path, tmp_path / "own") == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(("own", "threads"), [(0.25, "1"), (1, "1"), (3.5, "3"), (8, "8")])
def test_threads_are_whole_and_what_a_user_has_set_stays(own: float, threads: str) -> None:
    variables = cores.thread_variables(own, {"NPROC", "HOME"})
    assert variables == {"OMP_NUM_THREADS": threads, "TF_NUM_INTRAOP_THREADS": threads, "POLARS_MAX_THREADS": threads} | {
        "CLOUDTRAIN_CORES": f"{own:g}"
    }
