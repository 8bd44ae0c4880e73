"""The account's API key, and a client that uses it."""

from __future__ import annotations

import importlib.util
import os
import tomllib
from pathlib import Path

from kedro_cloudtrain.backends.runpod.api import RunPodApi
from kedro_cloudtrain.backends.runpod.refusals import KEY_PLACES
from kedro_cloudtrain.errors import AuthError, ConfigError
from kedro_cloudtrain.secrecy import fault_of_key, know


def find_api_key(home: Path | None = None) -> tuple[str, str]:
    """Return the account's key and its place: RUNPOD_API_KEY, else `~/.runpod/config.toml`.

    The file is the one that RunPod's SDK writes (`[default] api_key = "…"`) or that runpodctl writes (`apikey = "…"`).

    Raises:
        AuthError: no key is found, it cannot be a key, or the file cannot be read.
    """
    key = os.environ.get("RUNPOD_API_KEY", "").strip()
    if key:
        return _checked(key, "RUNPOD_API_KEY"), "RUNPOD_API_KEY"
    file = (home or Path.home()) / ".runpod/config.toml"
    try:
        config = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        config = {}
    except (OSError, ValueError) as error:
        raise AuthError(f"{file} cannot be read ({type(error).__name__}). Correct it, or set RUNPOD_API_KEY.") from None
    default = config.get("default")
    key = str((default.get("api_key") if isinstance(default, dict) else None) or config.get("apikey") or "").strip()
    if not key:
        raise AuthError(f"There is no RunPod API key. {KEY_PLACES} Create one at https://console.runpod.io/user/settings")
    return _checked(key, str(file)), str(file)


def _checked(key: str, place: str) -> str:
    know(key)
    fault = fault_of_key(key)
    if fault is not None:
        raise AuthError(f"The RunPod API key in {place} {fault}. Create one at https://console.runpod.io/user/settings")
    return key


def connect() -> RunPodApi:
    """Return a client with the account's key.

    Raises:
        AuthError: no key is found, or it cannot be a key.
        ConfigError: requests is not installed.
    """
    if importlib.util.find_spec("requests") is None:
        raise ConfigError('The backend runpod needs requests and boto3: pip install "kedro-cloudtrain[runpod]"')
    return RunPodApi(find_api_key()[0])
