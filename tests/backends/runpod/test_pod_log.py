"""The log of a job on a pod: streamed by RunPod, continued from the volume."""

from __future__ import annotations

from support.cloud import Cloud

from kedro_cloudtrain.backends.runpod.pod_log import PodLog
from kedro_cloudtrain.rehearsal.pods import RunningPod
from kedro_cloudtrain.worker.protocol import JOBS, LOG

JOB = "train-0123456789ab"


def start(cloud: Cloud, command: str) -> RunningPod:
    return cloud.runpod.create({"name": JOB, "image": "any", "args": command, "gpu": {"id": "NVIDIA L4", "count": 1}})


def write_log(cloud: Cloud, text: str) -> None:
    file = cloud.bucket / JOBS / JOB / LOG
    file.parent.mkdir(parents=True)
    file.write_text(text)


def test_a_log_continues_on_the_volume_where_its_stream_ended(cloud: Cloud) -> None:
    pod = start(cloud, "sh -c 'echo one; echo two; sleep 600'")
    lines = PodLog(cloud.api, cloud.volume, JOB, pod.id).follow()
    assert [next(lines), next(lines)] == ["one", "two"]
    write_log(cloud, "one\ntwo\n\nthree\n")
    pod.end()
    assert list(lines) == ["", "three"]


def test_the_log_of_a_pod_that_is_gone_is_the_volumes(cloud: Cloud) -> None:
    pod = start(cloud, "sleep 600")
    pod.end()
    write_log(cloud, "one\n\ntwo\n")
    log = PodLog(cloud.api, cloud.volume, JOB, pod.id)
    assert list(log.follow()) == log.read() == ["one", "", "two"]


def test_a_job_without_a_log_has_no_lines(cloud: Cloud) -> None:
    pod = start(cloud, "sleep 600")
    pod.end()
    assert list(PodLog(cloud.api, cloud.volume, JOB, pod.id).follow()) == []
