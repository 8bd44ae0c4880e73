"""Seeds of the simulation: what must hold holds, the same seed gives the same life, and what is broken is seen.

More seeds: `python benchmarks/simulation.py --seeds 1000`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.launching import Launcher
from kedro_cloudtrain.backends.runpod.ledger import PodLedger
from simulation.invariants import PLANTED
from simulation.world import World, live

if TYPE_CHECKING:
    from pathlib import Path

SEEDS, CHUNK = 30, 5
# Coverage doubles a life's time, and most go through the same lines.
CHUNKS = [0, *(pytest.param(first, marks=pytest.mark.no_cover) for first in range(CHUNK, SEEDS, CHUNK))]


@pytest.mark.parametrize("first", CHUNKS)
def test_what_must_hold_holds_whatever_fails(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = live(seed)
        journal = "\n".join([*outcome.events, *outcome.journal])
        assert outcome.violations == [], f"python benchmarks/simulation.py --first {seed} --seeds 1\n{journal}"


@pytest.mark.no_cover
def test_a_seed_gives_the_same_life_again() -> None:
    first, second = live(7), live(7)
    assert first.events == second.events
    assert first.journal == second.journal
    assert first.faults == second.faults
    assert live(8).journal != first.journal


@pytest.mark.no_cover
def test_a_seed_gives_the_same_life_in_another_process() -> None:
    script = "import json; from simulation.world import live; print(json.dumps(live(7).journal))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "3"}
    other = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    live(9)  # What a process has lived before is nothing to a seed.
    assert json.loads(other.stdout) == live(7).journal


def test_a_pod_that_no_ledger_has_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PodLedger, "open", lambda *_: None)
    assert any("is in no ledger" in violation for violation in live(0).violations)


def test_a_limit_that_does_not_hold_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "reserve", lambda *_: None)
    world = World(5, tmp_path)
    world.limits.max_cost_usd, world.limits.jobs = 0.03, 3
    world.limits.settings |= {"gpu": ("NVIDIA L4",), "timeout_s": 1200.0, "max_cost_usd": None}
    world.account.faults.all_hang = True
    assert any("spent" in violation for violation in world.run().violations)


def test_a_secret_in_a_file_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Launcher._machine
    leak = "requirements"
    monkeypatch.setattr(Launcher, "_machine", lambda self, request, *more: {**real(self, request, *more), leak: [PLANTED]})
    assert any(f"{PLANTED} is in .cloudtrain/jobs" in violation for violation in live(0).violations)
