"""Text from a machine on this computer's terminal: words, and nothing that a terminal obeys."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging
    from typing import TextIO

# Sequences of ECMA-48, with their parameters: a string up to its end (OSC, DCS, SOS, PM, APC), a CSI, any other escape; 7 bits and 8.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
# Marks that show a line in another order than its letters have (Unicode's "Bidirectional Algorithm"). Letters of any script stay.
_REORDERING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_KEPT = "\n\t"


def plain_text(text: str) -> str:
    """Return a text without what makes a terminal do something: colours, cursor, titles, clipboard, and letters in another order.

    A carriage return, which would let a line hide the one before it, begins a new line.
    """
    text = _SEQUENCES.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(letter for letter in text if letter in _KEPT or (unicodedata.category(letter) != "Cc" and letter not in _REORDERING))


def for_stream(text: str, stream: TextIO) -> str:
    """Return a text as it may be written to a stream: plain on a terminal; as it is for a file or a pipe."""
    return plain_text(text) if stream.isatty() else text


def make_plain(record: logging.LogRecord) -> bool:
    """Make a log record's message plain; a filter of a logger whose records go to a terminal."""
    record.msg, record.args = plain_text(record.getMessage()), None
    return True
