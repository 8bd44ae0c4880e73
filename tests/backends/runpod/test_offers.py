"""Which machine runs a job, what it may cost, and how long it may live: computed, without a pod."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kedro_cloudtrain.backends.runpod.budget import Budget, lifetime_s, pod_time_s, worst_usd
from kedro_cloudtrain.backends.runpod.contract import Cpu, Gpu
from kedro_cloudtrain.backends.runpod.offers import CachedOffers, choose
from kedro_cloudtrain.config import NodeSettings
from kedro_cloudtrain.errors import BudgetExceededError, CapacityError, ConfigError
from kedro_cloudtrain.jobs.workload import Workload
from kedro_cloudtrain.planning.quotes import quote
from kedro_cloudtrain.rehearsal.offers import Offers, gpu

DATA_CENTER = "EU-RO-1"
SMALL = Workload("xgboost", 1000, 10)


class StandInOffers:
    """The stand-in's offers, without its server."""

    def __init__(self, offers: Offers | None = None) -> None:
        self.offers = offers or Offers()

    def gpus(self, count: int = 1) -> list[Gpu]:
        return [Gpu.model_validate(gpu.json_object()) for gpu in self.offers.gpus]

    def cpus(self, vcpu_count: int = 4) -> list[Cpu]:
        return [Cpu.model_validate(cpu.json_object()) for cpu in self.offers.cpus]


def names(settings: dict, workload: Workload = SMALL, offers: Offers | None = None, data_center: str | None = DATA_CENTER) -> list[str]:
    choice = choose(StandInOffers(offers), NodeSettings.model_validate(settings), data_center, workload)
    return [str(candidate) for candidate in choice.candidates]


def test_the_users_order_comes_before_the_price() -> None:
    assert names({"gpu": ["NVIDIA A40", "NVIDIA L4", "NVIDIA RTX A5000"]}) == ["NVIDIA A40", "NVIDIA L4", "NVIDIA RTX A5000"]


def test_names_are_known_in_any_case() -> None:
    assert names({"gpu": ["nvidia l4"]}) == ["NVIDIA L4"]


def test_what_is_sold_out_is_tried_last() -> None:
    offers = Offers(gpus=[gpu("A", 24, 0.2, EU_RO_1="NONE"), gpu("B", 24, 0.9, EU_RO_1="LOW")])
    assert names({"gpu": ["A", "B"]}, offers=offers) == ["B", "A"]


def test_auto_takes_the_cheapest_that_holds_the_table() -> None:
    large = Workload("xgboost", 100_000_000, 30)  # 36 GB and what the library takes
    assert names({"gpu": "auto"}, large) == ["NVIDIA A40"]
    assert names({"gpu": "auto"}, Workload("keras", 1_000_000, 20)) == ["NVIDIA RTX A5000", "NVIDIA A40", "NVIDIA L4"]
    assert names({"gpu": "auto"}, Workload("keras", 344, 7)) == ["cpu5c with 4 vCPUs"]
    assert names({"gpu": "auto"}) == ["cpu5c with 4 vCPUs"]
    assert names({"gpu": "auto"}, Workload("lightgbm", 1_000_000, 100)) == ["cpu5c with 4 vCPUs"]


def test_auto_says_why() -> None:
    settings = NodeSettings.model_validate({"gpu": "auto"})
    assert "sooner than a GPU is ready" in choose(StandInOffers(), settings, DATA_CENTER, SMALL).reason
    assert "LightGBM's wheel has no CUDA" in choose(StandInOffers(), settings, DATA_CENTER, Workload("lightgbm", 9, 9)).reason
    assert "auto: the cheapest with 3 GB" in choose(StandInOffers(), settings, DATA_CENTER, Workload("keras", 10**7, 9)).reason
    fixed = Workload("catboost", 10**7, 9, device="cpu", why_device="`hyperparameters.rsm` is 0.8, which catboost has on a CPU alone")
    assert choose(StandInOffers(), settings, DATA_CENTER, fixed).reason == f"auto: {fixed.why_device}"


def test_auto_takes_the_device_that_the_hyperparameters_leave() -> None:
    assert names({"gpu": "auto"}, Workload("catboost", 10**7, 3, device="cpu")) == ["cpu5c with 4 vCPUs"]
    assert names({"gpu": "auto"}, Workload("catboost", 9, 9, device="cuda"))[0] == "NVIDIA RTX A5000"


def test_a_cpu_pod_has_the_memory_that_the_table_needs() -> None:
    for rows, vcpus in ((1000, 4), (10_000_000, 8), (20_000_000, 16)):
        assert names({"gpu": "none"}, Workload("lightgbm", rows, 30)) == [f"cpu5c with {vcpus} vCPUs"]
    assert names({"gpu": "none", "min_ram_gb": 30}) == ["cpu5c with 16 vCPUs"]
    assert names({"gpu": "none", "min_vcpu": 5}) == ["cpu5c with 8 vCPUs"]
    # What a user has set is taken as it is.
    assert names({"gpu": "none", "vcpu_count": 2}) == ["cpu5c with 2 vCPUs"]
    with pytest.raises(CapacityError, match=r"cpu5c with 8 vCPUs \(16 GB, 50 GB needed\)"):
        names({"gpu": "none", "vcpu_count": 8}, Workload("lightgbm", 20_000_000, 100))
    with pytest.raises(CapacityError, match=r"cpu5c with 32 vCPUs \(64 GB, 242 GB needed\)"):
        names({"gpu": "auto"}, Workload("lightgbm", 100_000_000, 100))


def test_a_second_gpu_holds_a_part_of_the_data_where_the_library_divides_it() -> None:
    for library, machines in (("catboost", ["2 × NVIDIA A40"]), ("xgboost", ["2 × NVIDIA A40"]), ("keras", [])):
        settings = {"gpu": "auto", "gpu_count": 2}
        offers = Offers(gpus=[gpu("NVIDIA A40", 48, 0.4, EU_RO_1="LOW")])
        if machines:
            assert names(settings, Workload(library, 60_000_000, 100), offers) == machines
        else:
            with pytest.raises(CapacityError, match="74 GB needed"):
                names(settings, Workload(library, 60_000_000, 100), offers)


@pytest.mark.parametrize(
    ("library", "rows", "gpu_count", "needed"),
    [
        (
            "xgboost",
            100_000_000,
            4,
            "map its 4,000 million numbers from the pod's own disk, and `disk_gb` is 20: set disk_gb: 24 for the node",
        ),
        ("xgboost", 100_000_000, 1, ""),
        ("xgboost", 10_000_000, 4, ""),
        ("catboost", 100_000_000, 4, ""),
    ],
)
def test_the_rows_that_processes_share_fit_on_the_pods_disk(library: str, rows: int, gpu_count: int, needed: str) -> None:
    settings = NodeSettings.model_validate({"gpu": "NVIDIA L4", "gpu_count": gpu_count})
    problems = quote(StandInOffers(), "train", settings, DATA_CENTER, Workload(library, rows, 40)).problems
    of_disk = [problem for problem in problems if "disk_gb" in problem]
    assert len(of_disk) == bool(needed)
    assert needed in "".join(of_disk)


def test_several_gpus_are_one_machine_of_their_price() -> None:
    (candidate,) = choose(StandInOffers(), NodeSettings.model_validate({"gpu": "NVIDIA L4", "gpu_count": 2}), DATA_CENTER, SMALL).candidates
    assert str(candidate) == "2 × NVIDIA L4"
    assert candidate.usd_per_hour == pytest.approx(0.86)


def test_without_a_volume_any_data_centre_will_do() -> None:
    assert names({"gpu": ["NVIDIA H100 80GB HBM3"]}, data_center=None) == ["NVIDIA H100 80GB HBM3"]


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"gpu": "NVIDIA L44"}, ConfigError, "Did you mean `NVIDIA L4`"),
        ({"gpu": "NVIDIA H100 80GB HBM3"}, CapacityError, r"H100 80GB HBM3 \(not sold in EU-RO-1\).*data centre limits the choice"),
        ({"gpu": "NVIDIA L4", "max_price_per_hour_usd": 0.42}, CapacityError, r"\$0\.43/h, over max_price_per_hour_usd 0\.42"),
        ({"gpu": "NVIDIA L4", "gpu_count": 9}, CapacityError, r"NVIDIA L4 \(a machine has 8 at most, and gpu_count is 9\)"),
        ({"gpu": "none", "vcpu_count": 32, "max_price_per_hour_usd": 1}, CapacityError, "cpu5c with 32 vCPUs"),
    ],
)
def test_no_machine_is_an_error_with_the_reason_for_each(settings: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        names(settings)


def test_a_table_too_large_for_any_gpu_is_an_error_with_its_size() -> None:
    with pytest.raises(CapacityError, match=r"NVIDIA A40 \(48 GB, 122 GB needed\)"):
        names({"gpu": "auto"}, Workload("xgboost", 100_000_000, 100))


def test_a_pod_lives_as_long_as_its_money() -> None:
    assert lifetime_s("n", 1.0, 3600, 900, None) == 3600
    assert lifetime_s("n", 1.0, 3600, 900, 10.0) == 3600
    assert lifetime_s("n", 1.0, 3600, 900, 0.5) == pytest.approx(900)
    assert lifetime_s("n", 0.0, 3600, 900, 0.5) == 3600
    with pytest.raises(BudgetExceededError, match=r"\$0\.26 of its max_cost_usd is left.*needs at least \$0\.27"):
        lifetime_s("n", 1.0, 3600, 900, 0.26)
    assert worst_usd(2.0, 900, 900) == pytest.approx(1.0)


def test_time_to_install_is_not_the_jobs_own() -> None:
    assert pod_time_s(NodeSettings(timeout_s=100)) == 1000
    assert pod_time_s(NodeSettings(timeout_s=100, install=False)) == 160


def test_a_budget_is_never_passed_however_many_ask() -> None:
    budget = Budget(1.0)
    budget.reserve("a", "node", 0.6)
    with pytest.raises(BudgetExceededError, match=r"\$0\.50\) would take the run past max_cost_usd \(\$1\.00; \$0\.60 spent or reserved\)"):
        budget.reserve("b", "node", 0.5)
    budget.settle("a", 0.1)
    budget.reserve("b", "node", 0.9)
    assert budget.spent_usd == pytest.approx(0.1)
    Budget(None).reserve("a", "node", 1e9)


def test_offers_are_asked_once_for_many_and_again_when_they_are_old() -> None:
    asked: list[int] = []

    class Counted(StandInOffers):
        def gpus(self, count: int = 1) -> list[Gpu]:
            asked.append(count)
            return super().gpus(count)

    cached = CachedOffers(Counted(), cached_s=600)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(cached.gpus, [1] * 20))
    cached.gpus(2)
    assert sorted(asked) == [1, 2]
    forgetful = CachedOffers(Counted(), cached_s=0)
    forgetful.gpus()
    forgetful.gpus()
    assert sorted(asked) == [1, 1, 1, 2]
