"""A requirements file, read as pip reads it: with continued lines, comments, hashes, and the files that it includes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from packaging.requirements import InvalidRequirement, Requirement

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.origins import index_option
from kedro_cloudtrain.secrecy import HIDDEN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = re.compile(r"(?:[a-z]+\+)?(?:https?|ssh|git)://\S+", re.IGNORECASE)
# Lines that are not packages: `--constraint=pandas<3` bounds a release without asking for the package.
CONSTRAINT = "--constraint="
REQUIRE_HASHES = "--require-hashes"
_INDEX = re.compile(r"(-i|--index-url|--extra-index-url|-f|--find-links)[ =]\s*(\S+)")
_LONG = {"-i": "--index-url", "-f": "--find-links"}
_INCLUDED = re.compile(r"(-r|--requirement|-c|--constraint)[ =]?\s*(\S+)")
# A user before a host, in a word that is not a whole URL; `six@1.0` has none.
_USER = re.compile(r"(?<!\S)[^@]*[:/].*@(?=[^@])|(?<!\S)[^@]+@(?=[^@]*/)")
_PASSED_ON = re.compile(r"(--no-index|--require-hashes)|(--no-binary|--only-binary)[ =]\s*(\S+)")
_EDITABLE = re.compile(r"(-e|--editable)\b")
_WEB_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_WITH_SCHEME = re.compile(r"(?:[a-z][a-z0-9+.-]*://|file:|\$\{)", re.IGNORECASE)
_PATH = re.compile(r"\.{0,2}/|\.$|[\w./-]+\.(?:whl|zip|tar\.gz)$|file:")


def lines_of(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of a requirements file, each with the hashes that it has: packages, URLs and paths, constraints, and options.

    Raises:
        ConfigError: a line cannot be followed on another machine; the message names file and line.
    """
    yield from _read(file, set())


def checked(line: str, where: str) -> str:
    """Return a line that is a requirement, a URL or a path.

    Raises:
        ConfigError: it is none of these.
    """
    try:
        url = Requirement(line).url
    except InvalidRequirement as error:
        if not URL.fullmatch(line) and not _PATH.match(line):
            reason = str(error).splitlines()[0]
            message = f"{where}: {_shown(line)!r} is not a requirement: {reason}. Write it as pip does, for example pandas>=2.1."
            raise ConfigError(message) from None
        return line
    if url is not None and not _WITH_SCHEME.match(url):
        raise ConfigError(f"{where}: {_shown(line)!r} has no URL after the @. Write all of it, from https:// or file:// on.")
    return line


def _read(file: Path, visited: set[Path]) -> Iterator[tuple[str, list[str]]]:
    if file.resolve() in visited:
        return
    visited.add(file.resolve())
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    # A continued line becomes one line with the number of its first.
    text = re.sub(r"\\\r?\n((?:[^\n]*\\\r?\n)*)", lambda match: " " + match[1].replace("\\\n", " "), text)
    for number, written in enumerate(text.splitlines(), start=1):
        line, where = re.sub(r"(^|\s)#.*", "", written).strip(), f"{file}, line {number}"
        if included := _INCLUDED.fullmatch(line):
            of_constraints = "c" in included[1]
            if _WEB_ADDRESS.match(included[2]):
                raise ConfigError(
                    f"{where}: {_shown(line)} is on a web server, and packages are read from files of the project. Download it, and name "
                    "it by its path."
                )
            for inner, hashes in _read(file.parent / included[2], visited):
                yield (CONSTRAINT + inner if of_constraints and not inner.startswith("-") else inner), hashes
        elif line.startswith("-"):
            yield from ((option, []) for option in _passed_on(line, where))
        elif line:
            requirement, *options = re.split(r"\s+--", line)
            hashes = [option.removeprefix("hash=") for option in options if option.startswith("hash=")]
            if len(hashes) < len(options):
                other = next(option for option in options if not option.startswith("hash="))
                raise _not_passed_on(f"--{other}", where)
            yield checked(requirement.strip(), where), hashes


def _passed_on(line: str, where: str) -> Iterator[str]:
    """Yield an option as a machine gets it; nothing for an editable package, whose code travels by itself."""
    if index := _INDEX.fullmatch(line):
        if not _WEB_ADDRESS.match(index[2]):
            raise ConfigError(
                f"{where}: {_shown(line)} is a place on this computer, which no machine has. Give it by its URL, from https:// on."
            )
        yield index_option(index[2], _LONG.get(index[1], index[1]))
    elif option := _PASSED_ON.fullmatch(line):
        yield option[1] or f"{option[2]}={option[3]}"
    elif not _EDITABLE.match(line):
        raise _not_passed_on(line, where)


def _not_passed_on(line: str, where: str) -> ConfigError:
    return ConfigError(f"{where}: no machine is given the option {_shown(re.split('[ =]', line)[0])}. Take it out of the file.")


def _shown(line: str) -> str:
    """Return a line that was refused as a message repeats it: also an address without its `https://` may have a user and a password."""
    return "".join(word if "://" in word else _USER.sub(f"{HIDDEN}@", word) for word in re.split(r"([\s=]+)", line))
