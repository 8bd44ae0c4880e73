"""What runs on a simulated pod: the steps of the pod's own programs, `kedro_cloudtrain/pod`, on the world's volume and by its clock."""

from __future__ import annotations

import ast
import contextlib
import datetime as dt
import functools
import hashlib
import io
import json
import re
import zipfile
from typing import TYPE_CHECKING, Any

import requests

from simulation.scheduler import Process
from simulation.shims import EPOCH_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from kedro_cloudtrain.rehearsal.schemas import CreatePodRequest
    from simulation.account import SimulatedAccount

# As `kedro_cloudtrain/pod/ending.py` has them.
WATCHDOG_LOOKS_S = 15.0
_ASK_AGAIN_S = (2.0, 5.0, 15.0, 30.0, 60.0)
_JOB = re.compile(r"/workspace/(\.cloudtrain/jobs/([^/]+))/")
_HOST_FAULT = "the host's GPU does not open"


def metrics_of(job: str) -> dict[str, float]:
    """Return what the job of a name leaves: a function of the job alone."""
    return {"rmse": int(hashlib.sha256(job.encode()).hexdigest()[:6], 16) / 1000}


class SimulatedPod:
    """One pod, from its creation until it is gone; the stand-in shows it as one of its own."""

    cluster = ""  # a pod by itself

    def __init__(
        self, account: SimulatedAccount, owner: Process | None, request: CreatePodRequest, usd_per_hour: float, fault: str | None
    ) -> None:
        self.owner = owner
        self.request = request
        self.usd_per_hour = usd_per_hour
        self.kind = fault
        self.dear = False
        # Until when it is billed as it was offered.
        self.dear_from, self.offered_usd = 0.0, 0.0
        self.shows_offer = account.chance.random() < 0.7
        # The stand-in refuses a pod's key where it has this fault.
        self.fault = type("Fault", (), {"kind": "cannot end"})() if fault == "cannot end" else None
        self.id = f"pod{account.chance.getrandbits(48):012x}"
        self.key = f"rpa_pod_{self.id}"
        self.place = "EU-RO-1"
        self.created_at: dt.datetime = account.now
        self.born = account.scheduler.now
        self.running_since: float | None = None
        self.began_at: float | None = None
        self.ended_at: float | None = None
        self.starts = 0
        self.lifetime_s = 0.0
        self._account = account
        self._scheduler = account.scheduler
        self._process = Process(f"pod {self.id}")
        match = _JOB.search(request.args)
        self.folder, self.job = (match[1], match[2]) if match else ("", "")
        self.attempt = str(request.env.get("CLOUDTRAIN_ATTEMPT", ""))

    @property
    def gone(self) -> bool:
        return self.ended_at is not None

    @property
    def status(self) -> str:
        if self.gone:
            return "TERMINATED"
        if self.kind == "errors" and self.starts:
            return "ERROR"
        return "PROVISIONING" if self.running_since is None else "RUNNING"

    @property
    def uptime_s(self) -> int:
        return 0 if self.running_since is None else int(self._scheduler.now - self.running_since)

    @property
    def cost_usd(self) -> float:
        end = self.ended_at if self.ended_at is not None else self._scheduler.now
        as_offered_s = min(max(0.0, self.dear_from - self.born), end - self.born)
        return (as_offered_s * self.offered_usd + (end - self.born - as_offered_s) * self.usd_per_hour) / 3600

    @property
    def has_watchdog(self) -> bool:
        """Whether the pod's own watchdog has begun, and may end the pod."""
        return self.began_at is not None and self.kind != "cannot end"

    def start(self) -> None:
        """Start the pod's life."""
        self._scheduler.spawn(self._process, self._live, f"pod {self.id}")

    def end(self) -> None:
        """Terminate the pod with all that it has started."""
        if self.ended_at is None:
            self.ended_at = self._scheduler.now
            self._process.alive = False

    def _live(self) -> None:
        chance, sleep = self._account.chance, self._scheduler.sleep
        if self.kind == "never starts":
            return
        sleep(chance.uniform(5.0, 400.0 if self.kind == "slow" else 60.0))
        if self.kind == "vanishes":
            self._scheduler.spawn(self._process, self._vanish, f"{self.id} vanishes")
        while True:
            self.starts += 1
            self.running_since = self._scheduler.now
            if self.kind in ("loops", "errors"):
                sleep(2.0)
            else:
                self._bootstrap()

    def _vanish(self) -> None:
        self._scheduler.sleep(self._account.chance.uniform(0.0, 200.0))
        self.end()

    def _bootstrap(self) -> None:
        for _ in range(20):
            machine = self._machine()
            if machine.get("attempt") == self.attempt:
                break
            self._scheduler.sleep(0.25)
        self.began_at = self.began_at or self._scheduler.now
        self.lifetime_s = float(machine.get("lifetime_s", 600.0))
        self._scheduler.spawn(self._process, self._watch, f"{self.id}'s watchdog")
        if machine.get("attempt") == self.attempt and machine.get("pod", self.id) == self.id and self._claim():
            self._run_once(machine)
        self._end_itself()

    def _claim(self) -> bool:
        marker = f"{self.folder}/started-{self.attempt}"
        if marker in self._files:
            return False
        self._files[marker] = self.id.encode()
        return True

    def _run_once(self, machine: dict[str, Any]) -> None:
        chance, began = self._account.chance, self._time()
        for key in [key for key in self._files if key.startswith(f"{self.folder}/") and self._is_of_attempt(key, self.folder)]:
            del self._files[key]
        heart = self._scheduler.spawn(self._process, lambda: self._beat(machine), f"{self.id}'s heart")
        self._files[f"{self.folder}/log.txt"] = f"pod {self.id}\n".encode()
        self._scheduler.sleep(chance.uniform(1.0, 90.0))
        if self.kind == "no cuda":
            self._write_failure("failed", "MachineError", _HOST_FAULT, began)
        elif self.kind == "killed":
            self._write_failure("lost", "Killed", "killed by SIGKILL (out of memory, often)", began)
        elif self.job.startswith("group-"):
            self._run_group(began)
        else:
            self._train(began)
        heart.process = Process("over")
        heart.process.alive = False

    def _train(self, began: float) -> None:
        self._fit(self.folder, began)

    def _fit(self, folder: str, began: float, report: Callable[[dict[str, Any]], object] | None = None) -> None:
        """Do a job's work in its folder, to its result; `report` takes its progress, too."""
        chance, job = self._account.chance, folder.rpartition("/")[2]
        if self.kind == "hangs":
            self._scheduler.sleep(1e6)
        rounds = chance.randint(1, 6)
        for number in range(1, rounds + 1):
            self._scheduler.sleep(chance.uniform(1.0, 15.0))
            line = {"step": number, "of": rounds, "metrics": {"rmse": 1.0 / number}, "seconds": 10.0 * number}
            self._append(f"{folder}/progress.jsonl", f"{json.dumps(line)}\n")
            self._append(f"{folder}/log.txt", f"round {number}\n")
            if report is not None:
                report(line)
        content = json.dumps(metrics_of(job)).encode()
        self._files[f"{folder}/outputs/metrics.json"] = content
        output = {"path": "outputs/metrics.json", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        if self.kind == "fails to write":
            self._files[f"{folder}/outputs/metrics.json"] = content[: chance.randrange(len(content))]
        times = {"started_at": began, "finished_at": self._time()}
        self._write_result({"state": "succeeded", "attempt": self.attempt, "outputs": {"metrics": output}, **times}, folder)
        self._account.trained.append(job)

    def _run_group(self, began: float) -> None:
        """Run a group's jobs one after another, and those that come while the machine is kept, as `worker/group.py` does."""
        values = {
            str(statement.targets[0].id): ast.literal_eval(statement.value)
            for statement in ast.parse(self._files[f"{self.folder}/train.py"]).body
            if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        }
        run, batch, keep_s = values["RUN"], list(values["JOBS"]), values.get("KEEP_S", 0.0)
        zipfile.ZipFile(io.BytesIO(self._files[f"{self.folder}/members.zip"])).testzip()
        batches = count = done = 0

        def report(job: str = "", member: dict[str, Any] | None = None) -> None:
            line = {"step": done, "of": count, "seconds": round(self._time() - began, 3)}
            more = {"job": job, "member": member} if member is not None else {}
            self._append(f"{self.folder}/progress.jsonl", f"{json.dumps(line | more)}\n")

        while batch:
            count += len(batch)
            places = {job: f".cloudtrain/jobs/{job}" for job in batch}
            for place in places.values():
                if not self._is_done(place, run):
                    for key in [key for key in self._files if key.startswith(f"{place}/") and self._is_of_attempt(key, place)]:
                        del self._files[key]
                    self._files[f"{place}/machine.json"] = json.dumps({"group": self.job, "run": run}).encode()
            for job, place in places.items():
                report()
                if not self._is_done(place, run) and self._read(f"{place}/machine.json").get("run") == run:
                    self._fit(place, self._time(), functools.partial(report, job))
                done += 1
            report()
            batch = self._next_batch(run, batches + 1, keep_s)
            batches += 1
        times = {"started_at": began, "finished_at": self._time()}
        self._write_result({"state": "succeeded", "attempt": self.attempt, **times})

    def _next_batch(self, run: str, number: int, keep_s: float) -> list[str]:
        """Wait for the next jobs of a machine that is kept; return none where it is over."""
        ends_at = self._scheduler.now + keep_s
        while self._scheduler.now < ends_at:
            closed, batch = self._read(f"{self.folder}/close.json"), self._read(f"{self.folder}/batch-{number}.json")
            packed = self._files.get(f"{self.folder}/batch-{number}.zip", b"")
            if batch.get("run") == run and hashlib.sha256(packed).hexdigest() == batch.get("packed"):
                return list(batch["jobs"])
            if closed.get("run") == run and int(closed.get("batches") or 0) < number:
                return []
            self._scheduler.sleep(1.0)
        return []

    def _is_done(self, place: str, run: str) -> bool:
        return self._read(f"{place}/machine.json").get("run") == run and bool(self._read(f"{place}/result.json"))

    def _beat(self, machine: dict[str, Any]) -> None:
        number = 0
        while True:
            number += 1
            self._files[f"{self.folder}/heartbeat.json"] = json.dumps(
                {"attempt": self.attempt, "number": number, "stage": "job", "gpu_percent": 50.0}
            ).encode()
            if self._machine().get("attempt", self.attempt) != self.attempt:
                self._end_itself()
            self._scheduler.sleep(float(machine.get("heartbeat_every_s", 10.0)))

    def _watch(self) -> None:
        began, waited_s = self._time(), 0.0
        while waited_s < self.lifetime_s:
            pause_s = min(WATCHDOG_LOOKS_S, self.lifetime_s - waited_s)
            self._scheduler.sleep(pause_s)
            waited_s += pause_s
            machine = self._machine()
            if machine.get("attempt") == self.attempt:
                self.lifetime_s = min(self.lifetime_s, float(machine.get("lifetime_s") or self.lifetime_s))
        self._write_failure("timed out", "Timeout", "its pod's deadline has passed", began)
        self._end_itself()

    def _end_itself(self) -> None:
        headers = {"Authorization": f"Bearer {self.key}", "User-Agent": "simulated"}
        pauses = [*_ASK_AGAIN_S]
        while True:
            for method, path, body in (("POST", "/action", {"action": "terminate"}), ("DELETE", "", None)):
                with contextlib.suppress(requests.RequestException):  # It asks again.
                    self._account.call(self._process, method, f"http://simulated/v2/pods/{self.id}{path}", headers, body)
                self._scheduler.sleep(pauses[0])
            del pauses[: len(pauses) > 1]

    def _machine(self) -> dict[str, Any]:
        return self._read(f"{self.folder}/machine.json")

    def _read(self, key: str) -> dict[str, Any]:
        try:
            return dict(json.loads(self._files.get(key, b"{}")))
        except (ValueError, TypeError):
            return {}

    def _is_of_attempt(self, key: str, folder: str) -> bool:
        name = key.removeprefix(f"{folder}/")
        return name in ("result.json", "progress.jsonl", "log.txt") or name.startswith("outputs/")

    def _write_failure(self, state: str, kind: str, message: str, began: float) -> None:
        if f"{self.folder}/result.json" in self._files:
            return
        error = {"type": kind, "message": message, "traceback": "", "stage": "machine", "input_error": False}
        self._write_result({"state": state, "error": error, "attempt": self.attempt, "started_at": began, "finished_at": self._time()})

    def _write_result(self, result: dict[str, Any], folder: str | None = None) -> None:
        self._files[f"{folder or self.folder}/result.json"] = json.dumps(result).encode()

    def _append(self, key: str, text: str) -> None:
        self._files[key] = self._files.get(key, b"") + text.encode()

    def _time(self) -> float:
        return EPOCH_S + self._scheduler.now

    @property
    def _files(self) -> dict[str, bytes]:
        return self._account.bucket.files
