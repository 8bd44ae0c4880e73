"""States of a long piece of work: whole or not at all, by rename, and of this very work."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import textwrap
import urllib.error
from typing import TYPE_CHECKING

import numpy as np
import pytest

import kedro_cloudtrain
from kedro_cloudtrain.worker import checkpoints
from kedro_cloudtrain.worker.checkpoints import Checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLOUDTRAIN_CHECKPOINT", str(tmp_path / "checkpoint"))
    monkeypatch.setenv("CLOUDTRAIN_WORK", "this")
    return tmp_path / "checkpoint"


def write(rounds: int, text: str = "state") -> Checkpoint:
    checkpoint = Checkpoint()
    with checkpoint.write(rounds) as folder:
        (folder / "state.txt").write_text(f"{text} {rounds}")
    return checkpoint


def test_the_docstrings_example_goes_on_where_it_stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS", "2")
    example = re.search(r"```python\n(.*?)```", inspect.getdoc(Checkpoint) or "", re.DOTALL)
    assert example is not None
    steps: list[int] = []

    def step(weights: np.ndarray, table: int) -> np.ndarray:
        if len(steps) == table:
            raise KeyboardInterrupt
        steps.append(len(steps))
        return weights + 1

    names = {"np": np, "step": step}
    exec(textwrap.dedent(example[1]), names)  # noqa: S102  # it is the example
    with pytest.raises(KeyboardInterrupt):
        names["fit"](5, {"rounds": 7})
    assert Checkpoint().rounds == 4
    np.testing.assert_array_equal(names["fit"](100, {"rounds": 7}), [7, 7, 7])
    assert len(steps) == 5 + 3
    assert kedro_cloudtrain.Checkpoint is Checkpoint


def test_outside_of_a_job_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDTRAIN_CHECKPOINT", raising=False)
    checkpoint = Checkpoint()
    assert (checkpoint.rounds, checkpoint.folder, checkpoint.due(10**6)) == (0, None, False)
    with checkpoint.write(3) as folder:
        (folder / "state.txt").write_text("x")
    assert not folder.exists()
    assert Checkpoint().folder is None


def test_the_latest_state_alone_is_kept(place: Path) -> None:
    write(3)
    checkpoint = write(5)
    assert (checkpoint.rounds, checkpoint.folder) == (5, place / "round-000005")
    restored = Checkpoint()
    assert (restored.rounds, restored.folder) == (5, place / "round-000005")
    assert (place / "round-000005/state.txt").read_text() == "state 5"
    assert sorted(path.name for path in place.iterdir()) == ["latest.json", "round-000005"]
    with restored.write(5) as folder:  # the same round once more replaces no file of the state that holds
        assert folder != place / "round-000005"
        (folder / "state.txt").write_text("again")
    assert (Checkpoint().folder / "state.txt").read_text() == "again"


@pytest.mark.parametrize("loss", ["a file", "half a file", "its name", "half its name", "all of it"])
def test_a_state_that_is_not_whole_is_none(place: Path, loss: str) -> None:
    write(3)
    latest, state = place / "latest.json", place / "round-000003/state.txt"
    match loss:
        case "a file":
            state.unlink()
        case "half a file":
            state.write_text("st")
        case "its name":
            latest.unlink()
        case "half its name":
            latest.write_text(latest.read_text()[:20])
        case _:
            latest.write_text("[]")
    assert Checkpoint().folder is None
    assert not place.exists()


def test_another_works_state_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(3)
    monkeypatch.setenv("CLOUDTRAIN_WORK", "that")
    assert Checkpoint().rounds == 0


def test_work_that_ends_while_it_writes_leaves_the_state_before(place: Path) -> None:
    checkpoint = write(3)

    def write_half() -> None:
        with checkpoint.write(4) as folder:
            (folder / "state.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert Checkpoint().rounds == 3
    assert sorted(path.name for path in place.iterdir()) == ["latest.json", "round-000003"]


@pytest.mark.parametrize("error", [ConnectionError("reset"), FileNotFoundError(2, "no such file"), urllib.error.URLError("unreachable")])
def test_an_error_of_the_work_is_no_full_disk(place: Path, error: OSError) -> None:
    checkpoint = write(3)
    with pytest.raises(type(error)), checkpoint.write(4):
        raise error
    assert Checkpoint().rounds == 3


def test_a_full_disk_stops_no_work(place: Path, tmp_path: Path) -> None:
    script = """
        import resource
        from kedro_cloudtrain import Checkpoint
        checkpoint = Checkpoint()
        for rounds, size in ((1, 100), (2, 100_000), (3, 200)):
            if rounds == 2:
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            with checkpoint.write(rounds) as folder:
                (folder / "state").write_bytes(b"x" * size)
            print("after", rounds, checkpoint.rounds)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True)
    first, message, second, third = done.stdout.splitlines()
    assert (first, second, third) == ("after 1 1", "after 2 1", "after 3 3")
    assert message.startswith("no checkpoint of round 2: ")
    assert Checkpoint().rounds == 3


def test_when_a_state_is_due(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(checkpoints, "monotonic", lambda: now[0])
    checkpoint = Checkpoint()
    assert not checkpoint.due(1)
    now[0] += 59.9
    assert not checkpoint.due(2)
    now[0] += 0.1
    assert checkpoint.due(3)
    with checkpoint.write(3) as folder:
        now[0] += 10  # a large one
        (folder / "state").write_text("x")
    now[0] += 499
    assert not checkpoint.due(4), "it takes a fiftieth of the time at most"
    now[0] += 1
    assert checkpoint.due(4)
    monkeypatch.setenv("CLOUDTRAIN_CHECKPOINT_EVERY_ROUNDS", "10")
    by_rounds = Checkpoint()
    assert [by_rounds.due(rounds) for rounds in (4, 12, 13)] == [False, False, True]


def test_what_is_written_says_of_what_it_is(place: Path) -> None:
    write(3)
    assert json.loads((place / "latest.json").read_text()) == {
        "work": "this",
        "rounds": 3,
        "folder": "round-000003",
        "files": {"state.txt": 7},
    }
