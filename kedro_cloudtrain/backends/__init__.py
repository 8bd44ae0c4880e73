"""Where jobs run: the seam in `backend.py`, processes on this computer in `local.py`, pods in `runpod/`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro_cloudtrain.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_cloudtrain.backends.backend import KeptJob, MachineBackend
    from kedro_cloudtrain.config import Settings
    from kedro_cloudtrain.jobs.folder import JobFolder
    from kedro_cloudtrain.storage.volumes import Volume


def make_backend(settings: Settings, project: Path, jobs: int = 1) -> MachineBackend:
    """Return the backend that the settings name.

    Args:
        settings: `cloudtrain.yml`.
        project: the project's folder.
        jobs: how many jobs run at once.

    Raises:
        BackendError: it is not available, for example without an API key.
        ConfigError: it has no volume to work with.
    """
    # Only the one that is used is imported.
    if settings.backend == "local":
        from kedro_cloudtrain.backends.local import LocalBackend  # noqa: PLC0415

        return LocalBackend(jobs)
    from kedro_cloudtrain.backends.runpod.account import connect  # noqa: PLC0415
    from kedro_cloudtrain.backends.runpod.backend import RunPodBackend  # noqa: PLC0415
    from kedro_cloudtrain.backends.runpod.budget import budget_of  # noqa: PLC0415
    from kedro_cloudtrain.backends.runpod.pace import Pace  # noqa: PLC0415
    from kedro_cloudtrain.jobs.owner import project_id  # noqa: PLC0415
    from kedro_cloudtrain.storage.s3 import S3Store  # noqa: PLC0415

    volume = settings.volume.make(project)
    if not isinstance(volume, S3Store):
        raise ConfigError(
            "backend runpod needs a network volume: volume: {id: …, data_center: …} in cloudtrain.yml. This one is " + volume.name
        )
    api = connect()
    pace = Pace(volume_silent_s=settings.run.answer_timeout_s)
    return RunPodBackend(api, volume, project_id(project), budget_of(settings.run, volume, api), jobs, pace)


def kept_job(folder: JobFolder, volume: Volume) -> KeptJob:
    """Return what an earlier client has left of a job, without a backend: no account is asked before it has to be.

    Args:
        folder: the job's folder on this computer.
        volume: holds the job.
    """
    from kedro_cloudtrain.storage.s3 import S3Store  # noqa: PLC0415

    if isinstance(volume, S3Store) and folder.read_machine().backend != "local":
        from kedro_cloudtrain.backends.runpod.account import connect  # noqa: PLC0415
        from kedro_cloudtrain.backends.runpod.bucket_folder import remote_folder  # noqa: PLC0415
        from kedro_cloudtrain.backends.runpod.kept import KeptPodJob  # noqa: PLC0415

        return KeptPodJob(remote_folder(folder, volume), connect)
    from kedro_cloudtrain.backends.kept_process import KeptProcess  # noqa: PLC0415

    return KeptProcess(folder)
