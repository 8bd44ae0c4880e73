"""The settings of a node: its machine, its limits, what is installed."""

from __future__ import annotations

import re
from typing import Literal, Self

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import Field, field_validator, model_validator

from kedro_cloudtrain.config.bounds import Gigabytes, Megabytes, Pause, Seconds, Usd, Wait  # noqa: TC001  # pydantic reads them
from kedro_cloudtrain.secrecy import sealed, shown
from kedro_cloudtrain.settings_model import SettingsModel

# RunPod's own, which its hosts have cached (its docs, "Pods: official templates"), so that a pod starts without a pull. Both are built from
# the same files (github.com/runpod/containers, official-templates): Python 3.9 to 3.13, uv, and the libgomp that LightGBM's wheel lacks and
# python:3.12-slim as well. The one for CPU pods has no CUDA.
GPU_IMAGE = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
CPU_IMAGE = "runpod/base:1.0.2-ubuntu2404"


class NodeSettings(SettingsModel):
    """Settings of one node, or, below `defaults`, of every node.

    All but `timeout_s`, `cache`, `gpu_count`, `machines`, `upload_warn_mb`, `group`, `keep_s` and the checkpoints matter to pods alone.

    Attributes:
        timeout_s: the job's deadline, in seconds from its start.
        cache: whether the result of the same work is reused; false for a function that reads more than its inputs: a database, the clock.
        gpu: GPU types in order of preference, by the names of `kedro cloudtrain gpus`; `auto` takes the cheapest that is large enough;
            `none` takes a CPU pod.
        gpu_count: the number of GPUs, which share a training's fit; on this computer, if it has as many.
        machines: how many machines share the node's work, in a Dask cluster: processes on this computer, pods of one cluster on RunPod.
        vcpu_count: the number of vCPUs of a CPU pod, a power of two; left out, four, or more where the table needs their memory.
        min_ram_gb: the least memory of the host, in gigabytes; left out, what the table is expected to take.
        min_vcpu: the least number of vCPUs.
        image: the container's image; left out, one of RunPod's own: with CUDA for a GPU, without for a CPU pod.
        min_cuda_version: the lowest CUDA version of the host's driver; left out, 12.8, or what the packages need.
        disk_gb: the size of the container's own disk, in gigabytes.
        requirements: packages to install, as pip writes them: for a training in addition to what its recipe needs; for a function of yours
            instead of what the project's pyproject.toml or requirements.txt asks for.
        index_url: the package index to install from, instead of PyPI, for example `https://packages.example.org/simple`.
        extra_index_url: more package indexes, which are asked first.
        credentials: the entry of credentials.yml with the `username` and the `password` of these indexes, or with a `token` alone; no file
            of a job has them, and a pod has them in its environment.
        install: whether anything is installed; false if the image has all of it.
        max_cost_usd: the most that the node may cost, in US dollars, all its pods together.
        max_price_per_hour_usd: the highest price of a machine, in US dollars per hour.
        startup_timeout_s: after how many seconds a pod that has not started is given up for another.
        retries: how many more pods are tried after one was lost.
        wait_for_capacity_s: how many seconds to wait for a machine when none is free.
        upload_warn_mb: the size in megabytes above which an input that exists in the client's process alone is sent with a warning.
        group: nodes of the same group that are ready at the same time share a machine and run on it one after another; `timeout_s` and
            `max_cost_usd` are then for all of them together.
        keep_s: for how many seconds a machine whose jobs are done waits for the run's next job, before it ends; with `group` for a job of
            the group, else for one of any node with the same settings for its machine.
        prepare: whether a CPU pod makes the environment of a pod with a GPU before that is paid for, where the volume does not have it.
        checkpoint_every_s: how many seconds apart a fit, or a function that uses `Checkpoint`, saves a state to resume from.
        checkpoint_every_rounds: how many rounds apart instead; CatBoost, which writes its own, goes by the seconds.
    """

    timeout_s: Seconds = 86_400.0
    cache: bool = True
    gpu: Literal["auto", "none"] | tuple[str, ...] = "auto"
    gpu_count: int = Field(1, ge=1)
    machines: int = Field(1, ge=1)
    vcpu_count: int = Field(4, ge=2)
    min_ram_gb: Gigabytes | None = None
    min_vcpu: int | None = Field(None, ge=1, le=32)
    image: str | None = Field(None, min_length=1)
    min_cuda_version: str = Field("12.8", pattern=r"^\d+\.\d+$")
    disk_gb: int = Field(20, ge=20)
    requirements: tuple[str, ...] = ()
    index_url: str | None = None
    extra_index_url: tuple[str, ...] = ()
    credentials: str | None = Field(None, min_length=1)
    install: bool = True
    max_cost_usd: Usd | None = None
    max_price_per_hour_usd: Usd | None = None
    startup_timeout_s: Seconds = 900.0
    retries: int = Field(2, ge=0)
    wait_for_capacity_s: Wait = 0.0
    upload_warn_mb: Megabytes = 50.0
    group: str | None = Field(None, min_length=1)
    keep_s: Pause = 0.0
    prepare: bool = False
    checkpoint_every_s: Seconds = 60.0
    checkpoint_every_rounds: int | None = Field(None, ge=1)

    @field_validator("gpu", mode="before")
    @classmethod
    def _names_or_a_word(cls, value: object) -> object:
        if isinstance(value, str):
            return value.lower() if value.lower() in ("auto", "none") else (value,)
        if isinstance(value, list | tuple) and not value:
            raise ValueError("name at least one GPU, or write auto or none")
        if value is not None and not isinstance(value, list | tuple):
            raise ValueError("write auto, none, or the names of GPUs as [a, b]")
        return "none" if value is None else value

    def image_for(self, *, gpu: bool) -> str:
        """Return the image of a pod with a GPU, or of one without."""
        return self.image or (GPU_IMAGE if gpu else CPU_IMAGE)

    @field_validator("vcpu_count")
    @classmethod
    def _check_power_of_two(cls, count: int) -> int:
        if count & (count - 1):
            raise ValueError("a CPU pod has 2, 4, 8, 16 or 32 vCPUs")
        return count

    @model_validator(mode="after")
    def _check_least(self) -> Self:
        if "vcpu_count" in self.model_fields_set and self.min_vcpu is not None and self.min_vcpu > self.vcpu_count:
            raise ValueError(f"vcpu_count is {self.vcpu_count}, and min_vcpu {self.min_vcpu}: keep one of them")
        return self

    @field_validator("requirements")
    @classmethod
    def _check_requirements(cls, requirements: tuple[str, ...]) -> tuple[str, ...]:
        for requirement in requirements:
            try:
                Requirement(requirement)
            except InvalidRequirement:
                index = "; an index is set by index_url or extra_index_url" if requirement.startswith("-") else ""
                raise ValueError(
                    f"{shown(requirement)} is not a valid requirement; write, for example, polars>=1.2 or polars==1.2.0{index}"
                ) from None
        return tuple(map(sealed, requirements))

    @field_validator("extra_index_url", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("index_url", "extra_index_url")
    @classmethod
    def _check_indexes(cls, value: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        for url in (value,) if isinstance(value, str) else value or ():
            if not re.match(r"https?://[^\s/]+", url) or re.search(r"\s", url):
                raise ValueError(f"{shown(url)} is not the address of an index; write, for example, https://packages.example.org/simple")
        return sealed(value) if isinstance(value, str) else tuple(map(sealed, value or ())) or value

    @property
    def index_lines(self) -> tuple[str, ...]:
        """The indexes as the options of an installer."""
        own = (f"--index-url={self.index_url}",) if self.index_url is not None else ()
        return (*own, *(f"--extra-index-url={url}" for url in self.extra_index_url))
