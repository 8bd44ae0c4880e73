"""A pickle runs code when it is read: a client reads only those that a machine with its key of the job has signed."""

from __future__ import annotations

import dataclasses
import grp
import hashlib
import json
import os
import pickle
import pwd
import stat
import textwrap
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cloud import Cloud
from support.kedro_project import Project

from kedro_cloudtrain.backends.kept_process import KeptProcess
from kedro_cloudtrain.errors import ConfigError, JobLostError, UnsignedError
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.result import JobResult
from kedro_cloudtrain.jobs.sent import SentInput
from kedro_cloudtrain.jobs.signing import job_key, signing_environment
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.running.outputs import read_values
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from kedro_cloudtrain.worker import signatures
from kedro_cloudtrain.worker.function import FunctionJob
from kedro_cloudtrain.worker.protocol import INPUTS, JOB_KEYS_VARIABLE, MASTER_KEY_VARIABLE

KEYS = {"access_key": "a", "secret_key": "b"}
NETWORK = NetworkVolume("abc123xyz", "EU-RO-1", "http://127.0.0.1:1", KEYS)
NAME = "thing-0123456789ab"


class Evil:
    """A process that unpickles it makes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.file),)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobFolder:
    """A job that has returned a set and parts of sets, on a machine with the job's key."""
    for name in ("CLOUDTRAIN_CHECKPOINT", "CLOUDTRAIN_WORK"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("CLOUDTRAIN_ATTEMPT", "aaaaaaaa")
    for name, value in signing_environment(NAME).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(signatures, "_keys", {})
    path = tmp_path / NAME
    path.mkdir()
    with FunctionJob(str(path / "train.py"), ["thing", "plain", "parts"], lazy=["parts"]) as job:
        assert JOB_KEYS_VARIABLE not in os.environ  # The user's code does not find it.
        job.save([{1, 2}, [1], {"a": lambda: {3}, "b": lambda: 4}])
    return JobFolder(path)


def read(folder: JobFolder, *names: str, volume: Any = NETWORK) -> dict[str, Any]:
    result = folder.read_result()
    assert result is not None
    return read_values(folder, result, names, {}, volume)


def change(folder: JobFolder, name: str, **fields: Any) -> None:
    described = json.loads(folder.result.read_text())
    described["outputs"][name] |= fields
    folder.result.write_text(json.dumps(described))


def forge(folder: JobFolder, name: str, file: str = "evil.pickle") -> Path:
    """Let an output be a pickle of somebody else's, with a fitting sha256."""
    owned = folder.path / "OWNED"
    content = pickle.dumps(Evil(owned))
    (folder.outputs / file).write_bytes(content)
    change(folder, name, path=f"outputs/{file}", size=len(content), sha256=hashlib.sha256(content).hexdigest(), files=[])
    return owned


def test_what_a_machine_has_signed_is_read(folder: JobFolder) -> None:
    values = read(folder, "thing", "plain", "parts")
    assert (values["thing"], values["plain"]) == ({1, 2}, [1])
    assert {name: part() for name, part in values["parts"].items()} == {"a": {3}, "b": 4}
    outputs = json.loads(folder.result.read_text())["outputs"]
    assert {name: "signature" in output for name, output in outputs.items()} == {"thing": True, "plain": False, "parts": True}
    assert job_key(NAME) not in folder.result.read_text()


@pytest.mark.parametrize("name", ["thing", "plain", "parts"])
@pytest.mark.parametrize("file", ["evil.pickle", "evil", "evil.json.pkl"])
def test_a_forged_pickle_is_not_executed(folder: JobFolder, name: str, file: str) -> None:
    owned = forge(folder, name, file)
    with pytest.raises(
        UnsignedError, match=rf"`{name}` of {NAME} is a pickle that this client's key has not signed.*CLOUDTRAIN_SIGNING_KEY"
    ):
        read(folder, name)
    assert not owned.exists()


@pytest.mark.parametrize("file", ["evil.json", "evil.parquet"])
def test_a_pickle_under_another_ending_is_not_executed(folder: JobFolder, file: str) -> None:
    owned = forge(folder, "plain", file)
    with pytest.raises(JobLostError):
        read(folder, "plain")
    assert not owned.exists()


def test_a_forged_part_is_not_executed(folder: JobFolder) -> None:
    from kedro_cloudtrain.worker.results import describe_output

    parts, owned = folder.outputs / "parts", folder.path / "OWNED"
    (parts / "000001.pickle").write_bytes(pickle.dumps(Evil(owned)))
    (parts / "contents.json").write_text('{"b": "000001.pickle"}')
    change(folder, "parts", **describe_output(folder.path, parts))
    with pytest.raises(UnsignedError):
        read(folder, "parts")
    # Nor is a file read that is not among the parts.
    for place in ("../thing.pickle", "/etc/passwd", "..", "", 7, ["x"]):
        (parts / "contents.json").write_text(json.dumps({"b": place}))
        for file in parts.glob("*.pickle"):
            file.unlink()
        change(folder, "parts", **describe_output(folder.path, parts))
        with pytest.raises(JobLostError, match="`parts` of thing-0123456789ab cannot be read"):
            read(folder, "parts")
    assert not owned.exists()


def test_a_signature_holds_for_one_output_of_one_attempt_of_one_job(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    described = json.loads(folder.result.read_text())
    good = described["outputs"]["thing"]["signature"]
    forge(folder, "thing")  # the sha256 is another
    with pytest.raises(UnsignedError):
        read(folder, "thing")
    for attempt, output, signature in (
        ("bbbbbbbb", "thing", good),
        ("aaaaaaaa", "plain", good),
        ("aaaaaaaa", "thing", ""),
        ("aaaaaaaa", "thing", "é"),
        ("aaaaaaaa", "thing", good[:-1]),
    ):
        outputs = {output: {**described["outputs"]["thing"], "signature": signature}}
        folder.result.write_text(json.dumps({**described, "attempt": attempt, "outputs": outputs}))
        with pytest.raises(UnsignedError):
            read(folder, output)
    folder.result.write_text(json.dumps(described))
    assert read(folder, "thing")["thing"] == {1, 2}
    other = JobFolder(folder.path.rename(folder.path.with_name("other-0123456789ab")))
    with pytest.raises(UnsignedError):
        read(other, "thing")
    monkeypatch.setenv(MASTER_KEY_VARIABLE, "another key, of another team")
    with pytest.raises(UnsignedError):
        read(JobFolder(other.path.rename(folder.path)), "thing")


def test_a_folder_of_ones_own_needs_no_signature(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that was run by hand has no key; on a disk that others write to, their files are theirs."""
    change(folder, "thing", signature="")
    local = DirectoryVolume(folder.path.parent)
    assert read(folder, "thing", volume=local)["thing"] == {1, 2}
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(UnsignedError, match="belongs to another user"):
        read(folder, "thing", volume=local)


def test_what_others_may_write_to_needs_a_signature(folder: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    local = DirectoryVolume(folder.path.parent.parent)
    places = [folder.result, folder.outputs / "thing.pickle", folder.outputs, folder.path, folder.path.parent]
    for place in places:
        place.chmod(stat.S_IMODE(place.stat().st_mode) & ~0o022)
    local.root.chmod(0o777)  # What others put there is theirs.
    described = json.loads(folder.result.read_text())
    for mine in (False, True):
        # A group of the user's own name and without another member is the user's alone.
        entry = SimpleNamespace(gr_name=pwd.getpwuid(os.geteuid()).pw_name if mine else "staff", gr_mem=[])
        monkeypatch.setattr(grp, "getgrgid", lambda _, entry=entry: entry)
        for place in places:
            mode = stat.S_IMODE(place.stat().st_mode)
            for bit in (0o020, 0o002):
                change(folder, "thing", signature=described["outputs"]["thing"]["signature"])
                place.chmod(mode | bit)
                assert read(folder, "thing", volume=local)["thing"] == {1, 2}
                change(folder, "thing", signature="")
                if mine and bit == 0o020:
                    assert read(folder, "thing", volume=local)["thing"] == {1, 2}
                else:
                    with pytest.raises(UnsignedError, match=rf"not signed.* Others may write to {place}; if nobody has: chmod go-w\."):
                        read(folder, "thing", volume=local)
                place.chmod(mode)
        assert read(folder, "thing", volume=local)["thing"] == {1, 2}


def test_a_sent_input_that_another_has_changed_is_written_anew(cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    sent = (SentInput.of({1, 2}, "`x` of train"), SentInput.of_file(tmp_path / "a.csv"))
    job = dataclasses.replace(cloud.job(), sent=sent)
    files = [job.folder.input(each.name) for each in sent]

    def write() -> list[bytes]:
        with job.folder.held():
            job.write()
        assert not any(file.is_symlink() for file in files)
        return [file.read_bytes() for file in files]

    good = write()
    assert pickle.loads(good[0]) == {1, 2}  # noqa: S301  # this test's own
    written_at = [file.stat().st_mtime_ns for file in files]
    assert write() == good
    assert [file.stat().st_mtime_ns for file in files] == written_at
    for file, content in zip(files, good, strict=True):
        for planted in (pickle.dumps(Evil(tmp_path / "OWNED")), content[:-1] + b"?", b""):
            file.write_bytes(planted)
            assert write() == good
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
        assert write() == good
    # So it is on the network volume.
    for each, file in zip(sent, files, strict=True):
        key = f"{INPUTS}/{each.name}"
        cloud.volume.upload(file, key)
        for planted in (pickle.dumps(Evil(tmp_path / "OWNED")), file.read_bytes()[:-1] + b"?"):
            (cloud.bucket / key).write_bytes(planted)
            assert cloud.volume.upload(file, key)
            assert (cloud.bucket / key).read_bytes() == file.read_bytes()
        assert not cloud.volume.upload(file, key)


def test_the_users_own_key_is_made_once_and_is_theirs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keys: list[str] = []
    clients = [threading.Thread(target=lambda: keys.append(job_key("a"))) for _ in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(set(keys)) == 1
    assert job_key("b") != job_key("a")
    (file,) = (tmp_path / "kedro-cloudtrain").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("half")  # The disk was full.
    assert job_key("a") not in keys


def test_a_key_that_cannot_be_kept_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MASTER_KEY_VARIABLE, raising=False)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match="Set XDG_CACHE_HOME to a folder that can be written"):
        job_key("a")
    monkeypatch.setenv(MASTER_KEY_VARIABLE, "word")
    with pytest.raises(ConfigError, match="CLOUDTRAIN_SIGNING_KEY has 4 letters, and a key needs 24 at least"):
        job_key("a")


class OtherClients:
    """A backend that has attached to the machine of a client of another key; the next machine is its own."""

    name = "runpod"

    def __init__(self) -> None:
        self.attached: list[bool] = []

    def run(self, request: Any, watcher: Any) -> JobResult:
        self.attached.append(request.attach)
        return JobResult(state="succeeded")

    def kept(self, folder: JobFolder) -> KeptProcess:
        return KeptProcess(folder)


@dataclasses.dataclass
class Values:
    """What an order has of its results, one after another."""

    order: Any
    left: list[Any]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.order, name)

    def values(self, folder: JobFolder, result: JobResult, *, earlier: bool = False) -> Any:
        value = self.left.pop(0)
        if isinstance(value, Exception):
            raise value
        return value


def test_what_anothers_machine_has_left_runs_once_more_on_ones_own(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    unsigned, backend = UnsignedError("`x` is a pickle that is not signed."), OtherClients()
    job = dataclasses.replace(cloud.job(), order=Values(cloud.job().order, [unsigned, {"x": 1}]))
    assert job.run(backend, Row("train", "x", "y"), [], reuse=True) == {"x": 1}  # type: ignore[arg-type]
    assert backend.attached == [True, False]
    assert "runs again: `x` is a pickle that is not signed." in caplog.text
    job = dataclasses.replace(cloud.job(), order=Values(cloud.job().order, [unsigned, unsigned]))
    with pytest.raises(UnsignedError):
        job.run(backend, Row("train", "x", "y"), [], reuse=True)  # type: ignore[arg-type]
    assert backend.attached == [True, False] * 2


NODES = """
import os
from kedro.pipeline import Pipeline, node


class Thing:
    def __init__(self, number, seen):
        self.number, self.seen = number, seen


def make(number):
    return Thing(number, [name for name in os.environ if "KEY" in name and name.startswith("CLOUDTRAIN")])


def use(one, two):
    print(f"things {one.number} {two.number}, which saw {one.seen + two.seen}")
    return 1


def register_pipelines():
    makers = [node(make, f"params:{name}", name, name=f"make_{name}") for name in ("one", "two")]
    return {"__default__": Pipeline([*makers, node(use, ["one", "two"], "used", name="use")])}
"""


@pytest.mark.parametrize("group", ["", "group: small"], ids=["a pod each", "one pod"])
def test_pods_sign_and_what_another_has_written_runs_again(project: Project, cloud: Cloud, group: str) -> None:
    volume = f"volume: {{id: {cloud.volume_id}, data_center: EU-RO-1}}\n"
    project.write("conf/base/parameters.yml", "one: 1\ntwo: 2\n")
    project.write("conf/base/catalog.yml", "{}\n")
    project.write("conf/runpod/globals.yml", volume)
    project.write(
        "conf/runpod/cloudtrain.yml",
        f"backend: runpod\n{volume}defaults: {{install: false, gpu: none}}\nnodes: {{'make_*': {{{group}}}}}\n",
    )
    project.write("src/shop/pipeline_registry.py", textwrap.dedent(NODES))

    def ran(**environment: str) -> str:
        done = project.kedro("run", "--runner=cloudtrain", "--env=runpod", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "things 1 2, which saw []" in done.stdout
        return " ".join((done.stdout + done.stderr).split())

    ran()
    pods = 1 if group else 2
    assert len(cloud.runpod.pods) == pods
    jobs = {path.name: JobFolder(path) for path in (cloud.bucket / ".cloudtrain/jobs").glob("make_*")}
    for file in (*cloud.bucket.rglob("*"), *cloud.volume.folder(".cloudtrain").rglob("*")):
        if file.is_file():
            assert not [name for name in jobs if job_key(name).encode() in file.read_bytes()], file
    one = next(job for name, job in jobs.items() if name.startswith("make_one-"))
    owned = forge(one, "one")
    output = ran()
    assert "runs again: `one` of make_one-" in output
    assert "CLOUDTRAIN_SIGNING_KEY" in output
    assert not owned.exists()
    assert len(cloud.runpod.pods) == pods + 1
    if not group:
        # A client of another key does not read them either, and its machines sign for it.
        other = {MASTER_KEY_VARIABLE: "another key, of another team", "XDG_CACHE_HOME": str(project.path / "cache")}
        assert ran(**other).count("runs again: ") == 2
        assert len(cloud.runpod.pods) == pods + 3
