"""What a machine can do with a catalog entry: read it, load it by its own class, or nothing."""

from __future__ import annotations

from typing import Any

import pytest
from kedro.io import DataCatalog

from kedro_cloudtrain.planning.entries import is_read_only, remote_entry

S3 = {"type": "pandas.CSVDataset", "filepath": "s3://bucket/a.csv"}
KEYS = {"key": "PLANTED_KEY", "secret": "PLANTED_SECRET"}


def dataset(entry: dict[str, Any]) -> Any:
    return DataCatalog.from_config({"it": entry}).get("it")


@pytest.mark.parametrize(
    ("entry", "on_this_computer", "on_a_pod"),
    [
        ({**S3, "credentials": KEYS}, True, True),
        (S3, True, False),  # by the configuration of this computer
        ({"type": "json.JSONDataset", "filepath": "https://example.org/a.json"}, True, True),
        ({"type": "json.JSONDataset", "filepath": "https://example.org/a.json?token=PLANTED"}, False, False),
        ({**S3, "fs_args": KEYS}, False, False),  # a secret that would stand in the script
        ({**S3, "filepath": "data/a.csv"}, False, False),
        ({**S3, "filepath": "memory://a.csv"}, False, False),
        ({"type": "partitions.PartitionedDataset", "path": "s3://bucket/a", "dataset": "pandas.CSVDataset"}, False, False),
        ({"type": "MemoryDataset"}, False, False),
    ],
)
def test_a_machine_loads_what_it_can_reach_unless_its_script_would_hold_a_secret(
    entry: dict[str, Any], on_this_computer: bool, on_a_pod: bool
) -> None:
    for ambient, wanted in ((True, on_this_computer), (False, on_a_pod)):
        loaded = remote_entry("it", dataset(entry), ambient=ambient)
        assert (loaded is not None) is wanted
        assert "PLANTED" not in repr(loaded)


def test_an_entry_has_the_catalogs_configuration_and_its_credentials_apart() -> None:
    entry = {**S3, "load_args": {"sep": ";"}, "versioned": True, "metadata": {"layer": "raw"}}
    loaded = remote_entry("it", dataset({**entry, "credentials": KEYS}), ambient=False)
    assert loaded is not None
    assert loaded.config == {key: value for key, value in entry.items() if key != "metadata"} | {"credentials": "it"}
    assert loaded.credentials == KEYS
    assert (loaded.versioned, loaded.driver, loaded.redacted) == (True, "s3fs", "s3://bucket/a.csv")


def test_nothing_is_saved_to_a_web_server() -> None:
    assert is_read_only(dataset({"type": "pandas.CSVDataset", "filepath": "https://example.org/a.csv"}))
    assert not is_read_only(dataset(S3))
