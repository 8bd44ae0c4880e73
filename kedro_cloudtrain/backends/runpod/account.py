"""The account's API key: where it is found, and a client that has it."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from pathlib import Path

from kedro_cloudtrain.backends.runpod.api import KEY_PLACES, RunPodApi
from kedro_cloudtrain.errors import AuthError, ConfigError

KEY_PAGE = "Keys are made at https://console.runpod.io/user/settings"


def find_api_key(home: Path | None = None) -> tuple[str, str]:
    """Give the account's key and where it was found: RUNPOD_API_KEY, else `~/.runpod/config.toml`.

    The file is the SDK's (`[default] api_key = "…"`) or runpodctl's (`apikey = "…"`).

    Raises:
        AuthError: there is none, or the file is broken.
    """
    key = os.environ.get("RUNPOD_API_KEY", "").strip()
    if key:
        return key, "RUNPOD_API_KEY"
    file = (home or Path.home()) / ".runpod/config.toml"
    try:
        said = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        said = {}
    except (OSError, ValueError) as error:
        raise AuthError(f"{file} cannot be read ({type(error).__name__}): write it anew, or set RUNPOD_API_KEY.") from None
    default = said.get("default")
    key = str((default.get("api_key") if isinstance(default, dict) else None) or said.get("apikey") or "").strip()
    if not key:
        raise AuthError(f"There is no RunPod API key. {KEY_PLACES} {KEY_PAGE}")
    return key, str(file)


def connect() -> RunPodApi:
    """Give a client with the key that is found.

    Raises:
        AuthError: there is none.
        ConfigError: requests is not installed.
    """
    if importlib.util.find_spec("requests") is None:
        raise ConfigError('The backend runpod needs requests and boto3: pip install "kedro-cloudtrain[runpod]"')
    return RunPodApi(find_api_key()[0])
