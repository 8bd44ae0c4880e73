"""What a catalog entry is to a machine."""

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
    ("entry", "here", "on_a_pod"),
    [
        ({**S3, "credentials": KEYS}, True, True),
        (S3, True, False),  # by what this computer knows of the store
        ({"type": "json.JSONDataset", "filepath": "https://example.org/a.json"}, True, True),
        ({"type": "json.JSONDataset", "filepath": "https://example.org/a.json?token=PLANTED"}, False, False),
        ({**S3, "fs_args": KEYS}, False, False),  # a secret that would stand in the script
        ({**S3, "filepath": "data/a.csv"}, False, False),
        ({**S3, "filepath": "memory://a.csv"}, False, False),
        ({"type": "partitions.PartitionedDataset", "path": "s3://bucket/a", "dataset": "pandas.CSVDataset"}, False, False),
        ({"type": "MemoryDataset"}, False, False),
    ],
)
def test_a_machine_loads_what_it_can_reach_and_what_no_file_need_keep_secret(entry: dict[str, Any], here: bool, on_a_pod: bool) -> None:
    for ambient, wanted in ((True, here), (False, on_a_pod)):
        found = remote_entry("it", dataset(entry), ambient=ambient)
        assert (found is not None) is wanted
        assert "PLANTED" not in repr(found)


def test_an_entry_is_what_the_catalog_says_with_its_credentials_apart() -> None:
    said = {**S3, "load_args": {"sep": ";"}, "versioned": True, "metadata": {"layer": "raw"}}
    found = remote_entry("it", dataset({**said, "credentials": KEYS}), ambient=False)
    assert found is not None
    assert found.config == {key: value for key, value in said.items() if key != "metadata"} | {"credentials": "it"}
    assert found.credentials == KEYS
    assert (found.versioned, found.driver, found.redacted) == (True, "s3fs", "s3://bucket/a.csv")


def test_nothing_is_saved_to_a_web_server() -> None:
    assert is_read_only(dataset({"type": "pandas.CSVDataset", "filepath": "https://example.org/a.csv"}))
    assert not is_read_only(dataset(S3))
