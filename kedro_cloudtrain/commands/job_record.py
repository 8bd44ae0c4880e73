"""A job, and a pod without one, as `kedro cloudtrain jobs --json` has them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from kedro_cloudtrain.jobs.spec import model_type_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kedro_cloudtrain.backends.runpod.fleet import JobPod
    from kedro_cloudtrain.jobs.folder import JobFolder


def job_record(
    folder: JobFolder, pod: JobPod | None = None, billed_usd: float | None = None, cost_usd: float | None = None
) -> dict[str, Any]:
    """Return a job as plain JSON; times in seconds, sizes in bytes, money in dollars.

    Args:
        folder: the job's.
        pod: what works on it now.
        billed_usd: what its pod has cost by RunPod's bill.
        cost_usd: what its pods have cost by their prices and times, as this computer's runs have it.
    """
    result, progress = folder.last_result(), folder.last_progress()
    spec = folder.read_json(folder.spec) or {}
    why = folder.read_json(folder.why) or {}
    error = result.error if result is not None else None
    return {
        "name": folder.name,
        "node": spec.get("name"),
        "state": str(folder.state()),
        "model_type": model_type_of(spec),
        "function": spec.get("function"),
        "predicts_by": spec.get("predicts_by"),
        "rendered_at": _moment(folder.spec.stat().st_mtime),
        "started_at": _moment(result.started_at) if result is not None else None,
        "finished_at": _moment(result.finished_at) if result is not None else None,
        "seconds": dict(result.seconds) if result is not None else {},
        "rows": dict(result.rows) if result is not None else {},
        "rows_per_s": result.rows_per_s if result is not None else None,
        "bytes_read": result.bytes_read if result is not None else None,
        "device": result.device_name or result.device if result is not None else None,
        "gpu": result.gpu.model_dump(mode="json") if result is not None and result.gpu is not None else None,
        "progress": progress.model_dump(mode="json", exclude={"job", "member"}) if progress is not None else None,
        "error": None if error is None else {"type": error.type, "message": error.message, "stage": error.stage},
        "why": {"state": why["state"], "reason": why["why"]} if {"state", "why"} <= set(why) else None,
        "pod": None if pod is None else pod_record(pod),
        "billed_usd": billed_usd,
        "cost_usd": cost_usd,
        "folder": str(folder.path),
    }


def pod_record(pod: JobPod) -> Mapping[str, Any]:
    """Return a pod as plain JSON; its age in seconds, its cost in dollars."""
    return {
        "id": pod.pod.id,
        "name": pod.pod.name,
        "state": pod.state,
        "machine": pod.pod.gpu.id if pod.pod.gpu is not None else "CPU",
        "age_s": round(pod.age_s, 1),
        "usd_per_hour": pod.pod.cost,
        "cost_usd": round(pod.cost_usd, 4),
    }


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, tz=dt.UTC).isoformat()
