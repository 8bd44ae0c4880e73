"""The RunPod backend keeps the contract of every backend, on the stand-in's pods."""

from __future__ import annotations

import pytest
from support.backend_contract import BackendContract
from support.cloud import Cloud


@pytest.fixture
def site(cloud: Cloud) -> Cloud:
    return cloud


class TestRunPodBackend(BackendContract):
    """The contract, on pods."""
