"""Who is told of a run, of what, and that a receiver which is down costs the run nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from support.account import Account, use_settings
from support.kedro_project import Project, run
from support.waiting import wait_until

from kedro_cloudtrain.config import NotifySettings, make_settings
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.runs.notices import Notices
from kedro_cloudtrain.runs.record import MachineRecord, NodeRecord, RunRecord, RunState


class Receiver:
    """A web server that keeps what Apprise posts to it."""

    def __init__(self) -> None:
        self.notices: list[dict[str, Any]] = []
        self.status, self.delay_s = 200, 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                pass

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay_s)
                outer.notices.append(json.loads(content))
                self.send_response(outer.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"json://anna:geheim123@127.0.0.1:{self._http.server_port}/hook"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def titles(self) -> list[str]:
        return [notice["title"] for notice in self.notices]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def notices_to(receiver: Receiver, **settings: Any) -> Notices:
    return Notices(NotifySettings(credentials="phone", urls=[receiver.url], **settings))


def record(state: RunState = RunState.SUCCEEDED, **fields: Any) -> RunRecord:
    nodes = [
        NodeRecord(node="train", state="succeeded", scores={"rmse": 1.25}, machines=[MachineRecord(pod="p", cost_usd=0.5)]),
        NodeRecord(node="score", state="failed", error="ValueError: https://a:geheim456@example.org"),
    ]
    return RunRecord(
        **(
            {"id": "r1", "project": "shop-0a1b2c", "pipeline": "nightly", "by": "anna@laptop", "nodes": nodes}
            | {"finished_at": 90.0, "state": state}
            | fields
        )
    )


def test_a_notice_has_state_scores_dollars_and_the_place_of_the_page(receiver: Receiver, tmp_path: Any) -> None:
    notices_to(receiver).ended(record(max_cost_usd=5.0), tmp_path / "r1.html")
    (notice,) = receiver.notices
    assert notice["title"] == "shop, nightly: done"
    for part in ("train: rmse 1.25", "$0.50 of at most $5.00", "1:30 min", str(tmp_path / "r1.html"), "score: ValueError: https://***@"):
        assert part in notice["message"]
    assert "geheim" not in json.dumps(notice["message"])


@pytest.mark.parametrize(
    ("state", "events", "fields", "expected"),
    [
        (RunState.SUCCEEDED, ("finished",), {}, [("shop, nightly: done", "success")]),
        (RunState.FAILED, ("finished", "failed"), {}, [("shop, nightly: failed", "failure")]),
        (RunState.INTERRUPTED, ("failed",), {}, [("shop, nightly: interrupted", "warning")]),
        (RunState.DETACHED, ("finished",), {}, [("shop, nightly: detached", "info")]),
        # A pipeline that nobody has named is not named, and a rehearsal costs nothing.
        (RunState.SUCCEEDED, ("finished",), {"pipeline": "__default__"}, [("shop: done", "success")]),
        (RunState.FAILED, ("failed",), {"pipeline": "__default__", "rehearsed": True}, [("shop: failed, rehearsed", "failure")]),
        (RunState.SUCCEEDED, ("finished",), {"project": ""}, [("nightly: done", "success")]),
        (RunState.FAILED, ("finished",), {}, []),
        (RunState.SUCCEEDED, ("budget",), {}, []),
    ],
)
def test_people_are_told_of_what_they_ask_for(
    receiver: Receiver, state: RunState, events: tuple[str, ...], fields: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    notices_to(receiver, events=events).ended(record(state, **fields))
    assert [(notice["title"], notice["type"]) for notice in receiver.notices] == expected


def test_an_error_is_told_once_and_so_is_what_became_of_its_pod(receiver: Receiver) -> None:
    error = "score-0123456789ab failed in its call stage: FileNotFoundError: [Errno 2] No such file or directory: 'x.csv'"
    failed = NodeRecord(node="score", state="failed", error=error, machines=[MachineRecord(pod="p", cost_usd=0.5, ended="jobfailed")])
    notices_to(receiver).ended(record(RunState.FAILED, nodes=[failed], error=f"JobFailedError: {error}", rehearsed=True))
    (notice,) = receiver.notices
    assert notice["message"].count("FileNotFoundError") == 1
    assert "score: 1 pod ended, since its job failed" in notice["message"]
    assert "$0.50 of play money" in notice["message"]


@pytest.mark.parametrize(
    ("state", "title", "kind"),
    [
        ("succeeded", "shop: train-0a done", "success"),
        ("failed", "shop: train-0a failed", "failure"),
        ("gone", "shop: train-0a gone", "failure"),
        ("cancelled", "shop: train-0a cancelled", "warning"),
    ],
)
def test_a_job_that_was_left_is_told_of_by_its_project(receiver: Receiver, state: str, title: str, kind: str) -> None:
    notices_to(receiver).job_ended("shop-0a1b2c", "train-0a", state)
    assert [(notice["title"], notice["type"]) for notice in receiver.notices] == [(title, kind)]


def test_a_run_near_its_limit_and_a_job_without_a_machine_are_told_of_once(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kedro_cloudtrain.runs.notices._LOOKS_EVERY_S", 0.02)
    spent, waiting = [0.0], {"train": 1.0}
    notices = notices_to(receiver, waiting_s=60)
    notices.watch(record(max_cost_usd=1.0), lambda: spent[0], lambda: waiting)
    spent[0] = 0.79
    wait_until(lambda: threading.active_count() > 1)
    assert receiver.notices == []
    spent[0], waiting["train"] = 0.8, 61.0
    wait_until(lambda: len(receiver.notices) == 2)
    time.sleep(0.2)
    notices.ended(record())
    # Each is sent by a thread of its own.
    assert sorted(receiver.titles[:2]) == ["shop, nightly nears its limit", "shop, nightly waits for a machine"]
    assert receiver.titles[2:] == ["shop, nightly: done"]
    assert [notice["type"] for notice in receiver.notices] == ["warning", "warning", "success"]
    messages = sorted(notice["message"] for notice in receiver.notices[:2])
    assert messages[0] == "$0.80 of at most $1.00 are spent."
    assert "train has looked for a machine for 1:01 min" in messages[1]


def test_a_receiver_that_is_down_or_slow_is_a_line_of_the_log(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 500
    notices_to(receiver).ended(record())
    assert "the notice 'shop, nightly: done' did not arrive" in caplog.text
    monkeypatch.setattr("kedro_cloudtrain.runs.notices._SENT_WITHIN_S", 0.1)
    receiver.delay_s = 1.0
    began_at = time.monotonic()
    notices_to(receiver).ended(record())
    assert time.monotonic() - began_at < 1.0
    assert "the run does not wait for it" in caplog.text
    receiver.close()
    notices_to(receiver).ended(record())
    assert "geheim" not in caplog.text


@pytest.mark.parametrize(
    ("notify", "credentials", "message"),
    [
        ({"credentials": "phone"}, {}, "credentials.yml has no 'phone' with a `url` or with `urls`"),
        ({"credentials": "phone"}, {"phne": {"url": "json://a"}}, "Did you mean `phne`"),
        ({"credentials": "phone"}, {"phone": {"urls": []}}, "'phone' in credentials.yml has neither a `url` nor a list of `urls`."),
        ({"credentials": "phone"}, {"phone": "json://geheim123"}, "'phone' in credentials.yml has neither a `url` nor"),
        ({"url": "slack://geheim123"}, {}, "such a URL is a secret. Put it into credentials.yml"),
        ({"credentials": "phone", "events": ["done"]}, {"phone": {"url": "json://a"}}, "run.notify.events"),
        ({"credentials": "phone", "when": 1}, {"phone": {"url": "json://a"}}, "when"),
        ("slack", {}, "run.notify"),
    ],
)
def test_a_mistake_in_the_settings_is_named_without_the_secret(notify: Any, credentials: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="notify") as caught:
        make_settings({"run": {"notify": notify}}, credentials=credentials)
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_service_that_apprise_does_not_know_is_refused_before_the_run(project: Project) -> None:
    project.write("conf/base/cloudtrain.yml", "run: {notify: {credentials: phone}}\nvolume: ${globals:volume}\n")
    project.write("conf/local/credentials.yml", "phone: {url: 'pigeon://geheim123'}\n")
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert "URL 1 of 'phone' in credentials.yml (pigeon://…) is of no service that" in done.stdout + done.stderr
    assert "geheim" not in done.stdout + done.stderr
    assert project.jobs == []


@pytest.mark.measured
def test_a_run_and_the_wait_for_a_job_that_it_left_tell_of_themselves(slow: Project, receiver: Receiver) -> None:
    slow.write("conf/base/cloudtrain.yml", "run: {notify: {credentials: phone}}\nvolume: ${globals:volume}\n")
    slow.write("conf/local/credentials.yml", f"phone: {{urls: ['{receiver.url}']}}\n")
    run(slow, "--runner-params=detach=true")
    assert slow.kedro("cloudtrain", "wait", "train_mass").returncode == 0
    output = run(slow)
    assert receiver.titles[0] == "shop: detached"
    assert receiver.titles[1].startswith("shop: train_mass-")
    assert receiver.titles[1].endswith(" done")
    assert receiver.titles[2] == "shop: done"
    assert "train_mass: rmse 2.5" in receiver.notices[2]["message"]
    held = "".join(file.read_text(errors="replace") for file in slow.path.rglob("*") if file.is_file() and file.name != "credentials.yml")
    assert "geheim123" not in held + output


@pytest.mark.measured
def test_on_pods_the_limit_is_told_of_while_the_run_goes_on(account: Account, receiver: Receiver) -> None:
    use_settings(
        account.project,
        "defaults: {gpu: NVIDIA L4, timeout_s: 7200}\nrun: {max_cost_usd: 5, notify: {credentials: phone, events: [finished]}}",
    )
    account.project.write("conf/base/credentials.yml", f"phone: {{url: '{receiver.url}'}}\n")
    done = account.project.kedro("run", "--runner=cloudtrain", "--env=runpod", **account.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of at most $5.00" in receiver.notices[0]["message"]
