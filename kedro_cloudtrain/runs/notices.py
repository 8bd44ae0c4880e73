"""Notices of a run: what is sent to people, by Apprise, when it ends, nears its limit, or waits for a machine."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.rehearsed import OF_PLAY_MONEY
from kedro_cloudtrain.runs.record import RunState
from kedro_cloudtrain.runs.scores import main_score
from kedro_cloudtrain.runs.words import ends, money_text, project_name, state_text, title_of
from kedro_cloudtrain.secrecy import redacted
from kedro_cloudtrain.terminal import plain_text
from kedro_cloudtrain.wording import duration, score_text, usd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kedro_cloudtrain.config import NotifySettings
    from kedro_cloudtrain.config.notify import Event
    from kedro_cloudtrain.runs.record import RunRecord

# Apprise's own words.
Type = Literal["info", "success", "warning", "failure"]

logger = logging.getLogger("kedro.cloudtrain")

# At this part of its limit a run is told of.
_NEAR_LIMIT = 0.8
_LOOKS_EVERY_S = 2.0
# A receiver that does not answer does not keep a run from its end.
_SENT_WITHIN_S = 10.0
_SENT_SOON_S = 1.0
_MOST_SCORES = 12
# Apprise's type for each state: it decides a notice's colour, icon or priority.
_TYPES: dict[RunState, Type] = {
    RunState.SUCCEEDED: "success",
    RunState.DETACHED: "info",
    RunState.INTERRUPTED: "warning",
    RunState.FAILED: "failure",
}


class Notices:
    """Sends people word of one run. A receiver that is down never fails the run, and costs it seconds at the most.

    Args:
        settings: who is told, and of what.

    Raises:
        ConfigError: Apprise is not installed, or it does not know a URL's service.
    """

    def __init__(self, settings: NotifySettings) -> None:
        try:
            import apprise  # noqa: PLC0415  # an extra
        except ImportError:
            raise ConfigError('`run.notify` needs Apprise: pip install "kedro-cloudtrain[notify]"') from None
        # It logs the URLs that it refuses, and what our own lines say.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self._settings = settings
        self._receivers: Any = apprise.Apprise()
        for number, url in enumerate(settings.urls, 1):
            if not self._receivers.add(url.get_secret_value()):
                scheme = url.get_secret_value().partition("://")[0]
                raise ConfigError(
                    f"`run.notify`: URL {number} of {settings.credentials!r} in credentials.yml ({scheme}://…) is of no service that "
                    "Apprise knows, or lacks a part. They are listed at https://appriseit.com/services"
                )
        self._notices_sent: set[tuple[str, str]] = set()
        self._over = threading.Event()

    def watch(self, record: RunRecord, spent_usd: Callable[[], float], waiting_s: Callable[[], Mapping[str, float]]) -> None:
        """Look at a run while it goes on, in a thread of its own.

        Args:
            record: the run's.
            spent_usd: returns what it has cost so far, in dollars.
            waiting_s: returns for how many seconds each of its jobs that has no machine has been looking for one, by node.
        """
        threading.Thread(target=self._watch, args=(record, spent_usd, waiting_s), name="cloudtrain-notices", daemon=True).start()

    def ended(self, record: RunRecord, page: Path | None = None, *, soon: bool = False) -> None:
        """Send word of a run that is over.

        Args:
            record: the run's.
            page: its page, if it has written one.
            soon: whether the process is to end soon.
        """
        self._over.set()
        event: Event = "finished" if record.state in (RunState.SUCCEEDED, RunState.DETACHED) else "failed"
        kind, wait_s = _TYPES.get(record.state, "failure"), _SENT_SOON_S if soon else _SENT_WITHIN_S
        self._send(event, "", f"{title_of(record)}: {state_text(record)}", _summary(record, page), kind, wait_s)

    def job_ended(self, project_id: str, job: str, state: str, error: str = "") -> None:
        """Send word of a job that a run had left running.

        Args:
            project_id: the project's id.
            job: the job's name.
            state: how it has ended.
            error: why it failed.
        """
        title = f"{project_name(project_id)}: {job}"
        if state == "succeeded":
            self._send("finished", job, f"{title} done", "The same kedro run again takes its results.", "success", _SENT_WITHIN_S)
            return
        text = error or f"What it wrote: kedro cloudtrain logs {job}"
        self._send("failed", job, f"{title} {state}", text, "warning" if state == "cancelled" else "failure", _SENT_WITHIN_S)

    def _watch(self, record: RunRecord, spent_usd: Callable[[], float], waiting_s: Callable[[], Mapping[str, float]]) -> None:
        limit = record.max_cost_usd
        while not self._over.wait(_LOOKS_EVERY_S):
            spent = spent_usd()
            if limit is not None and spent >= _NEAR_LIMIT * limit:
                text = f"{usd(spent)} of at most {money_text(record, limit)} are spent."
                self._send("budget", "", f"{title_of(record)} nears its limit", text, "warning", 0.0)
            for node, seconds in waiting_s().items():
                if seconds >= self._settings.waiting_s:
                    text = f"{node} has looked for a machine for {duration(seconds)}. Name more kinds in `gpu` to find one sooner."
                    self._send("waiting", node, f"{title_of(record)} waits for a machine", text, "warning", 0.0)

    def _send(self, event: Event, about: str, title: str, body: str, kind: Type, wait_s: float) -> None:
        """Send a notice in a thread of its own, each only once, and wait for it for some seconds."""
        if event not in self._settings.events or (event, about) in self._notices_sent:
            return
        self._notices_sent.add((event, about))

        def send() -> None:
            try:
                arrived = self._receivers.notify(title=plain_text(redacted(title)), body=plain_text(redacted(body)), notify_type=kind)
            except Exception as error:  # noqa: BLE001  # whatever a service's own code raises
                arrived, reason = False, type(error).__name__
            else:
                reason = "the service has refused it or did not answer"
            if not arrived:
                logger.warning("`run.notify`: the notice %r did not arrive: %s", title, reason, extra={"markup": False})

        thread = threading.Thread(target=send, name="cloudtrain-notice", daemon=True)
        began_at = time.monotonic()
        thread.start()
        thread.join(wait_s)
        if wait_s and thread.is_alive():
            logger.warning(
                "`run.notify`: the notice %r has not arrived after %.0f s; the run does not wait for it",
                title,
                time.monotonic() - began_at,
                extra={"markup": False},
            )


def _summary(record: RunRecord, page: Path | None) -> str:
    """Return a run in a few lines: what failed, scores, time, dollars, where to look."""
    failed = [node for node in record.nodes if node.state not in ("succeeded", "reused", "waiting", "running")]
    # The run's own error is most often that of a node.
    own = record.error and not any(node.error and (node.error in record.error or record.error in node.error) for node in failed)
    lines = [record.error] if own else []
    for node in failed:
        lines += [f"{node.node}: {node.error or node.state}", *(f"{node.node}: {end}" for end in ends(node))]
    scored = [(node.node, score) for node in record.nodes if (score := main_score(node.scores)) is not None]
    lines += [f"{node}: {name} {score_text(value)}" for node, (name, value) in scored[:_MOST_SCORES]]
    if len(scored) > _MOST_SCORES:
        lines.append(f"… and {len(scored) - _MOST_SCORES} more scores")
    limit = "" if record.max_cost_usd is None else f" of at most {usd(record.max_cost_usd)}"
    money = "" if record.cost_usd is None else f", {usd(record.cost_usd)}{limit}{OF_PLAY_MONEY if record.rehearsed else ''}"
    lines.append(f"{duration(record.seconds)}{money}, by {record.by}")
    lines.append(f"Page: {page}" if page is not None else f"To see it: kedro cloudtrain report {record.id}")
    return "\n".join(dict.fromkeys(lines))
