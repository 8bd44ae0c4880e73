"""What became of a pod is told in words, whatever has ended it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import kedro_cloudtrain.backends.runpod.following
import kedro_cloudtrain.backends.runpod.spending  # noqa: F401  # their errors are of the kind as well
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord
from kedro_cloudtrain.runs.words import end_text, ends, was_lost


def kinds(kind: type[CloudTrainError]) -> Iterator[type[CloudTrainError]]:
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


def test_no_end_of_a_pod_is_the_name_of_a_class() -> None:
    names = {kind.__name__.removesuffix("Error").lower() for kind in kinds(CloudTrainError)} - {"podlost", "hostfault", "dearpod"}
    assert {"jobfailed", "jobcancelled", "api"} <= names
    for name in (*names, "cancelled"):
        pod = MachineRecord(pod="p", ended=name)
        for text in (end_text(pod), *ends(NodeRecord(node="train", machines=[pod]))):
            assert name not in text.replace("cancelled", "") if name != "disk" else "disk did not take" in text, text


@pytest.mark.parametrize(
    ("ended", "lost", "text"),
    [
        ("", False, ""),
        ("done", False, "done"),
        ("jobfailed", False, "its job failed"),
        ("jobtimeout", False, "its job was at its deadline"),
        ("jobcancelled", False, "its job was cancelled"),
        ("cancelled", False, "its job was cancelled"),
        ("vanished", True, "lost: it vanished"),
        ("did not start within 300 s.", True, "lost: did not start within 300 s"),
        ("api", True, "lost: the run could not go on with it"),
    ],
)
def test_only_a_pod_that_was_not_ended_with_its_job_was_lost(ended: str, lost: bool, text: str) -> None:
    pod = MachineRecord(pod="p", ended=ended)
    assert (was_lost(pod), end_text(pod)) == (lost, text)


def test_the_pods_of_a_node_are_counted_by_what_became_of_them() -> None:
    machines = [MachineRecord(ended=ended) for ended in ("vanished", "vanished", "stalled for 90 s", "jobfailed")]
    assert list(ends(NodeRecord(node="train", machines=machines))) == [
        "3 pods lost (it vanished; stalled for 90 s)",
        "1 pod ended, since its job failed",
    ]
