"""RunPod's API without a network: the stand-in's own answers, at the world's time, with faults that a seed decides."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import requests

from kedro_cloudtrain.rehearsal import schemas
from kedro_cloudtrain.rehearsal.answers import Handler
from kedro_cloudtrain.rehearsal.calls import API_KEY, RefusalError
from kedro_cloudtrain.rehearsal.faults import NO_CAPACITY, CallFault, Faults
from kedro_cloudtrain.rehearsal.offers import Offers
from kedro_cloudtrain.rehearsal.quota import Quota
from kedro_cloudtrain.rehearsal.server import RunPodStandIn
from simulation.pods import SimulatedPod
from simulation.shims import EPOCH_S

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

    from simulation.scheduler import Process, Scheduler
    from simulation.volume import Bucket

VOLUME = "vol0sim1abc"
DATA_CENTER = "EU-RO-1"
_ANSWER_S = (0.02, 0.4)
_READ_TIMEOUT_S = 60.0


class SimulatedAccount(RunPodStandIn):
    """An account whose pods are tasks.

    Attributes:
        on_call: is called after each call was carried out.
        caller: the process whose call is being answered.
        listed_after_s: how long a new pod is in no list.
        trained: the jobs whose work pods have done, each time.
    """

    def __init__(self, scheduler: Scheduler, chance: random.Random, bucket: Bucket, root: Path) -> None:
        super().__init__(root, {}, isolated=False)
        self.scheduler = scheduler
        self.chance = chance
        self.bucket = bucket
        self.quota = Quota(None)
        self.offers = Offers()
        self.offers.add_volume(VOLUME, DATA_CENTER)
        self.faults = SeededFaults(chance)
        self.caller: Process | None = None
        self.listed_after_s = 0.0
        self.on_call: list[Callable[[], object]] = []
        self.trained: list[str] = []

    def create(self, body: Any) -> Any:
        """Create a pod from a request's body, as the stand-in does."""
        from kedro_cloudtrain.rehearsal.server import _parse

        request = _parse(body, schemas.NewerCreatePodRequest)
        self._check_place(request)
        machine = self.offers.gpu(request.gpu.id) if request.gpu is not None else None
        cpu = self.offers.cpu(request.cpu.id) if request.cpu is not None else None
        price = machine.price.secure * request.gpu.count if machine is not None and request.gpu is not None else 0.0
        if cpu is not None and request.cpu is not None:
            price = cpu.price.secure_per_vcpu * request.cpu.vcpu_count
        times_dearer = self.faults.draw_price()
        pod = SimulatedPod(self, self.caller, request, price * times_dearer, self.faults.draw_pod_fault())
        pod.dear = times_dearer > 1
        if pod.dear and self.faults.draw_late_price():
            pod.offered_usd, pod.dear_from = price, self.scheduler.now + self.chance.uniform(1.0, 60.0)
        self.pods[pod.id] = pod  # type: ignore[assignment]
        pod.start()
        return pod

    def view(self, pod: Any) -> schemas.Pod:
        """Return a pod as the API shows it: at its offer's price, or without one, until it is billed at another."""
        answer = super().view(pod)
        if self.scheduler.now < pod.dear_from and not pod.gone:
            answer.cost = pod.offered_usd if pod.shows_offer else 0.0
        return answer

    def _create_late(self, process: Process, body: Any) -> None:
        self.caller = process
        with contextlib.suppress(RefusalError):
            self.create(body)

    @property
    def now(self) -> dt.datetime:
        """The time by RunPod's clock."""
        return dt.datetime.fromtimestamp(EPOCH_S + self.scheduler.now, dt.UTC)

    def call(self, process: Process, method: str, url: str, headers: dict[str, str], body: Any) -> requests.Response:
        """Answer a call, or fail as a network does."""
        self.scheduler.sleep(self.chance.uniform(*_ANSWER_S))
        self.caller = process
        answered = _Answered(self, method, url, headers, body)
        if self.faults.late_s is not None:
            self.scheduler.at(self.scheduler.now + self.faults.late_s, lambda: self._create_late(process, body))
            self.faults.late_s = None
        for look in self.on_call:
            look()
        if answered.status is None:
            if self.chance.random() < 0.3:  # some answers never come, others break off
                self.scheduler.sleep(_READ_TIMEOUT_S)
                raise requests.ReadTimeout
            raise requests.ConnectionError
        self.scheduler.sleep(self.chance.uniform(*_ANSWER_S))
        response = requests.Response()
        response.status_code = answered.status
        response.headers.update({**answered.fields, "Date": email.utils.format_datetime(self.now, usegmt=True)})
        response._content = answered.content
        response._content_consumed = True  # type: ignore[attr-defined]  # requests' own mark of an answer that is read
        return response


class Session:
    """What the client's API has in place of a session of requests."""

    def __init__(self, account: SimulatedAccount, process: Process, key: str = API_KEY) -> None:
        self._account = account
        self._process = process
        self._key = key

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        query = urlencode(options.get("params") or {})
        headers = {"Authorization": f"Bearer {self._key}", "User-Agent": "simulated"}
        return self._account.call(self._process, method, f"{url}?{query}", headers, options.get("json"))


class _Answered(Handler):
    """The stand-in's handler of one call, without a socket."""

    def __init__(self, account: SimulatedAccount, method: str, url: str, headers: dict[str, str], body: Any) -> None:
        self.server = type("Server", (), {"stand_in": account})()  # type: ignore[assignment]
        self.command = method
        split = urlsplit(url)
        self.path = f"{split.path}?{split.query}"
        content = b"" if body is None else json.dumps(body).encode()
        self.headers = {**headers, "Content-Length": str(len(content))}  # type: ignore[assignment]
        self.rfile = io.BytesIO(content)
        self.status: int | None = None
        self.content = b""
        self.fields: dict[str, str] = {}
        self.do_GET()

    def _answer_account(self) -> None:
        account = self.server.stand_in
        if not isinstance(account, SimulatedAccount) or (self.command, self.call.path) != ("GET", "/v2/pods"):
            return super()._answer_account()
        listed = [pod for pod in account.living if account.scheduler.now - pod.born >= account.listed_after_s]  # type: ignore[attr-defined]
        return self.send_json(200, schemas.ListPodsResponse(pods=[account.view(pod) for pod in listed]).json_object())

    def _answer_nobody(self, pod_id: str | None) -> None:
        with contextlib.suppress(RefusalError):  # Nobody hears of that either.
            self._answer(pod_id)
        self.status = None

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.status, self.content = status, content
        self.fields = {**self.quota_headers, "Content-Type": kind}


class SeededFaults(Faults):
    """Faults that a seed decides, until they are over.

    Attributes:
        rate: how many of a hundred calls fail; 0 once the faults are over.
        pod_rate: how many of a hundred pods have a fault.
        all_hang: whether no pod ends its job before its deadline.
        late_s: when the call that is being answered is carried out, in seconds from then on; None if it is at once, or never.
        outage_until: until when no call is answered.
        outages_s: how long all outages have lasted.
        drawn: how many faults of each kind there were.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.rate = self.pod_rate = 0.0
        self.all_hang = False
        self.late_s: float | None = None
        self.outage_until = 0.0
        self.outages_s = 0.0
        self.now: Callable[[], float] = lambda: 0.0
        self.drawn: dict[str, int] = {}

    def take_call_fault(self, method: str, path: str, gpu: str | None = None) -> CallFault | None:
        """Draw the fault of a call; None if it has none."""
        call = f"{method} {path}"
        if self.now() < self.outage_until:
            return self._counted("an outage", CallFault(call, 503))
        if self._chance.random() * 100 >= self.rate:
            return None
        kinds = ["lost answer", "lost answer", "lost call", "500", "502", "429", "500 though it worked"]
        kinds += ["no capacity", "403", "no capacity", "other words"] if method == "POST" and path == "/v2/pods" else []
        kinds += ["an outage, with an answer lost"] * 3 + ["carried out late"] * 2 if method == "POST" and path == "/v2/pods" else []
        kinds += ["409"] if method == "DELETE" else []
        kind = self._chance.choice(kinds)
        if kind == "carried out late":
            self.late_s = self._chance.uniform(1.0, 100.0)
        if kind == "an outage, with an answer lost":
            self.outage_until = self.now() + (length_s := self._chance.uniform(30.0, 400.0))
            self.outages_s += length_s
        fault = {
            "lost answer": CallFault(call, None, worked=True),
            "an outage, with an answer lost": CallFault(call, None, worked=True),
            "carried out late": CallFault(call, 502),
            "lost call": CallFault(call, None),
            "500": CallFault(call, 500),
            "502": CallFault(call, 502, "<html>bad gateway</html>"),
            "429": CallFault(call, 429, headers={"Retry-After": "2"}),
            "500 though it worked": CallFault(call, 500, worked=True),
            "no capacity": CallFault(call, 400, NO_CAPACITY),
            "other words": CallFault(call, 400, "Insufficient capacity"),
            "403": CallFault(call, 403, "not for this account"),
            "409": CallFault(call, 409, "between two states"),
        }[kind]
        return self._counted(f"API: {kind}", fault)

    def draw_pod_fault(self) -> str | None:
        """Draw the fault of a pod; None if it has none."""
        if self.all_hang:
            return str(self._counted("pod: hangs", "hangs"))
        if self._chance.random() * 100 >= self.pod_rate:
            return None
        kinds = (
            "never starts",
            "loops",
            "vanishes",
            "cannot end",
            "errors",
            "no cuda",
            "slow",
            "killed",
            "fails to write",
            "hangs",
            "hangs",
        )
        return self._counted(f"pod: {(kind := self._chance.choice(kinds))}", kind)

    def draw_price(self) -> float:
        """Draw by what a pod is dearer than its offer."""
        if self._chance.random() * 100 >= max(self.pod_rate / 2, 40.0 * self.all_hang):
            return 1.0
        return float(self._counted("pod: dear", self._chance.choice((1.5, 10.0))))

    def draw_late_price(self) -> bool:
        """Draw whether a pod is dearer than its offer only a while after its creation."""
        return self._chance.random() < 0.4 and bool(self._counted("pod: dear later", True))

    def _counted(self, kind: str, fault: Any) -> Any:
        self.drawn[kind] = self.drawn.get(kind, 0) + 1
        return fault
