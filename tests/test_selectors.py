"""Which nodes a key of `nodes` in cloudtrain.yml means, and which of several keys holds."""

from __future__ import annotations

import pytest

from kedro_cloudtrain.config import make_settings, selects


@pytest.mark.parametrize(
    ("selector", "meant"),
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
def test_a_selector_means_a_name_a_glob_a_tag_or_a_namespace(selector: str, meant: bool) -> None:
    assert selects(selector, "train", {"slow"}, "shop.north") is meant


def test_a_name_that_was_left_to_kedro_is_a_name() -> None:
    """Its brackets would be a glob's."""
    name = "fit([params:a;b]) -> [c]"
    assert selects(name, name, (), None)


def test_the_exact_name_holds_over_any_other_selector() -> None:
    settings = make_settings({"nodes": {"train": {"timeout_s": 1}, "tra*": {"timeout_s": 2, "retries": 5}, "tag:slow": {"timeout_s": 3}}})
    found = settings.for_node("train", {"slow"})
    assert (found.timeout_s, found.retries) == (1, 5)
    assert settings.for_node("trains", {"slow"}).timeout_s == 3
