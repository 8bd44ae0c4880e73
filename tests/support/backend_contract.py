"""What every backend has to do, whatever its machines are: each implementation inherits these tests and brings a fixture."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

import pytest

from kedro_cloudtrain.errors import JobCancelledError, JobFailedError, JobLostError, JobTimeoutError
from kedro_cloudtrain.jobs.result import JobState
from kedro_cloudtrain.running.display import Row
from support.waiting import wait_until

if TYPE_CHECKING:
    from typing import Any

    from kedro_cloudtrain.backends.backend import MachineBackend
    from kedro_cloudtrain.jobs.receipt import Receipt
    from kedro_cloudtrain.running.job import Job


class Site(Protocol):
    """A place with a backend and jobs for it."""

    def backend(self) -> MachineBackend:
        """Return a backend, as a client of its own has it."""
        ...

    def job(self, name: str = "train", body: str = "", **settings: Any) -> Job:
        """Write a job whose script does something and leaves metrics."""
        ...


def run(site: Site, body: str = "", receipts: list[Receipt] | None = None, **settings: Any) -> dict[str, Any]:
    row, kept = Row("train", "lightgbm", "penguins.csv"), [] if receipts is None else receipts
    return site.job(body=body, **settings).run(site.backend(), row, kept)


def submit(site: Site, backend: MachineBackend, body: str) -> Job:
    job = site.job(body=body)
    with job.folder.held():
        job.write()
        backend.submit(job.request())
    return job


class BackendContract:
    """The tests; `site` is the fixture that an implementation brings."""

    def test_a_job_returns_its_outputs_and_leaves_a_receipt(self, site: Site) -> None:
        receipts: list[Receipt] = []
        assert run(site, receipts=receipts)["metrics"]["rmse"] == 1.5
        assert [(receipt.job.rpartition("-")[0], receipt.state) for receipt in receipts] == [("train", JobState.SUCCEEDED)]
        assert receipts[0].where == site.backend().name

    def test_a_script_that_raises_fails_with_what_it_raised(self, site: Site) -> None:
        receipts: list[Receipt] = []
        with pytest.raises(JobFailedError, match="no such column"):
            run(site, "raise ValueError('no such column')", receipts)
        assert receipts[0].state is JobState.FAILED

    def test_a_script_that_is_killed_is_lost(self, site: Site) -> None:
        with pytest.raises(JobLostError, match="SIGKILL"):
            run(site, "import signal\nos.kill(os.getpid(), signal.SIGKILL)")

    def test_a_deadline_ends_the_script(self, site: Site) -> None:
        with pytest.raises(JobTimeoutError, match="deadline of 1 s"):
            run(site, "time.sleep(600)", timeout_s=1)

    def test_closing_ends_what_runs_and_refuses_more(self, site: Site) -> None:
        backend, errors = site.backend(), []
        job = site.job(body="print('begun', flush=True)\ntime.sleep(600)")

        def wait() -> None:
            try:
                job.run(backend, row, [])
            except JobCancelledError as error:
                errors.append(error)

        row = Row("train", "lightgbm", "penguins.csv")
        client = threading.Thread(target=wait)
        client.start()
        wait_until(lambda: row.state is not JobState.WAITING)
        backend.close()
        client.join(60)
        assert len(errors) == 1
        with pytest.raises(JobCancelledError, match="was not started"):
            site.job("another").run(backend, Row("another", "", ""), [])

    def test_another_client_finds_the_result_until_it_is_discarded(self, site: Site) -> None:
        job = site.job()
        assert site.backend().kept(job.folder).result() is None
        job.run(site.backend(), Row("train", "", ""), [])
        kept = site.backend().kept(job.folder)
        result = kept.result()
        assert result is not None
        assert result.state == "succeeded"
        assert job.order.values(job.folder, result)["metrics"]["rmse"] == 1.5
        kept.discard(result)
        assert site.backend().kept(job.folder).result() is None

    def test_a_job_that_is_left_goes_on_and_is_waited_for_by_another_client(self, site: Site) -> None:
        job = submit(site, site.backend(), "print('hello from the machine', flush=True)\ntime.sleep(0.5)")
        kept = site.backend().kept(job.folder)
        assert kept.is_running()
        assert kept.group() is None
        result = kept.wait(lambda _: None)
        assert result is not None
        assert result.state == "succeeded"
        assert kept.result(log=True) == result
        assert not kept.is_running()
        assert "hello from the machine" in job.folder.log.read_text()
        assert any("hello from the machine" in line for line in kept.log())

    def test_a_job_that_is_deleted_has_left_nothing(self, site: Site) -> None:
        job, backend = site.job(), site.backend()
        job.run(backend, Row("train", "", ""), [])
        backend.close()  # A pod that is still ending would write on.
        kept = site.backend().kept(job.folder)
        kept.delete([])
        job.folder.clear()
        assert kept.result() is None
