"""A plan in a file, which a run can be held to: what was looked at is what runs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.planning.record import PlannedNodeRecord  # noqa: TC001  # pydantic asks for it when the class is made
from kedro_cloudtrain.wording import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kedro_cloudtrain.planning.record import Digest, Record

VERSION = 1
_WORK = {
    "function": "its function",
    "arguments": "the names of its inputs",
    "returns": "the names of its outputs",
    "script": "the script that its template makes",
}


class _Node(BaseModel):
    name: str
    planned: PlannedNodeRecord
    problems: list[str]
    doubts: list[str]


class _Run(BaseModel):
    planned: dict[str, str | None]
    problems: list[str]
    doubts: list[str]


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    nodes: list[_Node]
    run: _Run


@dataclasses.dataclass(frozen=True)
class SavedPlan:
    """What `kedro cloudtrain plan --out FILE` has written.

    Attributes:
        file: the file.
        run: the digests of what the nodes share.
        nodes: those of each node, by its name.
    """

    file: Path
    run: Mapping[str, Digest]
    nodes: Mapping[str, PlannedNodeRecord]

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a plan.

        Raises:
            ConfigError: the file does not exist, it is not a plan, or nothing can be held to it, since it has problems or doubts.
        """
        content = _content(file)
        version = content.get("version")
        if version != VERSION:
            raise ConfigError(f"{_named(file)} is a plan of version {version!r}, and this kedro-cloudtrain has {VERSION}. {_again(file)}")
        parts = [content["run"], *content["nodes"]]
        if not all(isinstance(part, dict) and "planned" in part for part in parts):
            raise ConfigError(f"{_named(file)} was made by an earlier kedro-cloudtrain: no run can be compared with it. {_again(file)}")
        try:
            read = _File.model_validate(content)
        except ValidationError as error:
            places = ", ".join(f"`{dotted(problem['loc'])}`" for problem in error.errors()[:3])
            raise ConfigError(f"{_named(file)} was changed since it was made: {places}. {_again(file)}") from None
        for kind, what in (("problems", "problems, with which nothing would run"), ("doubts", "doubts: something did not answer")):
            texts = [*getattr(read.run, kind), *(f"{node.name}: {text}" for node in read.nodes for text in getattr(node, kind))]
            if texts:
                raise ConfigError(f"{_named(file)} was made with {what}.\n" + "\n".join(dict.fromkeys(texts)) + f"\n{_again(file)}")
        return cls(file, read.run.planned, {node.name: node.planned for node in read.nodes})

    def check(self, record: Record) -> None:
        """Check that a run would do what was planned.

        Args:
            record: what the run would do.

        Raises:
            ConfigError: it would do something else; the message names each node and what differs.
        """
        lines = list(self._differences(record))
        if lines:
            raise ConfigError(
                f"{self.file} is not the plan of this run, so nothing was run. What differs:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nGive the run the options that the plan was made with (--pipeline, --params, --env, --load-versions, --runner-params). "
                f"Or plan again, review it, and run that: kedro cloudtrain plan --out {self.file}"
            )

    def _differences(self, record: Record) -> Iterator[str]:
        shared = list(_changed(self.run, record.run))
        if "plugin" in shared:
            yield "kedro-cloudtrain itself, which is not the one that made the plan"
            return  # Another release may make other digests of the same.
        if shared:
            yield f"the run: {', '.join(shared)}"
        names: dict[str, list[str]] = {}
        for name in dict.fromkeys([*self.nodes, *record.nodes]):
            names.setdefault(self._difference(name, record), []).append(name)
        yield from (f"{', '.join(nodes)}: {difference}" for difference, nodes in names.items() if difference)

    def _difference(self, name: str, record: Record) -> str:
        """Return what differs in a node; an empty text if nothing does."""
        if name not in record.nodes:
            return "planned, but not in this run"
        if name not in self.nodes:
            return "in this run, but not planned"
        planned, now = self.nodes[name], record.nodes[name]
        settings, parameters = (list(_changed(getattr(planned, part), getattr(now, part))) for part in ("settings", "parameters"))
        entries = [key for key in now.inputs if key in planned.inputs and now.inputs[key].entry != planned.inputs[key].entry]
        # Content that the plan could not see is not compared: another node may write it, by other means than the catalog.
        looked_at = {key: before.content for key, before in planned.inputs.items() if before.content is not None}
        contents = [key for key in now.inputs if key in looked_at and now.inputs[key].content != looked_at[key]]
        outputs = [key for key in now.outputs if key in planned.outputs and now.outputs[key] != planned.outputs[key]]
        work = [key for key in _changed(planned.work, now.work) if key != "script" or not (parameters or entries)]
        return "; ".join(
            [
                *(["where it runs"] if planned.where != now.where else []),
                # An ordinary node has none.
                *([f"settings {', '.join(settings)}"] if settings and planned.settings and now.settings else []),
                *(_WORK.get(key, key) for key in work),
                *(["its code, or a module that it imports"] if planned.code != now.code else []),
                *(["the packages that its pod installs"] if planned.requirements != now.requirements else []),
                *([f"parameters {', '.join(parameters)}"] if parameters else []),
                *(f"the catalog's entry `{key}`" for key in dict.fromkeys([*entries, *outputs])),
                # What another entry holds is not the same content changed.
                *(_content_difference(key, record.errors.get((name, key))) for key in contents if key not in entries),
            ]
        )


def _content_difference(name: str, error: str | None) -> str:
    return f"what `{name}` holds" if error is None else f"`{name}` cannot be compared ({error.rstrip('.')})"


def _changed(planned: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names that have another digest, or are on one side alone."""
    missing = object()
    yield from (name for name in dict.fromkeys([*planned, *now]) if planned.get(name, missing) != now.get(name, missing))


def _content(file: Path) -> dict[str, Any]:
    """Return the JSON of a plan's file.

    Raises:
        ConfigError: it cannot be read, or is not the JSON of a plan.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{_named(file)}: there is no such file in {Path.cwd()}. {_again(file)}") from None
    except OSError as error:
        raise ConfigError(f"{_named(file)} cannot be read: {error.strerror}. {_again(file)}") from None
    except ValueError as error:
        raise ConfigError(f"{_named(file)} is not JSON: {error}. {_again(file)}") from None
    if not isinstance(content, dict) or not isinstance(content.get("nodes"), list) or not isinstance(content.get("run"), dict):
        raise ConfigError(f"{_named(file)} is JSON, but not a plan. {_again(file)}")
    return content


def _named(file: Path) -> str:
    return f"--runner-params plan={file}"


def _again(file: Path) -> str:
    return f"Make the plan, and look at it: kedro cloudtrain plan --out {file if file.suffix == '.json' else 'plan.json'}"
