"""A disk of this computer that is full, read-only or not there: no pod's work is lost by it, and no pod is paid for in vain."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.cloud import Cloud
from support.kedro_project import Project

from kedro_cloudtrain.errors import ConfigError, DiskError
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.storage import disk
from kedro_cloudtrain.storage.cache import cache_folder
from kedro_cloudtrain.storage.files import whole

LARGE_METRICS = """
content = json.dumps({"rmse": 1.5, "more": "x" * 2_000_000}).encode()
Path("outputs").mkdir()
Path("outputs/metrics.json").write_bytes(content)
metrics = {"path": "outputs/metrics.json", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
result = {"state": "succeeded", "attempt": os.environ["CLOUDTRAIN_ATTEMPT"], "outputs": {"metrics": metrics}, "started_at": began}
Path("result.new").write_text(json.dumps({**result, "finished_at": time.time()}))
Path("result.new").replace("result.json")
os._exit(0)
"""


@pytest.fixture(autouse=True)
def _nothing_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "_logged", set())


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A disk of 800 kB for the cache."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=800k", "none", str(place)], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("a small disk needs root")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    yield place
    subprocess.run(["/bin/umount", "--lazy", str(place)], check=True)


def test_a_log_that_does_not_fit_here_costs_no_work(cloud: Cloud, small: Path, caplog: pytest.LogCaptureFixture) -> None:
    body = "for _ in range(20):\n    print('x' * 100_000, flush=True)\n    time.sleep(0.1)"
    assert cloud.run(cloud.backend(), body=body)["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1
    lines = [record.getMessage() for record in caplog.records if "No space left" in record.getMessage()]
    assert len(lines) == 1, lines
    assert lines[0].startswith("Copies of logs and progress cannot be kept on this computer, and the run goes on without: ")


def test_outputs_that_do_not_fit_here_stay_on_the_volume_for_the_next_run(
    cloud: Cloud, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = cloud.job(body=LARGE_METRICS)
    with pytest.raises(DiskError, match=r"metrics\.json \(2\.0 MB\) does not fit .*No space left.*free there.*XDG_CACHE") as refused:
        job.run(cloud.backend(), Row("train", "mine", "penguins"), cloud.receipts)
    assert str(job.folder.outputs) in str(refused.value)
    assert cloud.runpod.living == []
    # What has arrived of it is in nobody's way.
    assert list(job.folder.outputs.iterdir()) == []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "large"))
    again = cloud.job(body=LARGE_METRICS)
    assert again.folder.path != job.folder.path
    assert again.run(cloud.backend(), Row("train", "mine", "penguins"), cloud.receipts, reuse=True)["metrics"]["rmse"] == 1.5
    assert len(cloud.runpod.pods) == 1


def _a_file(place: Path) -> Path:
    place.write_text("")
    return place


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_a_file, "is a file, and has to be a folder"),
        (lambda place: Path("/proc/nohome"), "No such file or directory"),
        (lambda place: Path("/dev/full"), "is a file, and has to be a folder"),
    ],
    ids=["a file", "no folder can be made", "a device"],
)
def test_a_cache_that_cannot_be_written_is_named_before_money_is_spent(
    cloud: Cloud, make: Callable[[Path], Path], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = make(tmp_path / "taken")
    monkeypatch.setenv("XDG_CACHE_HOME", str(place))
    with pytest.raises(DiskError, match=r"XDG_CACHE_HOME") as refused:
        cloud.run(cloud.backend())
    assert str(place) in str(refused.value)
    assert reason in str(refused.value)
    assert not cloud.runpod.pods


def test_without_a_home_the_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(ConfigError, match="XDG_CACHE_HOME"):
        cache_folder()


def test_a_run_and_its_plan_name_what_is_in_the_way(project: Project) -> None:
    jobs = project.path / "data/volume/.cloudtrain"
    jobs.write_text("")
    for command in (["run", "--runner=cloudtrain"], ["cloudtrain", "plan"]):
        done = project.kedro(*command)
        output = " ".join((done.stdout + done.stderr).split())
        assert done.returncode == 1
        assert f"jobs are kept in {jobs}/jobs, and {jobs} is a file, and has to be a folder." in output
        assert "Traceback" not in output


def test_what_is_dispensable_is_logged_once_and_what_is_not_is_an_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = JobFolder(tmp_path / "job")
    folder.path.mkdir()
    folder.log.symlink_to("/dev/full")
    for _ in range(3):
        with disk.dispensable("The log"), folder.log.open("ab") as stream:
            stream.write(b"x")
    assert [record.getMessage() for record in caplog.records] == [
        "The log cannot be kept on this computer, and the run goes on without: [Errno 28] No space left on device"
    ]
    with pytest.raises(DiskError, match=r"log\.txt \(1 B\) does not fit"), disk.writing(folder.log, 1), folder.log.open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a") as temporary:
        temporary.write_bytes((tmp_path / "what is read").read_bytes())
