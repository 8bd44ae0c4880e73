"""One seed's life: jobs that a client runs through faults, clients that are killed and come again, and what must hold."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import random
import re
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.backends.runpod.api import RunPodApi
from kedro_cloudtrain.backends.runpod.backend import RunPodBackend
from kedro_cloudtrain.backends.runpod.budget import Budget
from kedro_cloudtrain.backends.runpod.fleet import Fleet
from kedro_cloudtrain.backends.runpod.shared_budget import SharedBudget
from kedro_cloudtrain.config import BudgetSettings, NodeSettings
from kedro_cloudtrain.errors import CloudTrainError
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.rehearsal.calls import API_KEY
from kedro_cloudtrain.rehearsal.storage import ACCESS_KEY, SECRET_KEY
from kedro_cloudtrain.running.display import Row
from kedro_cloudtrain.storage.network_volume import NetworkVolume
from simulation.account import DATA_CENTER, VOLUME, Session, SimulatedAccount
from simulation.client import Client
from simulation.invariants import PLANTED, Invariants, Limits
from simulation.outcome import Outcome
from simulation.pods import metrics_of
from simulation.prepared import templates
from simulation.scheduler import Interrupted, Killed, Scheduler
from simulation.shared_machine import SharedMachine
from simulation.shims import installed
from simulation.volume import ENDPOINT, Bucket, S3Client, S3Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kedro_cloudtrain.running.job import Job

PROJECT = "shop-0a1b2c"
_LONGEST_S = 40_000.0
# In so many worlds the jobs share a machine.
_SHARING = 0.4


class World:
    """A seed's world.

    Args:
        seed: decides all that happens.
        root: a temporary folder.
    """

    def __init__(self, seed: int, root: Path) -> None:
        self.outcome = Outcome(seed)
        self._root = root
        self._chance = chance = random.Random(seed)  # noqa: S311  # no secret is drawn
        self.scheduler = Scheduler(random.Random(chance.random()))  # noqa: S311
        self.bucket = Bucket()
        self.account = SimulatedAccount(self.scheduler, chance, self.bucket, root)
        self.account.listed_after_s = chance.choice((0.0, 0.0, 8.0, 25.0))
        self.account.faults.now = lambda: self.scheduler.now
        self.s3_faults = S3Faults(chance)
        settings = {
            "gpu": chance.choice(("none", ("NVIDIA L4",), ("NVIDIA L4", "NVIDIA A40"))),
            "install": False,
            "timeout_s": chance.choice((300.0, 1200.0)),
            "startup_timeout_s": chance.choice((90.0, 300.0)),
            "retries": chance.choice((1, 2, 3)),
            "max_cost_usd": chance.choice((None, 0.1, 0.2)),
            "wait_for_capacity_s": chance.choice((0.0, 120.0)),
        }
        jobs = chance.randint(1, 3)
        self.limits = Limits(settings, jobs, chance.choice((None, 0.1, 0.2, 0.4)), chance.choice((None, None, 0.1, 0.3)))
        # Drawn apart: a world without shared machines is the one that it was before there were any.
        self._of_sharing = random.Random(f"sharing {seed}")  # noqa: S311
        if self._of_sharing.random() < _SHARING:
            self.limits.keep_s, self.limits.spread = self._of_sharing.choice((0.0, 20.0, 90.0)), self._of_sharing.random() < 0.5
        self._invariants = Invariants(self.scheduler, self.account, self.bucket, self.s3_faults, self.limits, self.outcome, root)
        self.account.on_call.append(self._invariants.check_ledger)
        self.account.faults.all_hang = chance.random() < 0.2

    def run(self) -> Outcome:
        """Lead the world to its end, and return what it has shown."""
        templates()  # Before the world begins: what preparing them draws does not count.
        self.bucket.files["datasets/penguins.csv"] = b"x,body_mass_g\n1,2\n"
        with self._journal(), installed(self.scheduler, self._chance, self._home, self._disk):
            try:
                self._live()
            except AssertionError as error:
                self._invariants.violated(f"{type(error).__name__}: {error}")
            finally:
                self.scheduler.close()
        self._invariants.check_secrets()
        outcome = self.outcome
        outcome.faults = {**self.account.faults.drawn, **self.s3_faults.drawn}
        outcome.pods, outcome.seconds = len(self.account.pods), self.scheduler.now
        return outcome

    def _live(self) -> None:
        chance, faults = self._chance, self.account.faults
        faults.rate, faults.pod_rate, self.s3_faults.rate = (chance.choice((0.0, 3.0, 15.0)) for _ in range(3))
        faults.pod_rate *= 3
        faults.all_hang = chance.random() < 0.2
        clients = [self._start_client("first", self._root / "home")]
        if chance.random() < 0.25:
            clients.append(self._start_client("beside it", self._root / chance.choice(("home", "other home"))))
        for client in clients:
            self._plan_events(client)
        self._await(clients)
        again = 0
        while chance.random() < 0.5 and again < 3:
            again += 1
            client = self._start_client(f"again {again}", self._root / "home")
            self._plan_events(client)
            self._await([client])
            clients.append(client)
        self._invariants.check_money(clients)
        # What must hold whatever has happened: without faults the same run ends well, and leaves nothing.
        faults.rate = faults.pod_rate = self.s3_faults.rate = 0.0
        faults.all_hang = False
        faults.outage_until = self.s3_faults.outage_until = 0.0
        self.scheduler.forget_events()
        finished = self._finished()
        created, trained = len(self.account.pods), len(self.account.trained)
        # The first one may take over a pod from before, whose fault has yet to show.
        for name in ("before the last", "last"):
            last = self._start_client(name, self._root / "home", limited=False)
            self._await([last])
            if last.left:
                self._invariants.violated(f"the rerun has left {last.left}")
        for job, error in last.errors.items():
            self._invariants.violated(f"the rerun of {job} has not ended well: {type(error).__name__}: {error}")
        again_for = {*(pod.job for pod in list(self.account.pods.values())[created:]), *self.account.trained[trained:]} & finished
        if again_for:
            self._invariants.violated(f"finished work was done twice: {sorted(again_for)}")
        self._reap()
        self._invariants.check_nothing_is_left()

    def _start_client(self, name: str, home: Path, *, limited: bool = True) -> Client:
        client = Client(name, home)
        client.clock_ahead_s = self._chance.choice((0.0, 0.0, 0.0, 3 * 86_400.0, -3 * 86_400.0, 40.0)) if limited else 0.0
        budget = self.limits.max_cost_usd if limited else None
        self.outcome.events.append(f"{self.scheduler.now:.0f} s: {name} begins, its clock {client.clock_ahead_s:.0f} s ahead")
        client.main = self.scheduler.spawn(client, functools.partial(self._run_client, client, budget, limited), name)
        return client

    def _run_client(self, client: Client, max_cost_usd: float | None, limited: bool) -> None:
        """Do what a run does with its nodes, each in a thread of its own."""
        api = self._api(client)
        volume = self._volume()
        shared = None
        if limited and self.limits.shared_usd is not None:
            shared = SharedBudget(volume, BudgetSettings(name="team", max_cost_usd=self.limits.shared_usd), api.now)
        settings = NodeSettings.model_validate(self.limits.settings if limited else {**self.limits.settings, "max_cost_usd": None})
        backend = RunPodBackend(api, volume, PROJECT, Budget(max_cost_usd, shared), self.limits.jobs)
        tasks, machine, keep_s = [], None, self.limits.keep_s
        if keep_s is not None:
            machine = SharedMachine(self.scheduler, client, backend, self.limits.jobs, keep_s, spread=self.limits.spread and keep_s > 0)
        for template in templates()[: self.limits.jobs]:
            order = dataclasses.replace(template.order, volume=volume, settings=settings)
            job = dataclasses.replace(
                template,
                order=order,
                secrets={"CLOUDTRAIN_URL": PLANTED},
                folder=JobFolder(volume.folder(f".cloudtrain/jobs/{template.name}")),
            )
            run = functools.partial(job.run, backend, Row(job.name, "lightgbm", ""), [], reuse=True)
            if machine is not None:
                run = functools.partial(machine.run, job, self._of_sharing.choice((0.0, self._of_sharing.uniform(0, 150))))
            tasks.append(self.scheduler.spawn(client, functools.partial(self._run_job, client, job, run), f"{client.name}: {job.name}"))
        try:
            self.scheduler.wait(lambda: all(task.done for task in tasks))
            if machine is not None:
                machine.close()
        except Interrupted:
            if machine is not None:
                machine.slots.close()
            self.outcome.events.append(f"{self.scheduler.now:.0f} s: {client.name} is interrupted")
        finally:
            try:
                backend.close()
            finally:  # As the last lines of a command are printed, by a second signal as well.
                client.left = backend.left()
        self.scheduler.wait(lambda: all(task.done for task in tasks))

    def _run_job(self, client: Client, job: Job, run: Callable[[], dict[str, Any]]) -> None:
        try:
            client.values[job.name] = run()["metrics"]
        except CloudTrainError as error:
            client.errors[job.name] = error
        except OSError as error:
            if not client.disk_full:
                raise
            client.errors[job.name] = error
        except Killed:
            raise
        except Exception as error:  # noqa: BLE001  # that is what must not be
            client.errors[job.name] = error
            self.outcome.journal.append(traceback.format_exc())
            self._invariants.violated(f"{client.name}: {job.name} raised {type(error).__name__}: {error}")

    def _await(self, clients: list[Client]) -> None:
        mains = [client.main for client in clients if client.main is not None]
        self.scheduler.run(lambda: all(main.done for main in mains), _LONGEST_S)
        for client in clients:
            if client.ended_at is not None:
                continue
            client.ended_at = self.scheduler.now
            error = client.main.error if client.main is not None else None
            if error is not None and not isinstance(error, Interrupted):
                self._invariants.violated(f"{client.name} ended by {type(error).__name__}: {error}")
            for job, values in client.values.items():
                if values != metrics_of(job):
                    self._invariants.violated(f"{client.name}: {job} gave {values} instead of {metrics_of(job)}")
            summary = {**dict.fromkeys(client.values, "done"), **{job: type(error).__name__ for job, error in client.errors.items()}}
            self.outcome.events.append(f"{self.scheduler.now:.0f} s: {client.name} is over: {summary}, left {len(client.left)}")
            if not client.killed:
                self._invariants.check_ended(client)
            self.scheduler.kill(client)  # The process is over, and its daemon threads with it.

    def _plan_events(self, client: Client) -> None:
        """Draw what befalls a client, and the files on the volume, while it runs."""
        chance, now = self._chance, self.scheduler.now
        for kind in chance.choices(("kill", "interrupt", "sleep", "outage", "volume outage", "disk", "garbage", "clock", "nothing"), k=2):
            at = now + chance.choice((chance.uniform(0, 20), chance.uniform(0, 300)))
            match kind:
                case "kill":
                    self.scheduler.at(at, functools.partial(self._kill, client))
                case "interrupt":
                    self.scheduler.at(at, functools.partial(self._interrupt, client))
                case "sleep":
                    self.scheduler.at(at, functools.partial(self._sleep, client, chance.uniform(30, 3000)))
                case "outage":
                    self.scheduler.at(at, functools.partial(self._outage, chance.uniform(5, 120)))
                case "volume outage":
                    self.scheduler.at(at, functools.partial(self._volume_outage, chance.uniform(5, 200)))
                case "disk":
                    self.scheduler.at(at, functools.partial(self._fill_disk, client))
                case "garbage":
                    self.scheduler.at(at, self._spoil)
                case "clock":
                    self.scheduler.at(at, functools.partial(self._set_clock, client, chance.choice((-7200.0, 7200.0, 86_400.0))))

    def _kill(self, client: Client) -> None:
        if client.main is None or client.main.done:
            return
        self.outcome.events.append(f"{self.scheduler.now:.0f} s: {client.name} is killed")
        # What its threads do as they unwind is undone: a killed process does nothing more. Its locks go with its files' old places.
        kept = client.home.with_name(f"{client.home.name} kept")
        if client.home.exists():
            shutil.copytree(client.home, kept)
        client.killed = True
        self.scheduler.kill(client)
        if kept.exists():
            shutil.rmtree(client.home)
            kept.rename(client.home)

    def _interrupt(self, client: Client) -> None:
        if client.main is not None and not client.main.done:
            client.main.pending = Interrupted()

    def _sleep(self, client: Client, seconds: float) -> None:
        if client.main is not None and not client.main.done:
            self.outcome.events.append(f"{self.scheduler.now:.0f} s: {client.name} falls asleep for {seconds:.0f} s")
            self.scheduler.put_to_sleep(client, seconds)

    def _outage(self, seconds: float) -> None:
        self.account.faults.outage_until = self.scheduler.now + seconds
        self.account.faults.outages_s += seconds

    def _volume_outage(self, seconds: float) -> None:
        self.s3_faults.outage_until = self.scheduler.now + seconds
        self.s3_faults.outages_s += seconds

    def _fill_disk(self, client: Client) -> None:
        self.outcome.events.append(f"{self.scheduler.now:.0f} s: the disk of {client.name} is full")
        client.disk_full = True

    def _set_clock(self, client: Client, seconds: float) -> None:
        client.clock_ahead_s += seconds

    def _spoil(self) -> None:
        """Break a file on the volume that crosses to a client."""
        names = ("result.json", "machine.json", "heartbeat.json", "progress.jsonl", "metrics.json")
        keys = [key for key in sorted(self.bucket.files) if key.endswith(names)]
        if not keys:
            return
        key = self._chance.choice(keys)
        content = self.bucket.files[key]
        spoilt = (b"", b"[]", b"null", b"{", b"\xff\xfe\x00", content[: len(content) // 2], b'{"attempt": 3, "state": []}', b"1e999", None)
        new = self._chance.choice(spoilt)
        if new is None:
            del self.bucket.files[key]
        else:
            self.bucket.files[key] = new
        self.outcome.events.append(f"{self.scheduler.now:.0f} s: {key} holds {new!r:.40}")

    def _finished(self) -> set[str]:
        """Return the jobs whose right result is on the volume."""
        finished = set()
        for key, content in self.bucket.files.items():
            if key.endswith("/result.json"):
                with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
                    job, result = key.split("/")[-2], json.loads(content)
                    metrics = json.loads(self.bucket.files[f".cloudtrain/jobs/{job}/outputs/metrics.json"])
                    if result["state"] == "succeeded" and metrics == metrics_of(job):
                        finished.add(job)
        return finished

    def _reap(self) -> None:
        """End what killed clients have left, as a person does by `reap`."""
        client = Client("reap", self._root / "home")

        def reap() -> None:
            fleet = Fleet(self._api(client), PROJECT)
            pods = fleet.namesakes()
            for pod, reason in fleet.terminate([pod for pod in pods if pod.forgotten]):
                if reason is not None:
                    self._invariants.violated(f"{pod.pod.name} could not be ended: {reason}")
            # Those of another computer's client, about which a person is asked.
            others = [pod for pod in fleet.namesakes() if not pod.forgotten]
            at_home = [pod.pod.name for pod in others if (client.home / "pods" / f"{pod.pod.name}.json").exists()]
            if at_home:
                self._invariants.violated(f"reap does not end what clients of this computer have left: {at_home}")
            list(fleet.terminate(others))

        task = self.scheduler.spawn(client, reap, "reap")
        self.scheduler.run(lambda: task.done, _LONGEST_S)
        if task.error is not None:
            self._invariants.violated(f"reap raised {task.error!r}")

    def _api(self, client: Client) -> RunPodApi:
        api = _SimulatedApi(API_KEY, "http://simulated")
        api.session = Session(self.account, client)
        return api

    def _volume(self) -> NetworkVolume:
        volume = NetworkVolume(VOLUME, DATA_CENTER, ENDPOINT, {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY})
        client = S3Client(self.scheduler, self._chance, self.bucket, self.s3_faults)
        volume.__dict__ |= {"client": client, "large_client": client}
        return volume

    def _home(self) -> Path:
        process = self.scheduler.current.process
        assert isinstance(process, Client)
        return process.home

    def _disk(self) -> None:
        process = self.scheduler.current.process
        if isinstance(process, Client) and process.disk_full:
            raise OSError(28, "No space left on device")

    @contextlib.contextmanager
    def _journal(self) -> Iterator[None]:
        world = self

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                # The real disk below is another one each time.
                text = re.sub(r"; [^;]+ are free there", "", record.getMessage().replace(str(world._root), ""))
                world.outcome.journal.append(f"{world.scheduler.now:.1f} s: {record.levelname} {text}")

        logger, handler = logging.getLogger("kedro.cloudtrain"), Handler()
        level, propagates = logger.level, logger.propagate
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagates


class _SimulatedApi(RunPodApi):
    """The client of the API, with a session that asks the simulated account."""

    session: Session

    @property
    def _session(self) -> Any:
        return self.session


def live(seed: int) -> Outcome:
    """Live one seed, and return what it has shown."""
    with tempfile.TemporaryDirectory(prefix="simulation-") as folder:
        return World(seed, Path(folder)).run()
