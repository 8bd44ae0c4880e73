"""The machines that the stand-in offers, and where."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, Self

from kedro_cloudtrain.rehearsal.schemas import (
    CpuType,
    CpuTypePrice,
    CpuTypeVcpu,
    DataCenterAvailability,
    GpuType,
    GpuTypeMaxCount,
    GpuTypePrice,
    NetworkVolume,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


# Names, memory in GB, and play money: of the size of what RunPod asked for in 2026, in dollars per hour.
_USUAL = (
    ("NVIDIA A40", 48, 0.40),
    ("NVIDIA A100 80GB PCIe", 80, 1.64),
    ("NVIDIA A100-SXM4-80GB", 80, 1.74),
    ("NVIDIA GeForce RTX 3090", 24, 0.46),
    ("NVIDIA GeForce RTX 4090", 24, 0.69),
    ("NVIDIA GeForce RTX 5090", 32, 0.89),
    ("NVIDIA H100 80GB HBM3", 80, 2.99),
    ("NVIDIA H100 NVL", 94, 2.79),
    ("NVIDIA H100 PCIe", 80, 2.39),
    ("NVIDIA H200", 141, 3.99),
    ("NVIDIA L4", 24, 0.43),
    ("NVIDIA L40", 48, 0.99),
    ("NVIDIA L40S", 48, 0.86),
    ("NVIDIA RTX 2000 Ada Generation", 16, 0.24),
    ("NVIDIA RTX 4000 Ada Generation", 20, 0.26),
    ("NVIDIA RTX 6000 Ada Generation", 48, 0.77),
    ("NVIDIA RTX A4000", 16, 0.25),
    ("NVIDIA RTX A4500", 20, 0.25),
    ("NVIDIA RTX A5000", 24, 0.27),
    ("NVIDIA RTX A6000", 48, 0.49),
)
# What RunPod offers as well, with the memory in GB: a rehearsal has those that its settings name.
_OTHERS = {
    "NVIDIA A30": 24,
    "NVIDIA B200": 180,
    "NVIDIA B300 SXM6 AC": 288,
    "NVIDIA GeForce RTX 3070": 8,
    "NVIDIA GeForce RTX 3080": 10,
    "NVIDIA GeForce RTX 3080 Ti": 12,
    "NVIDIA GeForce RTX 3090 Ti": 24,
    "NVIDIA GeForce RTX 4070 Ti": 12,
    "NVIDIA GeForce RTX 4080": 16,
    "NVIDIA GeForce RTX 4080 SUPER": 16,
    "NVIDIA GeForce RTX 5080": 16,
    "NVIDIA H200 NVL": 143,
    "NVIDIA RTX 4000 SFF Ada Generation": 20,
    "NVIDIA RTX 5000 Ada Generation": 32,
    "NVIDIA RTX A2000": 6,
    "NVIDIA RTX PRO 4500 Blackwell": 32,
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition": 96,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": 96,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb": 24,
    "NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 2g.48gb": 48,
    "NVIDIA RTX PRO 6000 Blackwell Workstation Edition": 96,
    "Tesla V100-PCIE-16GB": 16,
    "Tesla V100-SXM2-16GB": 16,
    "Tesla V100-SXM2-32GB": 32,
}
_CUDA = ("12.8", "12.9")
_SIZE = re.compile(r"(\d+) ?GB")


def gpu(name: str, memory: int, usd: float, *cuda: str, **stock: str) -> GpuType:
    """Return a GPU type: `gpu("NVIDIA L4", 24, 0.43, EU_RO_1="HIGH")`; without stock it is not sold anywhere."""
    places = [{"id": place.replace("_", "-"), "name": place.replace("_", " "), "availability": level} for place, level in stock.items()]
    levels = [str(place["availability"]) for place in places]
    fields: dict[str, Any] = {
        "id": name,
        "name": name.removeprefix("NVIDIA "),
        "pool": None,
        "manufacturer": "NVIDIA",
        "memory": memory,
        "secure": True,
        "community": True,
        "price": GpuTypePrice(secure=usd, community=round(usd * 0.8, 2)),
        "maxCount": GpuTypeMaxCount(secure=8, community=4),
        "availability": max(levels, key=["NONE", "LOW", "MEDIUM", "HIGH"].index, default="NONE"),
        "cudaVersions": [{"version": version, "available": number == 0} for number, version in enumerate(cuda or _CUDA)],
    }
    return GpuType.model_validate({**fields, **({"dataCenters": places} if places else {})})


def _gpus() -> list[GpuType]:
    return [
        gpu("NVIDIA H100 80GB HBM3", 80, 2.99, US_KS_2="HIGH"),
        gpu("NVIDIA L4", 24, 0.43, EU_RO_1="HIGH", US_KS_2="LOW"),
        gpu("NVIDIA RTX A5000", 24, 0.27, EU_RO_1="MEDIUM"),
        gpu("NVIDIA A40", 48, 0.40, EU_RO_1="LOW"),
    ]


def _cpus() -> list[CpuType]:
    price = CpuTypePrice(secure_per_vcpu=0.035, serverless_per_vcpu=0.05)
    places = [{"id": "EU-RO-1", "name": "EU RO 1", "availability": "HIGH"}]
    fields = {
        "id": "cpu5c",
        "name": "Compute-Optimized",
        "group": "Gen 5",
        "ramGbPerVcpu": 2.0,
        "availability": "HIGH",
        "dataCenters": places,
    }
    return [CpuType.model_validate({**fields, "vcpu": CpuTypeVcpu(min=2, max=32), "price": price})]


@dataclasses.dataclass
class Offers:
    """GPU types, CPU flavours and network volumes.

    Attributes:
        odd: entries of both catalogues that break the contract.
        single: the GPU types that are not sold as clusters.
    """

    gpus: list[GpuType] = dataclasses.field(default_factory=_gpus)
    cpus: list[CpuType] = dataclasses.field(default_factory=_cpus)
    volumes: dict[str, NetworkVolume] = dataclasses.field(default_factory=dict)
    odd: list[Any] = dataclasses.field(default_factory=list)
    single: tuple[str, ...] = ()

    @staticmethod
    def known_gpus() -> list[str]:
        """Return the names of the GPUs that RunPod is known to offer."""
        return sorted([*(name for name, _, _ in _USUAL), *_OTHERS])

    @classmethod
    def of_rehearsal(cls, data_centers: Iterable[str], gpus: Iterable[str] = ()) -> Self:
        """Return the machines of a rehearsal: the vendor's usual ones and those of the names given, in stock in each data centre."""
        stock = {place.replace("-", "_"): "HIGH" for place in data_centers}
        machines = {name: (memory_gb, usd) for name, memory_gb, usd in _USUAL}
        for name in gpus:
            size = _SIZE.search(name)
            machines.setdefault(name, (_OTHERS.get(name) or (int(size[1]) if size is not None else 24), 1.0))
        cpus = _cpus()
        for cpu in cpus:
            cpu.data_centers = [DataCenterAvailability(id=place, name=place, availability="HIGH") for place in data_centers]
        return cls([gpu(name, memory_gb, usd, **stock) for name, (memory_gb, usd) in machines.items()], cpus)

    def add_volume(self, volume_id: str, data_center: str) -> None:
        """Add a network volume."""
        self.volumes[volume_id] = NetworkVolume(id=volume_id, name=volume_id, size=50, data_center=data_center, type="STANDARD")

    @property
    def for_clusters(self) -> list[GpuType]:
        """The GPU types, without the places of those that are not sold as clusters."""
        return [gpu.model_copy(update={"availability": "NONE", "data_centers": []}) if gpu.id in self.single else gpu for gpu in self.gpus]

    def gpu(self, name: str) -> GpuType | None:
        """Return a GPU type by its id."""
        return next((gpu for gpu in self.gpus if gpu.id == name), None)

    def cpu(self, name: str) -> CpuType | None:
        """Return a CPU flavour by its id."""
        return next((cpu for cpu in self.cpus if cpu.id == name), None)
