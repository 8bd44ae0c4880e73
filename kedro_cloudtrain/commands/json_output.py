"""A command's output for another program: JSON or CSV, on stdout or in a file."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kedro_cloudtrain.secrecy import redacted

if TYPE_CHECKING:
    from collections.abc import Callable


def json_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, which prints JSON instead of a table, and `--output`, or `--out`, which writes it to a file."""
    options = (
        click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table; logs go to stderr."),
        click.option(
            "--output",
            "--out",
            "output",
            type=click.Path(path_type=Path, dir_okay=False),
            help="Write the JSON to this file, where no log line of Kedro's can mix with it.",
        ),
    )
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def print_json(value: Any, output: Path | None) -> None:
    """Print a value as JSON, or write it to a file.

    Raises:
        ClickException: the file cannot be written.
    """
    print_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", output)


def print_text(text: str, output: Path | None) -> None:
    """Print text that another program reads, or write it to a file.

    Raises:
        ClickException: the file cannot be written.
    """
    text = redacted(text)
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"--output {output} cannot be written: {error.strerror}. Name another file.") from error
