"""The JSON schema of `cloudtrain.yml`, by which an editor completes and checks it: made of the settings themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.config.node import NodeSettings
from kedro_cloudtrain.config.notify import NotifySettings
from kedro_cloudtrain.config.run import BudgetSettings, RunSettings
from kedro_cloudtrain.config.settings import Settings
from kedro_cloudtrain.config.volume import VolumeSettings

if TYPE_CHECKING:
    from pydantic import BaseModel

# Where `init` writes it, from the project's folder: outside of any environment, whose files Kedro reads.
SCHEMA_FILE = "conf/cloudtrain.schema.json"
_MODELS = (Settings, NodeSettings, RunSettings, BudgetSettings, NotifySettings, VolumeSettings)
# What Kedro's OmegaConfigLoader puts in before the settings are checked.
_INTERPOLATION = {"type": "string", "pattern": r"^\$\{.+\}$"}
# What a validator takes besides the type of the field.
_ALSO: dict[str, dict[str, Any]] = {"gpu": {"type": ["string", "null"]}, "extra_index_url": {"type": "string"}}
_ATTRIBUTE = re.compile(r"^        (\w+): (.+(?:\n {12,}.+)*)", re.MULTILINE)


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of `cloudtrain.yml` (draft 2020-12).

    Each setting has the sentence that documents it, and may be an interpolation such as `${globals:volume}`; a section may be empty.
    """
    schema = Settings.model_json_schema()
    definitions = schema.pop("$defs")
    models = {model.__name__: model for model in _MODELS}
    for name, definition in (("Settings", schema), *definitions.items()):
        texts = documented(models[name])
        definition["description"] = (models[name].__doc__ or "").partition("\n")[0]
        definition.pop("title", None)
        properties = definition.get("properties", {})
        if name == "NotifySettings":
            del properties["urls"]  # They stand in credentials.yml.
        definition["properties"] = {setting: _property(setting, value, texts.get(setting)) for setting, value in properties.items()}
    # A node's settings may be empty: it goes to a machine with the defaults. Kedro's loader takes out keys that begin with `_`.
    schema["properties"]["nodes"]["anyOf"][0]["additionalProperties"] = {"anyOf": [{"$ref": "#/$defs/NodeSettings"}, {"type": "null"}]}
    schema["patternProperties"] = {"^_": {}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "cloudtrain.yml", **schema, "$defs": definitions}


def documented(model: type[BaseModel]) -> dict[str, str]:
    """Return what a model's docstring says of each of its settings."""
    attributes = (model.__doc__ or "").partition("    Attributes:\n")[2].partition("\n\n")[0]
    return {name: re.sub(r"\s+", " ", text) for name, text in _ATTRIBUTE.findall(attributes)}


def _property(name: str, schema: dict[str, Any], text: str | None) -> dict[str, Any]:
    own = {key: value for key, value in schema.items() if key not in ("title", "default", "description")}
    # A section without a value, above lines that are commented out, is as if it was left out.
    section = [{"type": "null"}] if name in ("nodes", "defaults", "run") else []
    options = [*(own.pop("anyOf", None) or [own]), *([_ALSO[name]] if name in _ALSO else []), *section, _INTERPOLATION]
    return {
        **({"description": text} if text else {}),
        **({"default": schema["default"]} if schema.get("default") is not None and not isinstance(schema["default"], dict) else {}),
        "anyOf": options,
    }
