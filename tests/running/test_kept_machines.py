"""Machines that are kept for the next jobs of a run: on this computer and on pods of the stand-in."""

from __future__ import annotations

import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.cloud import Cloud, script
from support.waiting import wait_until

from kedro_cloudtrain.backends.backend import MachineBackend
from kedro_cloudtrain.backends.local import LocalBackend
from kedro_cloudtrain.config import NodeSettings, RunSettings
from kedro_cloudtrain.errors import ApiError, DetachedError, JobCancelledError, JobFailedError, JobLostError, JobTimeoutError
from kedro_cloudtrain.jobs.parameters import TrainingParameters
from kedro_cloudtrain.jobs.result import JobProgress, JobState
from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
from kedro_cloudtrain.running.display import Display, Row
from kedro_cloudtrain.running.group import GroupBackend
from kedro_cloudtrain.running.group_machine import GroupMachine
from kedro_cloudtrain.running.group_watcher import Member
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.running.prepare import prepare
from kedro_cloudtrain.running.run import Run
from kedro_cloudtrain.running.slots import Slots
from kedro_cloudtrain.running.training import TrainingOrder
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.storage.threads import DaemonExecutor

# Counts its process and its start, in the job's own folder.
RECORD = "Path('ran').open('a').write(f'{os.getppid()}\\n')\n"


class Watching(Row):
    """A row that keeps what it was told of."""

    def __init__(self, node: str) -> None:
        super().__init__(node, "", "")
        self.steps: list[JobProgress] = []

    def progressed(self, job: str, progress: JobProgress) -> None:
        self.steps.append(progress)
        super().progressed(job, progress)


class CountedSlots(Slots):
    """Slots of which a test can see how many are free, and take some away; waiting jobs may notice late that they need none."""

    wakes_after_s = 0.0

    def look_again(self) -> None:
        time.sleep(self.wakes_after_s)
        super().look_again()

    @property
    def free(self) -> int:
        return self._free

    def take(self, count: int) -> None:
        self._free -= count
        self.count -= count


class Site:
    """A place where jobs run on machines that are kept.

    Attributes:
        run: the run that they belong to.
        files: what the machines see of the volume.
    """

    def __init__(self, volume: Any, backend: MachineBackend, files: Path, slots: int = 2) -> None:
        self.files = files
        self.volume, self.slots = volume, CountedSlots(slots)
        self.run = Run(RunSettings(), backend, TrainingScriptGenerator(), Display(""), self.slots)
        self.machines = DaemonExecutor(4, "test-machine")
        self.threads = ThreadPoolExecutor(8)
        self.rows: dict[str, Watching] = {}
        self.jobs: dict[str, Job] = {}

    def group(self, keep_s: float = 30.0, **options: Any) -> GroupBackend:
        return GroupBackend("small", self.run, self.machines, keep_s, **options)

    def job(self, name: str, body: str = "", **settings: Any) -> Job:
        order = TrainingOrder(
            node=name,
            parameters=TrainingParameters(model_type="lightgbm_regression", target_column="body_mass_g"),
            data=make_source(dataset_key="datasets/penguins.csv"),
            outputs=("metrics",),
            volume=self.volume,
            settings=NodeSettings.model_validate({"timeout_s": 60, "gpu": "none", "install": False, "retries": 1, **settings}),
            given_script=script(RECORD + textwrap.dedent(body)),
        )
        self.jobs[name] = prepare(order, TrainingScriptGenerator())
        return self.jobs[name]

    @property
    def is_free(self) -> bool:
        """Whether no machine is there any more."""
        return self.slots.free == self.slots.count

    def start(self, backend: GroupBackend, job: Job) -> Any:
        """Start a job as the executor does, and return its future."""
        row = self.rows[job.order.node] = Watching(job.order.node)
        backend.gathering.announce()
        return self.threads.submit(
            backend.gathering.run_announced,
            lambda: job.run(backend, row, self.run.receipts, slots=backend.gathering, reuse=True)["metrics"],
        )


@contextmanager
def on_this_computer(root: Path, slots: int = 2) -> Iterator[Site]:
    (root / "datasets").mkdir(exist_ok=True)
    (root / "datasets/penguins.csv").write_text("body_mass_g\n1\n")
    site = Site(DirectoryVolume(root), LocalBackend(), root, slots)
    try:
        yield site
    finally:
        site.run.backend.close()
        site.threads.shutdown(wait=True)
        site.machines.shutdown(wait=True)


@contextmanager
def on_pods(cloud: Cloud) -> Iterator[Site]:
    site = Site(cloud.volume, cloud.backend(jobs=2), cloud.bucket)
    try:
        yield site
    finally:
        site.run.backend.close()
        site.threads.shutdown(wait=True)
        site.machines.shutdown(wait=True)


@pytest.fixture(params=["local", "pods"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    if request.param == "local":
        with on_this_computer(tmp_path) as site:
            yield site
    else:
        with on_pods(request.getfixturevalue("cloud")) as site:
            yield site


def machines_of(site: Site) -> list[str]:
    jobs = site.volume.folder(".cloudtrain/jobs")
    return sorted(folder.name for folder in Path(jobs).iterdir() if folder.name.startswith("group-"))


def ran(job: Job, site: Site) -> list[int]:
    """The processes that have started a job, one for each time that it ran."""
    file = Path(site.files) / ".cloudtrain/jobs" / job.folder.name / "ran"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_a_job_that_comes_later_runs_on_the_machine_that_is_kept(site: Site) -> None:
    group = site.group()
    first, second = site.job("first"), site.job("second", "print('hello from the second', flush=True)")
    assert site.start(group, first).result(60)["rmse"] == 1.5
    assert site.start(group, second).result(60)["rmse"] == 1.5
    assert len(machines_of(site)) == 1
    assert "hello from the second" in second.folder.log.read_text()
    assert ran(first, site) == ran(second, site)  # the process that has forked both
    began = time.monotonic()
    group.release()
    group.release()
    wait_until(lambda: site.is_free)
    assert time.monotonic() - began < 10, "it is kept for 30 s"
    for receipt in site.run.receipts[2:]:
        assert receipt.node == "group small"
        assert 0 < receipt.seconds["idle"] < 10


def test_a_job_of_a_group_reports_its_own_progress(site: Site) -> None:
    body = """
    with open('progress.jsonl', 'w', buffering=1) as progress:
        for step in range(1, 5):
            progress.write(json.dumps({"step": step, "of": 4, "metrics": {"rmse": 10.0 / step}, "seconds": 0.1 * step}) + "\\n")
            while step % 2 and not Path(f"seen-{step}").exists():
                time.sleep(0.05)
    """
    group = site.group(keep_s=30.0 if site.run.backend.name == "local" else 0.0)
    for node in ("first", "second"):
        job = site.job(node, body)
        future = site.start(group, job)
        for step in (1, 3):  # they are seen while it runs
            wait_until(lambda node=node, step=step: [progress for progress in site.rows[node].steps if progress.step == step])
            (site.files / ".cloudtrain/jobs" / job.folder.name / f"seen-{step}").touch()
        future.result(60)
    group.release()
    for node in ("first", "second"):
        steps = [progress.step for progress in site.rows[node].steps]
        assert set(steps) <= {1, 2, 3, 4}
        assert steps == sorted(steps)
        assert site.rows[node].steps[-1].metrics["rmse"] == 10.0 / steps[-1]
        assert all(progress.of == 4 for progress in site.rows[node].steps)


def test_jobs_that_come_while_the_machine_is_busy_wait_behind_each_other(site: Site) -> None:
    group = site.group()
    first = site.start(group, site.job("first", "time.sleep(2.5)"))
    wait_until(lambda: site.rows["first"].state is not JobState.WAITING)
    later = [site.job(f"later{number}") for number in range(3)]
    futures = [site.start(group, job) for job in later]
    (folder,) = [Path(site.volume.folder(".cloudtrain/jobs")) / name for name in machines_of(site)]
    wait_until(lambda: len(list(folder.glob("batch-*.json"))) == 3)
    group.release()  # what the machine has is done all the same
    assert [future.result(60)["rmse"] for future in (first, *futures)] == [1.5] * 4
    assert len(machines_of(site)) == 1
    assert [len(ran(job, site)) for job in later] == [1, 1, 1]


def test_whether_the_machine_was_over_is_settled_by_the_machine(tmp_path: Path) -> None:
    """Jobs that come just when the machine stops waiting are done once each, on that machine or on the next."""
    with on_this_computer(tmp_path) as site:
        group = site.group(keep_s=0.25)
        jobs = [site.job(f"job{number}") for number in range(10)]
        for number, job in enumerate(jobs):
            assert site.start(group, job).result(60)["rmse"] == 1.5
            time.sleep(0.17 + 0.02 * (number % 6))
        assert [len(ran(job, site)) for job in jobs] == [1] * len(jobs)
        assert 1 < len(machines_of(site)) <= len(jobs)


def test_a_machine_that_nobody_feeds_ends_itself(site: Site) -> None:
    group = site.group(keep_s=0.5)
    site.start(group, site.job("first")).result(60)
    wait_until(lambda: site.is_free)
    site.start(group, site.job("second")).result(60)
    assert len(machines_of(site)) == 2
    for receipt in [receipt for receipt in site.run.receipts if receipt.node == "group small"]:
        assert receipt.seconds["idle"] == pytest.approx(0.5, abs=0.4)


def test_a_job_that_breaks_ends_only_itself(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        group = site.group()
        site.start(group, site.job("first")).result(60)
        with pytest.raises(JobLostError, match="SIGSEGV"):
            site.start(group, site.job("breaks", "import signal\nos.kill(os.getpid(), signal.SIGSEGV)")).result(60)
        with pytest.raises(JobFailedError, match="exit code 3"):
            site.start(group, site.job("leaves", "sys.exit(3)")).result(60)
        with pytest.raises(JobTimeoutError, match="deadline of 1 s"):
            site.start(group, site.job("hangs", "time.sleep(600)", timeout_s=1)).result(60)
        ended = site.start(group, site.job("ended", "time.sleep(600)"))
        wait_until(lambda: len(ran(site.jobs["ended"], site)) == 1)
        group.end(site.jobs["ended"].folder.name)
        with pytest.raises(JobCancelledError, match="was ended"):
            ended.result(60)
        assert site.start(group, site.job("last")).result(60)["rmse"] == 1.5
        assert len(machines_of(site)) == 1


def test_a_job_of_a_machine_that_takes_no_more_jobs_can_be_ended(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        group = site.group()
        ended = site.start(group, site.job("ended", "time.sleep(600)", timeout_s=600))
        wait_until(lambda: len(ran(site.jobs["ended"], site)) == 1)
        group.release()
        group.end(site.jobs["ended"].folder.name)
        with pytest.raises(JobCancelledError, match="was ended"):
            ended.result(60)
        wait_until(lambda: site.is_free)


def test_a_job_that_the_deadline_of_the_machine_cuts_short_has_its_own_time_elsewhere(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        group = site.group(keep_s=5.0)
        site.start(group, site.job("first", timeout_s=6)).result(60)
        late = site.job("late", "time.sleep(60 if len(Path('ran').read_text().split()) == 1 else 0)", timeout_s=6)
        assert site.start(group, late).result(60)["rmse"] == 1.5
        assert len(ran(late, site)) == 2
        assert len(machines_of(site)) == 2


def test_a_machine_without_a_job_makes_room_for_another_one(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        site.slots.take(1)
        group, other = site.group(), GroupBackend("other", site.run, site.machines)
        site.start(group, site.job("first")).result(60)
        began = time.monotonic()
        site.start(other, site.job("second")).result(60)
        assert time.monotonic() - began < 15, "the machine is kept for 30 s"


def test_jobs_that_are_ready_together_are_spread_and_those_that_follow_take_what_is_free(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        group = site.group(spread=True)
        jobs = [site.job(f"job{number}", "time.sleep(0.4)") for number in range(6)]
        assert [future.result(60)["rmse"] for future in [site.start(group, job) for job in jobs]] == [1.5] * 6
        assert len(machines_of(site)) == 2, "as many as there are slots"
        assert [len(ran(job, site)) for job in jobs] == [1] * 6
        group.expect_no_more()
        wait_until(lambda: site.is_free)


def test_a_machine_does_not_end_for_a_job_that_another_one_has_taken(tmp_path: Path) -> None:
    with on_this_computer(tmp_path) as site:
        site.slots.wakes_after_s = 1.0
        group = site.group(spread=True)
        # Two begin and two wait; the last one waits once those are taken, and then both machines are free.
        jobs = [site.job(f"job{number}", "time.sleep(0.2)") for number in range(7)]
        for together in (jobs[:5], jobs[5:]):
            assert [future.result(60)["rmse"] for future in [site.start(group, job) for job in together]] == [1.5] * len(together)
        assert len(machines_of(site)) == 2


def test_a_job_whose_kept_machine_closes_as_it_is_to_take_it_waits_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_this_computer(tmp_path, slots=1) as site:
        group = site.group(spread=True)
        hand_in, closed = GroupMachine.hand_in, []

        def close_first(machine: GroupMachine, members: Sequence[Member]) -> bool:
            if not closed:
                closed.append(machine)
                machine.close()
            return hand_in(machine, members)

        monkeypatch.setattr(GroupMachine, "hand_in", close_first)
        jobs = [site.job(f"job{number}", "time.sleep(0.2)") for number in range(3)]
        assert [future.result(60)["rmse"] for future in [site.start(group, job) for job in jobs]] == [1.5] * 3
        assert len(closed) == 1
        assert [len(ran(job, site)) for job in jobs] == [1] * 3


def test_a_pod_without_a_job_is_not_replaced_where_it_is_lost(cloud: Cloud) -> None:
    with on_pods(cloud) as site:
        group = site.group()
        site.start(group, site.job("first")).result(60)
        next(iter(cloud.runpod.pods.values())).end()
        wait_until(lambda: site.is_free)
        assert len(cloud.runpod.pods) == 1
        assert site.start(group, site.job("second")).result(60)["rmse"] == 1.5
        assert len(cloud.runpod.pods) == 2


def test_a_pod_that_is_lost_with_a_job_that_came_later_is_replaced(cloud: Cloud) -> None:
    with on_pods(cloud) as site:
        group = site.group()
        first = site.job("first")
        second = site.job("second", "while not (Path('/workspace') / 'go').exists(): time.sleep(0.05)")
        site.start(group, first).result(60)
        waiting = site.start(group, second)
        wait_until(lambda: len(ran(second, site)) == 1)
        next(iter(cloud.runpod.pods.values())).end()
        (cloud.bucket / "go").touch()
        assert waiting.result(60)["rmse"] == 1.5
        assert [len(ran(job, site)) for job in (first, second)] == [1, 2]
        assert len(cloud.runpod.pods) == 2


def test_who_waits_for_a_job_on_a_pod_does_not_wait_for_what_the_pod_is_kept_for(cloud: Cloud) -> None:
    with on_pods(cloud) as site:
        group = site.group()
        jobs = [site.job("first"), site.job("second")]
        for job in jobs:
            site.start(group, job).result(60)
        began = time.monotonic()
        for job in jobs:
            result = site.run.backend.kept(job.folder).wait(lambda *_: None)
            assert result is not None
            assert result.state == "succeeded"
        assert time.monotonic() - began < 15, "the pod is kept for 30 s"
        assert len(cloud.runpod.living) == 1


@pytest.mark.parametrize("refusals", [pytest.param(1, id="the job"), pytest.param(2, id="and the machine's end")])
def test_a_job_that_cannot_be_brought_to_its_machine_fails_and_the_next_one_gets_another(cloud: Cloud, refusals: int) -> None:
    with on_pods(cloud) as site:
        group = site.group(600.0)
        site.start(group, site.job("first", timeout_s=600)).result(60)
        with pytest.MonkeyPatch.context() as patch:
            deliver = site.run.backend.deliver

            left = iter(range(refusals))

            def refuse(*args: Any) -> None:
                if next(left, None) is not None:
                    raise ApiError("no answer")
                deliver(*args)

            patch.setattr(site.run.backend, "deliver", refuse)
            with pytest.raises(ApiError, match="no answer"):
                site.start(group, site.job("second", timeout_s=600)).result(60)
            assert site.start(group, site.job("third", timeout_s=600)).result(60)["rmse"] == 1.5
        first, _ = cloud.runpod.pods.values()
        # It was told that the second job does not come, at the latest when the group is over.
        if refusals > 1:
            assert not first.gone
            group.release()
        wait_until(lambda: first.gone)


def test_a_volume_that_does_not_answer_does_not_hold_up_the_other_jobs_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with on_this_computer(tmp_path) as site:
        group = site.group()
        site.start(group, site.job("first")).result(60)
        deliver, asked, answers = site.run.backend.deliver, threading.Event(), threading.Event()

        def deliver_late(*args: Any) -> None:
            asked.set()
            answers.wait(120)
            deliver(*args)

        monkeypatch.setattr(site.run.backend, "deliver", deliver_late)
        ends = threading.Thread(target=group.release, daemon=True)
        ends.start()
        assert asked.wait(60)
        # On a machine of its own, at once.
        assert site.start(group, site.job("second")).result(60)["rmse"] == 1.5
        assert ends.is_alive()
        answers.set()
        ends.join(60)
        wait_until(lambda: site.is_free)


def test_a_machine_is_not_kept_for_nobody(tmp_path: Path) -> None:
    """Neither where the run has no other node for it, nor where the run leaves it."""
    with on_this_computer(tmp_path) as site:
        last, left = site.group(), site.group()
        last.expect_no_more()
        site.job("last").run(last, Watching("last"), [], slots=last.gathering)
        wait_until(lambda: site.is_free)
        with pytest.raises(DetachedError):
            site.job("left").run(left, Watching("left"), [], slots=left.gathering, detach=True)
        jobs = Path(site.volume.folder(".cloudtrain/jobs"))
        scripts = [(jobs / name / "train.py").read_text() for name in machines_of(site)]
        assert ["KEEP_S" in script for script in scripts] == [False, False]
        wait_until(lambda: all((jobs / name / "result.json").exists() for name in machines_of(site)))
