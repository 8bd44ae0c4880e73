"""What a volume's files may become, and what the client takes them for: the right value, or work that runs again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from rich.console import Console
from support.cloud import Cloud
from support.recipe_job import EVERYTHING, Job, awkward_table

from kedro_cloudtrain.backends.runpod.environments import Environments, _Use
from kedro_cloudtrain.backends.runpod.remote_folder import Heartbeat, RemoteFolder
from kedro_cloudtrain.commands.job_record import job_record
from kedro_cloudtrain.commands.tables import jobs_table
from kedro_cloudtrain.errors import CloudTrainError, JobLostError
from kedro_cloudtrain.jobs.failures import log_end, next_step
from kedro_cloudtrain.jobs.fingerprint import Fingerprint
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.machine import Machine
from kedro_cloudtrain.jobs.owner import owners
from kedro_cloudtrain.jobs.result import JobProgress, JobResult
from kedro_cloudtrain.jobs.reuse import note, reason_to_run
from kedro_cloudtrain.jobs.volume_file import MOST_BYTES, output_path, parsed
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.outputs import read_outputs
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.protocol import JOBS

FINGERPRINT = Fingerprint.of("print()", {"data": "etag"}, "code", ("xgboost",))
MACHINE = {
    "backend": "runpod",
    "name": "cloudtrain-shop--job-0123456789ab-aaaaaaaa",
    "attempt": "aaaaaaaa",
    "pod": "abc123",
    "gpu": "NVIDIA L4",
    "gpu_count": 1,
    "claimed_at": 1.7e9,
    "created_at": 1.7e9,
    "usd_per_hour": 0.43,
    "lifetime_s": 600.0,
}
FEW = settings(max_examples=12, derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DirectoryVolume]:
    """A volume with a training that is done, as its machine and its client have left it, and an older one of the same node."""
    root = tmp_path_factory.mktemp("volume")
    with pytest.MonkeyPatch.context() as patch:
        made = Job(root / JOBS / "job-0123456789ab", root, patch)
        made.folder.parent.mkdir(parents=True)
        patch.setenv("CLOUDTRAIN_ATTEMPT", "aaaaaaaa")
        key = made.table("t.parquet", awkward_table(60)[["number", "constant", "räte ($)"]])
        made.run_here(
            "xgboost_regression",
            key,
            "räte ($)",
            feature_columns=["number", "constant"],
            outputs=EVERYTHING,
            validation={"fraction": 0.2, "seed": 1},
        )
    folder = JobFolder(made.folder)
    folder.write_json(folder.machine, MACHINE)
    folder.write_json(folder.spec, {"name": "job", "parameters": {"model_type": "x"}, "sent": ["a.json"], "jobs": ["job-b"]})
    folder.write_json(folder.fingerprint, FINGERPRINT.model_dump(mode="json"))
    note(folder, "ran", "first run", "shop-123456")
    folder.log.write_text("round 1\nround 2\n")
    (folder.path / "heartbeat.json").write_text(json.dumps({"attempt": "aaaaaaaa", "number": 3, "stage": "job", "gpu_percent": 99.0}))
    folder.checkpoint.parent.mkdir(exist_ok=True)
    folder.checkpoint.write_text(json.dumps({"work": "x", "rounds": 7, "folder": "round-7", "files": {"model.ubj": 7}}))
    shutil.copytree(folder.path, folder.path.with_name("job-ba9876543210"))
    return DirectoryVolume(root)


def looked_at(volume: DirectoryVolume) -> dict[str, Any] | None:
    """Do with a job all that commands and runs do with its files; return its outputs, or None where it runs again."""
    folder = JobFolder(volume.root / JOBS / "job-0123456789ab")
    remote = RemoteFolder(folder, volume)
    machine, heartbeat = remote.machine(), remote.heartbeat("aaaaaaaa")
    assert machine.lifetime_s >= 0
    assert machine.pod is None or "/" not in machine.pod
    assert all(".." not in Path(name).parts for name in remote._checkpoint_names())
    assert all("/" not in name for name in remote._markers(None))
    folder.may_be_on_pod(), folder.group(), folder.sent, folder.jobs, owners(folder), log_end(folder), next_step(folder)
    list(folder.log_lines())
    older = JobFolder(folder.path.with_name("job-ba9876543210"))
    reason_to_run(older, FINGERPRINT, {"name": "job"}, reuse=True)
    older.fingerprint.unlink(missing_ok=True)
    reason_to_run(older, FINGERPRINT, {"name": "job"}, reuse=True)
    row = Row("job", "x", "t")
    if (progress := folder.last_progress()) is not None:
        row.progressed("job", progress)
    row.busy("job", heartbeat.gpu_percent if heartbeat is not None else None, 0.0)
    with Console(quiet=True) as console:
        console.print(*row.cells(), jobs_table([folder]))
    json.dumps(job_record(folder))
    result = in_own_words(folder.read_result)
    if result is None or result.state != "succeeded":
        return None
    return in_own_words(lambda: read_outputs(folder, result, EVERYTHING))


def in_own_words(read: Callable[[], Any]) -> Any:
    """Return what is read; None for a job that is lost, in the words of this package."""
    message = ""
    try:
        return read()
    except JobLostError as error:
        message = error.message
    assert "job-0123456789ab" in message
    assert not re.search("http|validation error|Expecting|pyarrow|pandas", message)
    return None


WRONG: tuple[Any, ...] = (
    *([], {}, "text", "7", True, None, -1, 1e308, 10**30, [[[]]], {"a": [1]}),
    *(float("nan"), float("inf"), "../x", "\x1b[2J"),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(place for name, child in inner for place in places(child, (*path, name)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


def of_another_type(data: st.DataObject, value: Any) -> bytes:
    return json.dumps(replaced(value, data.draw(st.sampled_from(places(value))), data.draw(st.sampled_from(WRONG)))).encode()


def broken(data: st.DataObject, content: bytes) -> bytes:
    """Break a file: cut it off, flip a byte, splice bytes into it, give a value of it another type, nest it, or empty it."""
    at = data.draw(st.integers(0, max(0, len(content) - 1)))
    ways = [
        lambda: b"",
        lambda: b'{"state":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        lambda: content[:at],
        lambda: content[:at] + bytes([content[at] ^ (1 << data.draw(st.integers(0, 7)))]) + content[at + 1 :],
        lambda: content[:at] + data.draw(st.sampled_from([b"\x00", b"\xff\xfe", b"\x1b[2J", b'"', b"}", b"[" * 50])) + content[at:],
        lambda: data.draw(st.binary(min_size=1, max_size=40)),
        lambda: content + b" " * (MOST_BYTES + 1),
    ]
    with contextlib.suppress(ValueError):
        value = json.loads(content.splitlines()[-1] if content.startswith(b'{"step"') else content)
        ways += [lambda: of_another_type(data, value)] * 4
        if isinstance(value, dict):
            ways.append(lambda: json.dumps({**value, "format": 99, "later": {"field": [1]}}).encode())
            ways.append(lambda: json.dumps(dict(list(value.items())[1:])).encode())
    return data.draw(st.sampled_from(ways))()


@pytest.fixture(scope="module")
def right(volume: DirectoryVolume) -> dict[str, Any]:
    values = looked_at(volume)
    assert values is not None
    return values


FILES = ("result.json", "machine.json", "heartbeat.json", "progress.jsonl", "fingerprint.json", "job.json", "why.json", "log.txt")


@pytest.mark.parametrize("name", [*FILES, "checkpoint/latest.json"])
@given(data=st.data())
@FEW
def test_a_broken_file_is_no_value_and_no_crash(volume: DirectoryVolume, right: dict[str, Any], name: str, data: st.DataObject) -> None:
    jobs = [volume.root / JOBS / job / name for job in ("job-0123456789ab", "job-ba9876543210")]
    fingerprint = volume.root / JOBS / "job-ba9876543210/fingerprint.json"
    content, noted = jobs[0].read_bytes(), json.dumps(FINGERPRINT.model_dump(mode="json"))
    try:
        fingerprint.write_text(noted)
        for file in jobs:
            file.write_bytes(broken(data, content))
        values = looked_at(volume)
    finally:
        for file in jobs:
            file.write_bytes(content)
    assert values is None or same(values, right)


def same(values: dict[str, Any], right: dict[str, Any]) -> bool:
    frames = all(pd.DataFrame.equals(values[kind], right[kind]) for kind in ("history", "importance", "predictions"))
    return frames and values["metrics"] == right["metrics"] and values["model"].description == right["model"].description


@pytest.mark.parametrize("name", ["metrics.json", "history.json", "importance.json", "predictions.parquet", "model/model.json"])
@pytest.mark.parametrize("fits", [False, True], ids=["as another wrote it", "as its machine wrote it"])
@given(data=st.data())
@settings(FEW, max_examples=6)
def test_a_broken_output_runs_the_job_again(volume: DirectoryVolume, name: str, fits: bool, data: st.DataObject) -> None:
    folder = JobFolder(volume.root / JOBS / "job-0123456789ab")
    file = folder.outputs / name
    kind = Path(name).parts[0].partition(".")[0]
    content, result = file.read_bytes(), folder.result.read_bytes()
    new = broken(data, content)
    try:
        file.write_bytes(new)
        if fits and kind != "model":
            described = json.loads(result)
            described["outputs"][kind]["sha256"] = hashlib.sha256(new).hexdigest()
            folder.result.write_text(json.dumps(described))
        read = folder.read_result()
        assert read is not None
        values = in_own_words(lambda: read_outputs(folder, read, (kind,)))
        assert values is None or fits or new == content
    finally:
        file.write_bytes(content)
        folder.result.write_bytes(result)


def test_a_model_that_its_library_cannot_load_runs_the_job_again(volume: DirectoryVolume, tmp_path: Path) -> None:
    from kedro_cloudtrain.worker.errors import InputError
    from kedro_cloudtrain.worker.models import load_model
    from kedro_cloudtrain.worker.results import describe_output

    folder = JobFolder(tmp_path / "job-0123456789ab")
    shutil.copytree(volume.root / JOBS / folder.name, folder.path)
    booster = folder.outputs / "model/booster.ubj"
    booster.write_bytes(b"not a booster")
    described = json.loads(folder.result.read_text())
    described["outputs"]["model"] = describe_output(folder.path, folder.outputs / "model")
    folder.result.write_text(json.dumps(described))
    result = folder.read_result()
    assert result is not None
    with pytest.raises(JobLostError, match="The model of job-0123456789ab cannot be read"):
        read_outputs(folder, result, ("model",))
    # One that begins right is found out by the library, at the first prediction.
    booster.write_bytes(b"{L" + b"\xff" * 40)
    model = load_model(folder.outputs / "model")
    with pytest.raises(InputError, match=r"booster\.ubj cannot be loaded by this computer's xgboost"):
        model.predict(pd.DataFrame({"number": [1.0], "constant": [0.1]}))


OUTSIDE = ["", "/etc/passwd", "outputs", "outputs/", "outputs/../train.py", "train.py", "result.json", "outputs//x", "./outputs/x", "a\\b"]


@pytest.mark.parametrize("path", [*OUTSIDE, "outputs\\x", "outputs/x\0", "outputs/./x", "inputs/x.json", "outputs/..", "../outputs/x"])
def test_an_output_lies_below_outputs(path: str) -> None:
    with pytest.raises(ValueError, match="is not below outputs/"):
        output_path(path)


def test_an_output_elsewhere_on_this_computer_is_not_read(volume: DirectoryVolume, tmp_path: Path) -> None:
    """A user who writes to a volume might name a file of the client's, whose content the node then returns."""
    secret = tmp_path / "outputs/secret.json"
    secret.parent.mkdir()
    secret.write_text('{"password": 1}')
    folder = JobFolder(tmp_path / "job-0123456789ab")
    shutil.copytree(volume.root / JOBS / folder.name, folder.path)
    described = json.loads(folder.result.read_text())
    output = {"size": 1, "sha256": hashlib.sha256(secret.read_bytes()).hexdigest()}
    for more in (
        {"path": str(secret)},
        {"path": str(secret), "files": ["result.json"]},
        {"path": "outputs/../../outputs/secret.json"},
        {"path": "outputs/x", "files": ["outputs/y"]},
    ):
        described["outputs"]["metrics"] = {**output, **more}
        folder.result.write_text(json.dumps(described))
        with pytest.raises(JobLostError, match="cannot be read as one: the same run does the job again"):
            folder.read_result()
    (folder.outputs / "metrics.json").unlink()
    (folder.outputs / "metrics.json").symlink_to(secret)
    described["outputs"]["metrics"] = {**output, "path": "outputs/metrics.json"}
    folder.result.write_text(json.dumps(described))
    result = folder.read_result()
    assert result is not None
    with pytest.raises(JobLostError, match="as a link, which no machine makes"):
        read_outputs(folder, result, ("metrics",))


@pytest.mark.parametrize("content", [b"", b"[]", b'{"bytes": -1, "used_at": 1e300}', b'{"bytes": NaN}', b"\xff"])
def test_a_broken_note_of_an_environment_is_none(content: bytes, cloud: Cloud) -> None:
    assert parsed(_Use, content) is None
    environments = Environments(cloud.volume)
    environments.remember("0123456789abcdef")
    cloud.volume.write_bytes(".cloudtrain/environments/0123456789abcdef.json", content)
    (kept,) = environments.kept()
    assert kept.size_bytes == 0


@pytest.mark.parametrize("wrong", ['"5"', "true", "NaN", "-1", "1e400", "null", "[]", "{}", "9" * 400, "[" * 9000 + "]" * 9000])
@pytest.mark.parametrize(
    ("model", "name", "others"),
    [
        (Machine, "lifetime_s", ""),
        (Machine, "usd_per_hour", ""),
        (Machine, "gpu_count", ""),
        (Heartbeat, "number", ""),
        (JobProgress, "step", '"of": 3, '),
        (JobProgress, "of", '"step": 3, '),
        (JobResult, "peak_memory_bytes", '"state": "succeeded", '),
    ],
)
def test_a_number_is_a_number_of_its_kind(model: type[BaseModel], name: str, others: str, wrong: str) -> None:
    assert parsed(model, f'{{{others}"{name}": 7}}') is not None
    assert parsed(model, f'{{{others}"{name}": {wrong}}}') is None


@pytest.mark.parametrize("field", ["name", "pod", "group", "attempt"])
@pytest.mark.parametrize("wrong", ["../x", "a/b", "a\\nb", "a b", "x" * 300, "\\u001b[2J", "a?b=c"])
def test_a_name_of_a_machine_becomes_no_other_path(field: str, wrong: str) -> None:
    assert parsed(Machine, f'{{"{field}": "abc123"}}') == Machine(**{field: "abc123"})
    assert parsed(Machine, f'{{"{field}": "{wrong}"}}') is None


def test_a_pods_deadline_does_not_hang_on_what_is_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kedro_cloudtrain.pod import job_folder

    monkeypatch.setattr(job_folder, "FOLDER", tmp_path)
    written = {"attempt": "a", "lifetime_s": 60.0, "requirements": ["x"], "gpu_count": 2, "gpu": None}
    (tmp_path / "machine.json").write_text(json.dumps(written))
    assert job_folder.read_machine() == {name: value for name, value in written.items() if value is not None}
    for wrong in ("long", float("nan"), float("inf"), -1, True, [], {}):
        (tmp_path / "machine.json").write_text(json.dumps({**written, "lifetime_s": wrong, "requirements": wrong}))
        assert job_folder.read_machine() == {"attempt": "a", "gpu_count": 2} | ({"requirements": wrong} if wrong == [] else {})
    for content in (b"", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a'):
        (tmp_path / "machine.json").write_bytes(content)
        assert job_folder.read_machine() == {}


def broken_machine(cloud: Cloud, folder: JobFolder) -> None:
    text = json.dumps({**MACHINE, "lifetime_s": "long", "usd_per_hour": [1]})
    cloud.volume.write_bytes(f"{JOBS}/{folder.name}/machine.json", text.encode())


def broken_result(cloud: Cloud, folder: JobFolder) -> None:
    key = f"{JOBS}/{folder.name}/result.json"
    cloud.volume.write_bytes(key, (cloud.volume.read_bytes(key) or b"")[:50])


@pytest.mark.parametrize("broke", [broken_result, broken_machine])
def test_a_finished_job_with_a_broken_file_costs_one_pod_at_most(
    cloud: Cloud, broke: Callable[[Cloud, JobFolder], None], caplog: pytest.LogCaptureFixture
) -> None:
    backend = cloud.backend()
    try:
        right = cloud.run(backend)
        job = cloud.job()
        broke(cloud, job.folder)
        caplog.set_level("INFO")
        for _ in range(2):
            job = cloud.job()
            values = job.run(backend, cloud.rows[-1], cloud.receipts, reuse=True)["metrics"]
            assert values["rmse"] == right["rmse"]
        assert len(cloud.runpod.pods) == (2 if broke is broken_result else 1)
        assert not isinstance(values, CloudTrainError)
        if broke is broken_result:
            assert "result.json on the volume" in caplog.text
            assert "cannot be read as one: the same run does the job again" in caplog.text
    finally:
        backend.close()
