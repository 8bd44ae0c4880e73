"""The JSON schema of `cloudtrain.yml` takes what the settings take, and an editor marks what they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kedro_cloudtrain.config import NodeSettings, RunSettings, Settings, make_settings
from kedro_cloudtrain.config.schema import settings_schema
from kedro_cloudtrain.errors import ConfigError

ROOT = Path(__file__).parents[2]
VALIDATOR = jsonschema.Draft202012Validator(settings_schema())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [text for page in PAGES for text in re.findall(r"```yaml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]
SETTINGS = [text for text in BLOCKS if set(yaml.safe_load(text) or {}) <= set(Settings.model_fields)]


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(settings_schema())


@pytest.mark.parametrize("text", SETTINGS)
def test_it_takes_every_block_of_the_documents(text: str) -> None:
    VALIDATOR.validate(yaml.safe_load(text))


def test_it_takes_what_init_writes_and_what_is_commented_there() -> None:
    text = (ROOT / "templates/cloudtrain.yml").read_text(encoding="utf-8")
    VALIDATOR.validate(yaml.safe_load(text))
    lines = [re.sub(r"^# (?=(defaults|nodes|run):|  )", "", line) for line in text.splitlines() if not line.startswith("# volume")]
    values = yaml.safe_load("\n".join(lines))
    assert set(values) == set(Settings.model_fields)
    VALIDATOR.validate(values)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"backend": "runpod", "volume": {"id": "abc", "data_center": "EU-RO-1"}},
        {"volume": "${globals:volume}", "run": {"max_cost_usd": "${oc.env:MOST}"}},
        {"nodes": None, "defaults": None},
        {"nodes": {"train": None, "tag:slow": {"gpu": "NVIDIA L4"}, "a*": {"gpu": ["NVIDIA L4", "NVIDIA A40"]}}},
        {"defaults": {"gpu": None, "extra_index_url": "https://a.example.org/simple", "requirements": ["polars>=1"]}},
        {"run": {"budget": {"name": "team", "max_cost_usd": 20, "per": "day"}}},
        {"_gpus": ["NVIDIA L4"]},
    ],
)
def test_it_takes_what_the_settings_take(values: dict[str, Any]) -> None:
    VALIDATOR.validate(values)
    if not any(str(value).startswith("${") or key.startswith("_") for key, value in values.items()):
        make_settings(values)


@pytest.mark.parametrize(
    "values",
    [
        {"backnd": "local"},
        {"backend": "slurm"},
        {"defaults": {"gpus": "auto"}},
        {"defaults": {"timeout_s": 0}},
        {"defaults": {"retries": -1}},
        {"defaults": {"min_cuda_version": "twelve"}},
        {"nodes": {"train": {"timeout": 5}}},
        {"nodes": ["train"]},
        {"run": {"max_pods": 0}},
        {"run": {"on_failure": "ignore"}},
        {"run": {"budget": {"name": "team"}}},
        {"volume": {"pth": "data"}},
    ],
)
def test_it_marks_what_the_settings_refuse(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make_settings(values)
    assert not VALIDATOR.is_valid(values)


def test_every_setting_is_explained() -> None:
    schema = settings_schema()
    for name, definition in (("Settings", schema), *schema["$defs"].items()):
        unexplained = [setting for setting, value in definition["properties"].items() if "description" not in value]
        assert unexplained == [], name
    node, run = schema["$defs"]["NodeSettings"]["properties"], schema["$defs"]["RunSettings"]["properties"]
    assert set(node) == set(NodeSettings.model_fields)
    assert set(run) == set(RunSettings.model_fields)
    assert node["retries"]["default"] == 2
    assert "more pods are tried" in node["retries"]["description"]
    assert json.loads(json.dumps(schema)) == schema
