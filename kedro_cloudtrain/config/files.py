"""The files that settings come from: the place of a key, for an error that names it, and the volume that takes precedence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kedro_cloudtrain.wording import KeyPath

# The keys of each kind of volume.
_VOLUME_KINDS = ({"path"}, {"id", "data_center"}, {"bucket", "region"})


def keep_one_kind_of_volume(volume: dict[str, Any], files: Sequence[Path]) -> dict[str, Any]:
    """Keep the volume of the file that takes precedence, if it was merged with another environment's volume of another kind."""
    present = [kind for kind in _VOLUME_KINDS if kind & set(volume)]
    keys_by_file = [keys for keys in map(_volume_keys, files) if keys is not None]
    if len(present) == 1 or len(keys_by_file) == 1 or not keys_by_file:
        return volume  # Two kinds in one file are a mistake, which the check of the settings reports.
    # A volume that is written elsewhere (`${globals:volume}`) is of the kind that no other file names.
    others = set().union(*keys_by_file[1:])
    winning = [kind for kind in present if kind & keys_by_file[0]] or [kind for kind in present if not kind & others]
    losing = set().union(*(kind for kind in present if kind not in winning))
    return {key: value for key, value in volume.items() if key not in losing} if winning else volume


def _volume_keys(file: Path) -> set[str] | None:
    """Return the keys of `volume` in a file: an empty set if they are written elsewhere, None if the file has no volume."""
    try:
        root = yaml.compose(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    nodes = {name.value: value for name, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    if "volume" not in nodes:
        return None
    return {name.value for name, _ in nodes["volume"].value} if isinstance(nodes["volume"], yaml.MappingNode) else set()


def place_of(path: KeyPath, files: Sequence[Path]) -> str:
    """Return the file and the line of a key, as a message begins; the first file that has the key is the one whose value counts."""
    for file in files:
        try:
            line = _line_of(yaml.compose(file.read_text(encoding="utf-8")), path)
        except (OSError, yaml.YAMLError):
            continue
        if line is not None:
            return f"{file}, line {line}: "
    return "cloudtrain.yml or --runner-params: "


def _line_of(node: yaml.Node | None, path: KeyPath) -> int | None:
    line = None
    for key in path:
        if not isinstance(node, yaml.MappingNode):
            return line
        for name, value in node.value:
            if name.value == str(key):
                line, node = name.start_mark.line + 1, value
                break
        else:
            return None
    return line
