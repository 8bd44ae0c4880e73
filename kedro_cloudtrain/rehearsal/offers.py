"""The machines that the stand-in offers, and where; tests change them as they like."""

from __future__ import annotations

import dataclasses
from typing import Any

from kedro_cloudtrain.rehearsal.schemas import CpuType, CpuTypePrice, CpuTypeVcpu, GpuType, GpuTypeMaxCount, GpuTypePrice, NetworkVolume


def gpu(name: str, memory: int, usd: float, cuda: tuple[str, ...] = ("12.8", "12.9"), **stock: str) -> GpuType:
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
        "cudaVersions": [{"version": version, "available": number == 0} for number, version in enumerate(cuda)],
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
    """GPU types, CPU flavours and network volumes; `odd` are entries of both catalogues that break the contract."""

    gpus: list[GpuType] = dataclasses.field(default_factory=_gpus)
    cpus: list[CpuType] = dataclasses.field(default_factory=_cpus)
    volumes: dict[str, NetworkVolume] = dataclasses.field(default_factory=dict)
    odd: list[Any] = dataclasses.field(default_factory=list)

    def add_volume(self, volume_id: str, data_center: str) -> None:
        """Add a network volume."""
        self.volumes[volume_id] = NetworkVolume(id=volume_id, name=volume_id, size=50, data_center=data_center, type="STANDARD")

    def gpu(self, name: str) -> GpuType | None:
        """Return a GPU type by its id."""
        return next((gpu for gpu in self.gpus if gpu.id == name), None)

    def cpu(self, name: str) -> CpuType | None:
        """Return a CPU flavour by its id."""
        return next((cpu for cpu in self.cpus if cpu.id == name), None)
