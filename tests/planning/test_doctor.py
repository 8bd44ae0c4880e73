"""`kedro cloudtrain doctor`: what a run needs is examined, and each problem has a fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.account import Account

from kedro_cloudtrain.rehearsal import API_KEY

pytestmark = pytest.mark.measured


def test_doctor_finds_all_well_and_changes_nothing(account: Account) -> None:
    before = sorted(account.bucket.rglob("*"))
    status, output = account.run("doctor")
    assert status == 0, output
    assert {call.method for call in account.cloud.runpod.calls} == {"GET"}
    assert "may read and write" not in output
    status, output = account.run("doctor", "--try-key")
    assert status == 0, output
    assert "problem" not in output
    for line in (
        "API key",
        "from RUNPOD_API_KEY, accepted",
        "may read and write",
        f"{account.volume_id} in EU-RO-1, 50 GB",
        "S3 keys",
        "clock",
    ):
        assert line in output, line
    assert sorted(account.bucket.rglob("*")) == before
    assert not account.created


def test_doctor_names_the_fix_of_every_problem_at_once(account: Account) -> None:
    account.move_volume("EU-CZ-1")
    account.refuse("DELETE", 403, "key may not write")
    account.cloud.runpod.clock_behind_s = 3600
    status, output = account.run("doctor", "--try-key", RUNPOD_S3_SECRET_KEY="rps_wrong")
    assert status == 1
    for line in (
        "may not create or end pods (key may not write)",
        "Create a key that may read and write",
        f"{account.volume_id} is in EU-CZ-1, but volume.data_center is EU-RO-1.",
        "Write data_center: EU-CZ-1",
        "does not accept the S3 keys",
        "ahead of RunPod's: S3 refuses signatures that are off by more than 15 minutes.",
    ):
        assert line in output, line


def test_doctor_distinguishes_kinds_of_keys(account: Account) -> None:
    status, output = account.run("doctor", RUNPOD_API_KEY="")
    assert status == 1
    assert "There is no RunPod API key" in output
    assert account.run("doctor", RUNPOD_API_KEY="rpa_other")[1].count("RunPod does not accept the API key") == 1
    account.refuse("GET", 403, "out of scope")
    assert "may not list pods (out of scope)" in account.run("doctor")[1]
    assert "is the key that RunPod gave to this pod" in account.run("doctor", RUNPOD_POD_ID="pod7")[1]


def test_doctor_names_the_file_of_the_key_and_who_can_read_it(account: Account) -> None:
    file = Path(account.environment["HOME"]) / ".runpod/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'[default]\napi_key = "{API_KEY}"\n')
    file.chmod(0o644)
    status, output = account.run("doctor", RUNPOD_API_KEY="")
    assert status == 1
    assert f"from {file}, accepted" in output
    assert f"chmod 600 {file}" in output
    file.chmod(0o600)
    assert account.run("doctor", RUNPOD_API_KEY="")[0] == 0


def test_doctor_of_the_local_backend_looks_at_the_directory_and_the_libraries(account: Account) -> None:
    status, output = account.run("doctor", env="base")
    assert status == 0, output
    assert "data/volume" in output
    assert "xgboost to train" in output
    assert not account.cloud.runpod.calls
    account.project.write("conf/base/cloudtrain.yml", "volume: {path: pyproject.toml}\n")
    status, output = account.run("doctor", env="base")
    assert status == 1
    assert "pyproject.toml is a file" in output
