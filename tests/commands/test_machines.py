"""`kedro cloudtrain gpus`: what can be rented, and where."""

from __future__ import annotations

import json

import pytest
from support.account import Account


@pytest.mark.measured
def test_gpus_are_listed_cheapest_first_with_the_stock_of_the_volumes_data_center(account: Account) -> None:
    status, output = account.run("gpus")
    assert status == 0
    rows = [line.split("  ")[0].strip() for line in output.splitlines() if line.strip().startswith("NVIDIA")]
    assert rows == ["NVIDIA RTX A5000", "NVIDIA A40", "NVIDIA L4", "NVIDIA H100 80GB HBM3"]
    assert "stock in EU-RO-1" in output
    assert "US-KS-2 low" in output
    assert "not offered" in next(line for line in output.splitlines() if "H100" in line)
    done = account.project.kedro("cloudtrain", "gpus", "--json", "--data-center", "US-KS-2", **account.environment)
    gpus = {gpu["id"]: gpu for gpu in json.loads(done.stdout[done.stdout.index("\n[\n") :])}
    assert gpus["NVIDIA L4"]["stock"] == "LOW"
    assert gpus["NVIDIA L4"]["cuda_versions"] == ["12.8", "12.9"]
    assert gpus["NVIDIA A40"]["stock"] is None
