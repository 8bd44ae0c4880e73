"""Pods without a client: whether RunPod now bills more for one than its node's limits allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.backends.runpod.budget import worst_usd
from kedro_cloudtrain.backends.runpod.spending import CENT_USD

if TYPE_CHECKING:
    import datetime as dt

    from kedro_cloudtrain.backends.runpod.contract import Pod
    from kedro_cloudtrain.jobs.machine import Machine


def over_limit(job: str, machine: Machine, pod: Pod, now: dt.datetime) -> str:
    """Return a sentence about a pod whose price has risen over its node's limits; empty for any other.

    Its client is gone and has looked at the price when the pod was created. Only the user can tell whether it may go on.

    Args:
        job: the job's name.
        machine: the job's machine, as its client has noted it with the limits.
        pod: the pod, as RunPod describes it.
        now: the time by the API's clock.
    """
    if pod.cost <= machine.usd_per_hour + CENT_USD:
        return ""
    price, limit = machine.max_price_per_hour_usd, machine.max_cost_usd
    age_s = pod.age_s(now) or 0.0
    runs_s = pod.runtime.uptime if pod.runtime is not None else 0.0
    most_usd = worst_usd(pod.cost, max(0.0, age_s - runs_s), machine.lifetime_s)
    if price is not None and pod.cost > price + CENT_USD:
        over = f"over max_price_per_hour_usd {price:g}"
    elif limit is not None and most_usd > limit + CENT_USD:
        so_far_usd = pod.cost * age_s / 3600
        over = f"at which it costs up to ${most_usd:.2f}, over max_cost_usd {limit:g}; so far ${so_far_usd:.2f}"
    else:
        return ""
    return (
        f"{job}: pod {pod.id} is billed at ${pod.cost:.2f}/h instead of ${machine.usd_per_hour:.2f}/h, {over}. It goes on, and is paid "
        f"for. To end it: kedro cloudtrain stop {job}"
    )
