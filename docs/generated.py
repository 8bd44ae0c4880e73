"""What the reference takes from the code: settings by their schemas and docstrings, commands by click's help, JSON by its schemas.

A page asks for it by a comment, `<!-- generated: fields kedro_cloudtrain.config.NodeSettings -->`, and mkdocs calls this file as a hook.
A field without a line in its class's docstring fails the build: nothing of the reference is missing, and nothing stands in it twice.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
# The JSON that is a class of the package itself; that of the other commands has its schema beside the tests that hold it.
_RECORDS = {"runs": "kedro_cloudtrain.runs.record.RunRecord", "cost": "kedro_cloudtrain.runs.costs.CostGroup"}
_COMMENT = re.compile(r"^<!-- generated: (\w+) ?(.*?) -->$", re.MULTILINE)
# What tells a reader of the source where the rest is.
_OF_SOURCE = re.compile(r"^<!-- source -->\n.*?<!-- end of source -->\n", re.MULTILINE | re.DOTALL)
_LIMITS = {"exclusiveMinimum": "above {:,g}", "minimum": "from {:,g}", "exclusiveMaximum": "below {:,.0f}", "maximum": "at most {:,.0f}"}
_TYPES = {"string": "text", "number": "number", "integer": "whole number", "boolean": "`true` or `false`", "null": "null"}


def on_config(_: Any) -> None:
    """Let the schemas be imported by which the tests hold the JSON."""
    sys.path.insert(0, str(ROOT / "tests"))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace each comment of a page by what it asks for, and leave out what a reader of the page's source alone needs."""
    markdown = _OF_SOURCE.sub("", markdown)
    return _COMMENT.sub(lambda comment: globals()[f"make_{comment[1]}"](*comment[2].split()), markdown)


def make_fields(place: str) -> str:
    """Return the table of a model's fields: key, meaning, values and default."""
    model = _at(place)
    schema = model.model_json_schema()
    rows = [
        (f"`{name}`", meaning, _values(schema["properties"][name], schema).removesuffix(" or null"), _default(schema["properties"][name]))
        for name, meaning in _meanings(model).items()
        if not model.model_fields[name].exclude  # a field that is not a key of the file
    ]
    return _table(("key", "meaning", "takes", "default"), rows)


def make_runner_parameters() -> str:
    """Return the table of the runner parameters: each with the setting that it overrides."""
    from kedro_cloudtrain.config import RUNNER_PARAMETERS

    return _table(("name", "overrides"), [(f"`{name}`", f"`{'.'.join(path)}`") for name, path in RUNNER_PARAMETERS.items()])


def make_commands() -> str:
    """Return a section for each command: its usage, its help and its options."""
    from kedro_cloudtrain.commands.cli import cloudtrain

    return "\n\n".join(_command(command, path) for path, command in commands(cloudtrain, "kedro cloudtrain"))


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    """Yield the commands below a group with the words by which each is typed."""
    for name, command in sorted(group.commands.items()):
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


def make_json(name: str) -> str:
    """Return the tables of what a command prints with `--json`, a table for each object."""
    from pydantic import TypeAdapter

    model = _at(_RECORDS[name]) if name in _RECORDS else _at("support.json_schemas.SCHEMAS")[name]
    schema = TypeAdapter(model).json_schema(mode="serialization")
    # A dataclass's schema has no docstring of it.
    whole = schema if schema.get("description") else {**schema, "description": inspect.cleandoc(model.__doc__)}
    objects = {model.__name__: whole, **schema.get("$defs", {})}
    return "\n\n".join(_object(title, of, schema) for title, of in objects.items() if "properties" in of)


def _object(title: str, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    prose, meanings = _described(schema.get("description", ""))
    head = ("key", "value", "meaning") if meanings else ("key", "value")
    rows = [(f"`{key}`", _values(field, whole), meanings.get(key, ""))[: len(head)] for key, field in schema["properties"].items()]
    return f"### {title} {{#{title.lower()}}}\n\n{prose}\n\n{_table(head, rows)}"


def _command(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    paragraphs = inspect.cleandoc(command.help or "").split("\n\n")
    rows = [
        (", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts)) + _takes(option, context), option.help or "")
        for option in command.params
        if isinstance(option, click.Option)
    ]
    options = _table(("option", "meaning"), rows) if rows else ""
    prose = [" ".join(part.split()) for part in paragraphs]
    return "\n\n".join([f"## {path.removeprefix('kedro cloudtrain ')}", f"`{usage}`", *prose, options])


def _takes(option: click.Option, context: click.Context) -> str:
    if option.is_flag:
        return ""
    default = f", default `{option.default}`" if option.show_default else ""
    choices = f" `{'`, `'.join(option.type.choices)}`" if isinstance(option.type, click.Choice) else f" {option.make_metavar(context)}"
    return f"{choices.partition(' RANGE')[0]}{default}"


def _at(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return what a class's docstring says of its fields.

    Raises:
        ValueError: the docstring and the class do not have the same fields.
    """
    _, described = _described(model.__doc__ or "")
    if list(described) != list(model.model_fields):
        odd = sorted(set(described) ^ set(model.model_fields)) or "their order"
        raise ValueError(f"{model.__module__}.{model.__name__}: its docstring and its fields differ in {odd}")
    return described


def _described(docstring: str) -> tuple[str, dict[str, str]]:
    """Split a docstring into its first paragraph and what it says of each attribute."""
    parts = griffe.Docstring(inspect.cleandoc(docstring)).parse("google", warnings=False)
    prose = next((part.value for part in parts if part.kind is griffe.DocstringSectionKind.text), "")
    attributes = (part.value for part in parts if part.kind is griffe.DocstringSectionKind.attributes)
    return " ".join(prose.split("\n\n")[0].split()), {
        line.name: " ".join(line.description.split()) for lines in attributes for line in lines
    }


def _values(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return in words what a field's schema allows."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        target = schema["$defs"][name]
        return _values(target, schema) if "properties" not in target else _link(name)
    if "const" in field:
        return _code(field["const"])
    if "enum" in field:
        return ", ".join(map(_code, field["enum"]))
    if "anyOf" in field:
        return " or ".join(_values(one, schema) for one in field["anyOf"])
    return _of_type(field, schema)


def _of_type(field: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    if field.get("type") == "array":
        items = field.get("items") or next(iter(field.get("prefixItems", [])), {})
        return f"list of {_values(items, schema)}" if items else "list"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"names, each with {_values(inner, schema)}" if isinstance(inner, dict) else "mapping"
    limits = [words.format(field[key]) for key, words in _LIMITS.items() if key in field]
    return ", ".join([_TYPES.get(field.get("type", ""), "any value"), *limits])


def _link(model: str) -> str:
    """Return a link to the heading of a model's table."""
    return f"[{model.removesuffix('Settings')}](#{model.lower()})"


def _default(field: Mapping[str, Any]) -> str:
    default = field.get("default")
    if isinstance(default, dict) or "default" not in field:
        return ""
    return "none" if default in (None, []) else _code(default)


def _code(value: object) -> str:
    if isinstance(value, float):
        value = f"{value:g}"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
