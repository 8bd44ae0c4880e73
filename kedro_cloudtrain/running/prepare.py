"""From an order to a job: rendered, fingerprinted and named; nothing is written yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from kedro_cloudtrain.jobs.fingerprint import Fingerprint, code_digest, job_name
from kedro_cloudtrain.jobs.folder import JobFolder
from kedro_cloudtrain.jobs.sent import size_warnings
from kedro_cloudtrain.running.job import Job
from kedro_cloudtrain.storage.directory import DirectoryVolume
from kedro_cloudtrain.worker.protocol import JOBS

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from kedro_cloudtrain.jobs.scripts import TrainingScriptGenerator
    from kedro_cloudtrain.running.order import Inputs, Order
    from kedro_cloudtrain.storage.volumes import Volume


def prepare(order: Order, generator: TrainingScriptGenerator, to: Path | None = None, *, project_id: str = "") -> Job:
    """Render an order's job and name it.

    Args:
        order: what a node asks for.
        generator: knows the templates.
        to: the job's folder, to look at it; left out, its place on the volume.
        project_id: the id of the project that asks for it.

    Raises:
        CloudTrainError: before anything has run, when the job is not possible.
    """
    began = time.perf_counter()
    inputs = order.inputs()
    rendered = order.render(inputs, generator)
    code = order.code(inputs)
    identities, sizes = inputs.identities(order.volume)
    fingerprint = Fingerprint.of(rendered.script, identities, code_digest(code), order.cpu_requirements)
    name = job_name(order.node, fingerprint.digest)
    return Job(
        order,
        JobFolder(to if to is not None else order.volume.folder(f"{JOBS}/{name}")),
        name,
        spec={**rendered.spec, **_local_fields(order.volume, inputs)},
        script=rendered.script,
        sent=inputs.sent_files,
        fingerprint=fingerprint,
        secrets=inputs.secrets,
        workload=order.workload(sizes),
        render_s=time.perf_counter() - began,
        code=code.archive if code is not None else None,
        warnings=(
            *size_warnings(order.node, inputs.all_sent.items(), order.settings.upload_warn_mb),
            *(
                f"{order.node}: `{name}` holds {what}. What is behind it may change unseen, so the node's work is never reused"
                for name, what in inputs.references.items()
            ),
        ),
        project_id=project_id,
    )


def _local_fields(volume: Volume, inputs: Inputs) -> dict[str, Any]:
    """Return what a job's spec has of its place: the volume's path, where it is a directory, and the names of what is sent."""
    path = {"volume_path": str(volume.root.resolve())} if isinstance(volume, DirectoryVolume) else {}
    return {**path, "sent": sorted({sent.name for sent in inputs.sent_files})}
