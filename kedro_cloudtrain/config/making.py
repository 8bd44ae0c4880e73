"""Settings made of the content of `cloudtrain.yml` and of `--runner-params`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from kedro_cloudtrain.config.files import keep_one_kind_of_volume, place_of
from kedro_cloudtrain.config.notify import with_urls
from kedro_cloudtrain.config.settings import Settings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.secrecy import sealed_with, shown
from kedro_cloudtrain.wording import did_you_mean, problems_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# The keys of `--runner-params`, each with the path of its setting.
RUNNER_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "backend": ("backend",),
    "max_pods": ("run", "max_pods"),
    "cache": ("run", "cache"),
    "detach": ("run", "detach"),
    "on_failure": ("run", "on_failure"),
    "report": ("run", "report"),
    "timeout_s": ("defaults", "timeout_s"),
    "gpu": ("defaults", "gpu"),
    "max_cost_usd": ("run", "max_cost_usd"),
    "retries": ("defaults", "retries"),
    "install": ("defaults", "install"),
    "wait_for_capacity_s": ("defaults", "wait_for_capacity_s"),
}


# Those that are not settings: what a run is held to, and the threads of its ordinary nodes.
RUN_PARAMETERS = ("plan", "max_workers")
_SECTIONS = ("volume", "defaults", "nodes", "run")


def make_settings(
    values: Mapping[str, Any] | None,
    runner_params: Mapping[str, Any] | None = None,
    files: Sequence[Path] = (),
    credentials: Mapping[str, Any] | None = None,
) -> Settings:
    """Make settings of the content of `cloudtrain.yml`, overridden by `--runner-params`.

    Args:
        values: the content of all environments' files, merged; None if the project has no such file.
        runner_params: values for keys of `RUNNER_PARAMETERS`; they override those of every node.
        files: the files that the values come from, the one that takes precedence first; an error names the file and the line.
        credentials: the content of credentials.yml.

    Raises:
        ConfigError: a key is unknown or missing, or its value is not valid; the message names each of them.
    """
    # A key without a value, such as `nodes:` above lines that are commented out, is as if it was left out.
    merged = {key: value for key, value in (values or {}).items() if value is not None or key not in _SECTIONS}
    if isinstance(merged.get("nodes"), dict):
        merged["nodes"] = {selector: {} if node is None else node for selector, node in merged["nodes"].items()}
    for name, value in (runner_params or {}).items():
        if name not in RUNNER_PARAMETERS:
            parameters = [*RUNNER_PARAMETERS, *RUN_PARAMETERS]
            raise ConfigError(
                f"--runner-params: `{name}` is not a runner parameter.{did_you_mean(name, parameters)} There are: {', '.join(parameters)}."
            )
        _put(merged, RUNNER_PARAMETERS[name], value)
        if RUNNER_PARAMETERS[name][0] == "defaults" and isinstance(merged.get("nodes"), dict):
            merged["nodes"] = {selector: _without(node, name) for selector, node in merged["nodes"].items()}
    _give_credentials(merged, credentials or {}, files)
    if isinstance(merged.get("run"), dict) and "notify" in merged["run"]:
        merged["run"] = {**merged["run"], "notify": with_urls(merged["run"]["notify"], credentials or {}, files)}
    if isinstance(merged.get("volume"), dict):
        merged["volume"] = keep_one_kind_of_volume(merged["volume"], files)
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        lines = [f"{place_of(path, files)}{sentence}" for path, sentence in problems_of(error, Settings)]
        raise ConfigError("\n".join(lines)) from None


def _give_credentials(merged: dict[str, Any], credentials: Mapping[str, Any], files: Sequence[Path]) -> None:
    """Put the credentials that settings name into the addresses of their indexes, which seal them.

    Raises:
        ConfigError: there are no such credentials, or they have neither a `password` nor a `token`.
    """
    defaults: dict[str, Any] = merged["defaults"] if isinstance(merged.get("defaults"), dict) else {}
    nodes: dict[str, Any] = merged["nodes"] if isinstance(merged.get("nodes"), dict) else {}
    blocks: dict[tuple[str, ...], Any] = {("defaults",): defaults}
    blocks |= {("nodes", name): block for name, block in nodes.items()}
    made: dict[tuple[str, ...], dict[str, Any]] = {}
    for path, block in blocks.items():
        name = block.get("credentials", defaults.get("credentials")) if isinstance(block, dict) else None
        if not isinstance(name, str):
            continue
        entry = credentials.get(name)
        if not isinstance(entry, Mapping) or not {"password", "token"} & entry.keys():
            if name in credentials:
                reason = f"{shown(name)} in credentials.yml has neither a `password` nor a `token`."
            else:
                reason = f"credentials.yml has no {shown(name)} with a `password` or a `token`.{did_you_mean(name, credentials)}"
            raise ConfigError(f"{place_of((*path, 'credentials'), files)}`{'.'.join(path)}.credentials`: {reason}")
        urls = {key: block.get(key, defaults.get(key) if "credentials" in block else None) for key in ("index_url", "extra_index_url")}
        made[path] = block | {key: _with_user(url, name, entry) for key, url in urls.items() if url is not None}
    if ("defaults",) in made:
        merged["defaults"] = made.pop(("defaults",))
    if made:
        merged["nodes"] = {**nodes, **{path[-1]: block for path, block in made.items()}}


def _with_user(urls: object, name: str, entry: Mapping[str, Any]) -> object:
    if isinstance(urls, list | tuple):
        return [_with_user(url, name, entry) for url in urls]
    return sealed_with(urls, name, entry) if isinstance(urls, str) and "://" in urls and "@" not in urls else urls


def _put(values: dict[str, Any], path: Sequence[str], value: object) -> None:
    for key in path[:-1]:
        inner = values.get(key)
        values[key] = values = dict(inner) if isinstance(inner, dict) else {}
    values[path[-1]] = value


def _without(values: object, key: str) -> object:
    return {name: value for name, value in values.items() if name != key} if isinstance(values, dict) else values
