"""What a machine writes, on a terminal: its words, and nothing that the terminal obeys."""

from __future__ import annotations

import logging
import os
import pty
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.kedro_project import Project

from kedro_cloudtrain.errors import JobFailedError
from kedro_cloudtrain.jobs.result import JobProgress
from kedro_cloudtrain.running.display import Display, metric
from kedro_cloudtrain.terminal import for_stream, plain_text

CASES = {
    "words": ("rmse 1.5\n\tétoile 日本 😀 שלום مرحبا", "rmse 1.5\n\tétoile 日本 😀 שלום مرحبا"),
    "a colour": ("\x1b[31mred\x1b[0m", "red"),
    "a colour with parameters": ("\x1b[38;2;255;0;0mred", "red"),
    "the screen and the cursor": ("a\x1b[2J\x1b[1;1Hb\x1b[?25l", "ab"),
    "a title, ended by BEL": ("\x1b]0;PWN\x07log", "log"),
    "a title, ended by ST": ("\x1b]2;PWN\x1b\\log", "log"),
    "a title that does not end": ("\x1b]0;PWN\nlog", "\nlog"),
    "the clipboard": ("\x1b]52;c;cm0gLXJm\x07x", "x"),
    "a link": ("\x1b]8;;http://evil\x1b\\text\x1b]8;;\x1b\\", "text"),
    "a device control string": ("\x1bP1$r0m\x1b\\x", "x"),
    "an application command": ("\x1b_Gf=100;AAAA\x1b\\x", "x"),
    "a privacy message": ("\x1b^secret\x1b\\x", "x"),
    "a reset": ("\x1bcx", "x"),
    "a character set": ("\x1b(0x", "x"),
    "an escape at the end": ("x\x1b", "x"),
    "half a sequence": ("x\x1b[31", "x"),
    "8 bits: CSI": ("\x9b31mred", "red"),
    "8 bits: OSC": ("\x9d0;PWN\x9cx", "x"),
    "8 bits: others": ("a\x84\x85b", "ab"),
    "a sequence within a sequence": ("\x1b\x1b[31[2Jx", "2Jx"),
    "a line over another": ("failed\rall is well", "failed\nall is well"),
    "Windows' lines": ("a\r\nb", "a\nb"),
    "backspaces": ("rm\x08\x08ls", "rmls"),
    "a bell and a NUL": ("a\x07\x00b\x7f", "ab"),
    "letters in another order": ("a\u202egnp.exe\u202c \u2066x\u2069", "agnp.exe x"),
    "a form feed": ("a\x0c\x0bb", "ab"),
    "markup": ("[red]x[/red]", "[red]x[/red]"),
}


@pytest.mark.parametrize(("text", "shown"), CASES.values(), ids=CASES)
def test_a_terminal_gets_words_alone(text: str, shown: str) -> None:
    assert plain_text(text) == shown
    assert plain_text(shown) == shown


@given(st.text(st.sampled_from("ab日\u202e\x1b\x9b\x9d\x85[]0;m\r\n\x07\x00\\P_"), max_size=30))
@settings(max_examples=60, derandomize=True, deadline=None, database=None)
def test_nothing_that_a_terminal_obeys_is_left_of_any_text(text: str) -> None:
    shown = plain_text(text)
    assert not [letter for letter in shown if (ord(letter) < 32 and letter not in "\n\t") or 0x7F <= ord(letter) < 0xA0]
    assert plain_text(shown) == shown


def test_an_error_is_plain_on_a_terminal_and_whole_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    error = JobFailedError("ValueError: \x1b]0;PWN\x07\x1b[2Jboom")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert error.format_message() == error.message
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert error.format_message() == "ValueError: boom"


def test_the_live_display_and_its_log_lines_are_plain(caplog: pytest.LogCaptureFixture) -> None:
    logger, dirty = logging.getLogger("kedro.cloudtrain"), "pod \x1b[2Jlost\rits host"
    caplog.set_level("INFO", "kedro.cloudtrain")
    for is_terminal in (True, False):
        with Path(os.devnull).open("w") as nowhere:
            with Display("run", Console(file=nowhere, force_terminal=is_terminal)):
                logger.warning("%s: %s", "train", dirty)
            logger.warning(dirty)
    assert [record.getMessage() for record in caplog.records if "lost" in record.getMessage()] == [
        "train: pod lost\nits host",
        dirty,
        f"train: {dirty}",
        dirty,
    ]
    assert metric(JobProgress(step=1, of=2, metrics={"validation_\x1b[2Jrmse": 1.5})) == "val rmse 1.5"


def test_a_log_is_plain_on_a_terminal_and_whole_in_a_pipe(project: Project) -> None:
    job = project.path / "data/volume/.cloudtrain/jobs/train_mass-0123456789ab"
    job.mkdir(parents=True)
    (job / "job.json").write_text('{"name": "train_mass"}')
    (job / "log.txt").write_text("\x1b]0;PWN\x07\x1b[31mround 1\x1b[0m\n")
    assert "\x1b]0;PWN\x07\x1b[31mround 1\x1b[0m\n" in project.kedro("cloudtrain", "logs", "train_mass").stdout
    ours, theirs = pty.openpty()
    with os.fdopen(ours), os.fdopen(theirs, "w") as terminal:
        assert for_stream("\x1b]0;PWN\x07\x1b[31mround 1\x1b[0m\n", terminal) == "round 1\n"
