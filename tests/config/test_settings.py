"""cloudtrain.yml: which nodes a key of `nodes` matches, which of several keys takes precedence, and which of two volumes."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from kedro.pipeline import node
from support.kedro_project import Project, edit

from kedro_cloudtrain.backends.runpod.budget import pod_time_s
from kedro_cloudtrain.backends.runpod.ledger import LedgerEntry
from kedro_cloudtrain.config import make_settings, selects
from kedro_cloudtrain.config.bounds import MOST_SECONDS
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.jobs.volume_file import parsed
from kedro_cloudtrain.planning.selectors import unmatched_selectors
from kedro_cloudtrain.pod import job_folder


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("train", True),
        ("tra*", True),
        ("tr", False),
        ("tag:slow", True),
        ("tag:slo", False),
        ("namespace:shop", True),
        ("namespace:shop.north", True),
        ("namespace:sho", False),
    ],
)
def test_a_selector_matches_a_name_a_glob_a_tag_or_a_namespace(selector: str, matches: bool) -> None:
    assert selects(selector, "train", {"slow"}, "shop.north") is matches


def test_a_name_that_kedro_has_made_matches_in_spite_of_its_brackets() -> None:
    name = "fit([params:a;b]) -> [c]"
    assert selects(name, name, (), None)


def test_the_exact_name_overrides_any_other_selector() -> None:
    settings = make_settings({"nodes": {"train": {"timeout_s": 1}, "tra*": {"timeout_s": 2, "retries": 5}, "tag:slow": {"timeout_s": 3}}})
    node_settings = settings.for_node("train", {"slow"})
    assert (node_settings.timeout_s, node_settings.retries) == (1, 5)
    assert settings.for_node("trains", {"slow"}).timeout_s == 3


def test_a_selector_that_matches_no_node_is_reported_with_the_nearest_name() -> None:
    nodes = [node(len, "params:a", "b", name="long_node", tags="heavy", namespace="cand")]
    settings = make_settings({"nodes": {"cand.long_node": {}, "cand.lnog_node": {}, "tag:heavvy": {}, "namespace:cnad": {}, "x_*": {}}})
    sentences = unmatched_selectors(settings, nodes)
    assert [sentence.partition(" under ")[0] for sentence in sentences] == ["`cand.lnog_node`", "`tag:heavvy`", "`namespace:cnad`"]
    assert [sentence.partition("of the project.")[2] for sentence in sentences] == [
        " Did you mean `cand.long_node`?",
        " Did you mean `heavy`?",
        " Did you mean `cand`?",
    ]


@pytest.mark.measured
def test_a_selector_that_matches_no_node_is_refused_and_one_of_another_pipeline_is_a_note(project: Project) -> None:
    project.write("conf/base/cloudtrain.yml", "nodes: {train_mas: {timeout_s: 60}}\n")
    sentence = "`train_mas` under `nodes` in cloudtrain.yml selects no node of the project. Did you mean `train_mass`?"
    plan = project.kedro("cloudtrain", "plan")
    assert plan.returncode == 1
    assert f"1 problem\n  run  {sentence}" in plan.stdout
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert sentence in done.stderr
    edit(
        project,
        "src/shop/pipeline_registry.py",
        'return {"__default__"',
        'return {"after": Pipeline([node(sorted, "names", "sorted")]), "__default__"',
    )
    project.write("conf/base/cloudtrain.yml", 'nodes: {"x_*": {}, "tag:nobody": {}}\n')
    plan = project.kedro("cloudtrain", "plan")
    assert plan.returncode == 0
    assert "`x_*`, `tag:nobody` under `nodes` in cloudtrain.yml select no node." in " ".join(plan.stdout.split())
    project.write("conf/base/cloudtrain.yml", "nodes: {train_mass: {timeout_s: 60}, 'x_*': {}}\n")
    plan = project.kedro("cloudtrain", "plan", "--pipeline", "after", "--json")
    (note,) = json.loads(plan.stdout[plan.stdout.index("{\n") :])["run"]["notes"]
    assert "`x_*` under `nodes` in cloudtrain.yml selects no node." in note
    assert "`train_mass` under `nodes` in cloudtrain.yml selects a node of another pipeline." in note


@pytest.mark.parametrize(
    ("base", "other", "merged", "wins"),
    [
        ("volume: {path: a}", "volume: {id: v, data_center: D}", {"path": "a", "id": "v", "data_center": "D"}, {"id", "data_center"}),
        ("volume: {path: a}", "volume: ${globals:volume}", {"path": "a", "id": "v", "data_center": "D"}, {"id", "data_center"}),
        ("volume: {id: v, data_center: D}", "volume: {path: a}", {"path": "a", "id": "v", "data_center": "D"}, {"path"}),
        ("volume: {path: a}", "volume: {bucket: b, region: r}", {"path": "a", "bucket": "b", "region": "r"}, {"bucket", "region"}),
    ],
)
def test_the_volume_of_an_environment_replaces_that_of_base(
    tmp_path: Path, base: str, other: str, merged: dict[str, str], wins: set[str]
) -> None:
    files = [tmp_path / "other.yml", tmp_path / "base.yml"]
    files[0].write_text(other)
    files[1].write_text(base)
    volume = make_settings({"volume": merged}, files=files).volume
    assert set(volume.model_dump(exclude_none=True)) == wins


def test_two_kinds_of_volume_in_one_file_are_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "cloudtrain.yml"
    file.write_text("volume: {path: a, id: v, data_center: D}")
    with pytest.raises(ConfigError, match="keep one of them"):
        make_settings({"volume": {"path": "a", "id": "v", "data_center": "D"}}, files=[file])


@pytest.mark.parametrize("key", ["volume", "defaults", "nodes", "run"])
def test_a_key_without_a_value_is_as_if_it_was_left_out(key: str) -> None:
    assert make_settings({key: None}) == make_settings({}) == make_settings(None)
    assert make_settings({key: None}, {"timeout_s": 5}) == make_settings({}, {"timeout_s": 5})


def test_a_node_without_settings_is_named_all_the_same() -> None:
    assert make_settings({"nodes": {"count": None}}) == make_settings({"nodes": {"count": {}}})
    assert make_settings({"nodes": {"count": None}}, {"timeout_s": 5}).names_node("count")
    with pytest.raises(ConfigError, match="backend"):
        make_settings({"backend": None})


SECONDS = [("defaults", "timeout_s"), ("defaults", "startup_timeout_s"), ("defaults", "checkpoint_every_s"), ("run", "answer_timeout_s")]
DOLLARS = [("defaults", "max_cost_usd"), ("defaults", "max_price_per_hour_usd"), ("run", "max_cost_usd")]
OTHERS = [("defaults", "wait_for_capacity_s"), ("defaults", "upload_warn_mb"), ("defaults", "min_ram_gb")]


def test_a_number_is_one_that_each_place_it_comes_to_can_take() -> None:
    for section, name in [*SECONDS, *DOLLARS, *OTHERS]:
        for value in (math.nan, -1.0, -math.inf, *([math.inf, 1e300, 1e9] if (section, name) in SECONDS or name == "min_ram_gb" else [])):
            with pytest.raises(ConfigError, match=rf"`{section}\.{name}` is {re.escape(str(value))}: input should be (greater|less) than"):
                make_settings({section: {name: value}})
    for section, name in [*DOLLARS, ("defaults", "wait_for_capacity_s"), ("defaults", "upload_warn_mb")]:
        assert getattr(getattr(make_settings({section: {name: math.inf}}), section), name) == math.inf  # no limit
    budget = make_settings({"run": {"budget": {"name": "team", "max_cost_usd": math.inf}}}).run.budget
    assert budget is not None
    assert budget.max_cost_usd == math.inf
    with pytest.raises(ConfigError, match=r"timeout_s` is inf: input should be less than or equal to 100000000"):
        make_settings({"nodes": {"train": {"timeout_s": math.inf}}})


def test_the_longest_time_is_one_that_a_client_reads_back_and_a_pod_takes(tmp_path: Path) -> None:
    settings = make_settings({"defaults": {"timeout_s": MOST_SECONDS, "startup_timeout_s": MOST_SECONDS}}).defaults
    lives_s = pod_time_s(settings)
    assert parsed(Machine, json.dumps({"attempt": "a", "lifetime_s": lives_s})) is not None
    entry = LedgerEntry(name="pod", lifetime_s=lives_s, startup_s=settings.startup_timeout_s)
    assert LedgerEntry.model_validate_json(entry.model_dump_json()) == entry
    for field in ("lifetime_s", "timeout_s"):
        assert job_folder._is_valid(field, lives_s)


@pytest.mark.parametrize("gpu", [True, 3, {"name": "NVIDIA L4"}])
def test_what_names_no_gpu_is_answered_with_what_does(gpu: object) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings({"defaults": {"gpu": gpu}})
    (line,) = caught.value.message.splitlines()
    assert "`defaults.gpu` is " in line
    assert line.endswith("write auto, none, or the names of GPUs as [a, b].")
