"""What RunPod's API means by a refusal, and what a user does about it."""

from __future__ import annotations

from http import HTTPStatus

from kedro_cloudtrain.errors import ApiError, AuthError, BackendError, BalanceError, CapacityError

STATUS_PAGE = "RunPod's status page: https://uptime.runpod.io"
KEY_PLACES = "Set it as RUNPOD_API_KEY, or in ~/.runpod/config.toml."
# Both a lack of machines and a broken rule are a 400; the text alone distinguishes them, and has been each of these (reported).
_NO_CAPACITY = (
    "no longer any instances available",
    "resources to deploy your pod",
    "insufficient capacity",
    "no available machine",
    "out of stock",
)
_NEXT_STEPS = {
    HTTPStatus.BAD_REQUEST: "Check gpu, gpu_count, image, disk_gb and the volume of the node: kedro cloudtrain plan, and doctor.",
    HTTPStatus.FORBIDDEN: "The key, or the account, may not do this. Create a key that may read and write: https://console.runpod.io/user/settings",
    HTTPStatus.NOT_FOUND: "It does not exist in this account. Is RUNPOD_API_KEY the one of the account that has the volume?",
    HTTPStatus.CONFLICT: "It is between two states: try again in a minute.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The credentials of its URLs take up too much of the request: read fewer of them in one node.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "RunPod's API does not know a field of this release: pip install -U kedro-cloudtrain",
    HTTPStatus.TOO_MANY_REQUESTS: "Wait a minute, or lower run.max_pods.",
}


def lacks_capacity(detail: str) -> bool:
    """Return whether RunPod's words mean that no machine of the kind is free."""
    return any(words in detail.lower() for words in _NO_CAPACITY)


def refusal(status: int, detail: str, call: str, *, tries: int = 1) -> BackendError:
    """Return the error that a refusal is: the key, the balance, a lack of machines, or any other, with its next step.

    Args:
        status: the HTTP status, 400 to 499.
        detail: RunPod's own words.
        call: the method and the path.
        tries: how many times the call was sent.
    """
    match status:
        case HTTPStatus.UNAUTHORIZED:
            return AuthError(
                f"RunPod does not accept the API key ({detail}). Create one at https://console.runpod.io/user/settings. {KEY_PLACES}"
            )
        case HTTPStatus.PAYMENT_REQUIRED:
            return BalanceError(f"The RunPod account has no balance ({detail}). Add funds: https://console.runpod.io/user/billing")
    if call.startswith("POST ") and lacks_capacity(detail):
        return CapacityError(detail)
    times = f", {tries} times" if tries > 1 else ""
    reason = (detail or "no reason given").rstrip(".")
    next_step = next((step for code, step in _NEXT_STEPS.items() if code == status), STATUS_PAGE)
    return ApiError(f"RunPod's API answered {status} to {call}{times}: {reason}. {next_step}", status, detail)
