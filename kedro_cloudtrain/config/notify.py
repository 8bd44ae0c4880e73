"""The settings for notices: which events of a run are sent, and to which services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SecretStr

from kedro_cloudtrain.config.bounds import Seconds  # noqa: TC001  # pydantic reads it
from kedro_cloudtrain.config.files import place_of
from kedro_cloudtrain.errors import ConfigError
from kedro_cloudtrain.secrecy import know, shown
from kedro_cloudtrain.settings_model import SettingsModel
from kedro_cloudtrain.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Event = Literal["finished", "failed", "budget", "waiting"]
_PLACE = ("run", "notify", "credentials")


class NotifySettings(SettingsModel):
    """Which events of a run are sent, and to which services.

    Attributes:
        credentials: the entry of credentials.yml with the `url` of the service, or with several `urls`, as Apprise writes them:
            `slack://…`, `mailto://…`, `ntfy://…`.
        events: `finished`, or left running; `failed`, or interrupted; `budget`, at 80 % of `run.max_cost_usd`; `waiting`, for a
            machine.
        waiting_s: after how many seconds without a machine a job counts as waiting.
        urls: the services, once the entry has been read.

    Example:
        ```yaml
        run:
          notify: {credentials: my_phone, events: [finished, failed], waiting_s: 900}
        ```
    """

    credentials: str = Field(min_length=1, examples=["my_phone"])
    events: tuple[Event, ...] = ("finished", "failed", "budget", "waiting")
    waiting_s: Seconds = 600.0
    urls: tuple[SecretStr, ...] = Field((), exclude=True, repr=False)


def with_urls(notify: Any, credentials: Mapping[str, Any], files: Sequence[Path]) -> Any:
    """Return the content of `run.notify` with the URLs that its credentials have.

    Args:
        notify: what stands in `cloudtrain.yml`.
        credentials: the content of credentials.yml.
        files: the files that the settings come from.

    Raises:
        ConfigError: there are no such credentials, or they have no URL; or a URL stands in `cloudtrain.yml`.
    """
    if not isinstance(notify, dict):
        return notify
    if "urls" in notify or "url" in notify:
        place = place_of(_PLACE[:2], files)
        raise ConfigError(f"{place}`run.notify`: such a URL is a secret. Put it into credentials.yml, and name its entry in `credentials`.")
    name = notify.get("credentials")
    if not isinstance(name, str):
        return notify
    entry = credentials.get(name)
    urls = entry.get("urls", entry.get("url")) if isinstance(entry, Mapping) else None
    urls = [urls] if isinstance(urls, str) else urls
    if not isinstance(urls, list | tuple) or not urls or not all(isinstance(url, str) and url for url in urls):
        if name in credentials:
            reason = f"{shown(name)} in credentials.yml has neither a `url` nor a list of `urls`."
        else:
            reason = f"credentials.yml has no {shown(name)} with a `url` or with `urls`.{did_you_mean(name, credentials)}"
        raise ConfigError(f"{place_of(_PLACE, files)}`run.notify.credentials`: {reason}")
    know(*urls)
    return {**notify, "urls": list(urls)}
