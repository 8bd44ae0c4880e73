"""The settings of a run as a whole."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from kedro_cloudtrain.config.bounds import Seconds, Usd  # noqa: TC001  # pydantic reads them
from kedro_cloudtrain.config.notify import NotifySettings  # noqa: TC001  # pydantic needs it
from kedro_cloudtrain.settings_model import SettingsModel


class BudgetSettings(SettingsModel):
    """A budget that the clients of a team share: together they never spend more than it in a period.

    It is kept on the network volume (or in the bucket), so it is shared by all that use the volume and write the same name.

    Attributes:
        name: of letters, digits, `.`, `_` and `-`.
        max_cost_usd: the most that all clients together may spend in a period, in US dollars.
        per: the period, by UTC: a day, a week from Monday on, or a month of the calendar. A pod counts in the period that it began in.

    Example:
        ```yaml
        run:
          budget: {name: team, max_cost_usd: 200, per: week}
        ```
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$", examples=["team"])
    max_cost_usd: Usd = Field(examples=[200])
    per: Literal["day", "week", "month"] = "month"


class RunSettings(SettingsModel):
    """Settings of a run as a whole.

    Attributes:
        max_pods: how many jobs run at once; left out, one on this computer, which has all its cores, and eight on pods.
        max_cost_usd: the most that the run may cost, in US dollars.
        budget: the budget that this run shares with others, beside its own limit.
        cache: whether the results of finished jobs are reused; a node's own `cache: false` excludes that node.
        detach: whether the run ends as soon as the jobs that are ready have been started.
        on_failure: what becomes of the jobs that are running when a node fails: `finish` lets them finish and keeps their results,
            `cancel` ends them.
        report: whether the run writes its page when it is over, as `kedro cloudtrain report` does; its last line names the file.
        notify: who is told of the run, and of what.
        answer_timeout_s: how many seconds the volume, or RunPod's API, may give no answer until the run gives up what it waits for; a line
            of the log tells of a silence from its thirtieth second on.
    """

    max_pods: int | None = Field(None, ge=1)
    max_cost_usd: Usd | None = None
    budget: BudgetSettings | None = None
    cache: bool = True
    detach: bool = False
    on_failure: Literal["finish", "cancel"] = "finish"
    report: bool = False
    notify: NotifySettings | None = None
    answer_timeout_s: Seconds = 600.0
