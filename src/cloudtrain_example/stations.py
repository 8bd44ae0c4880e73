"""The ordinary node before the sixty trainings: simulate the hires of each station."""

from typing import Any

import numpy as np
import pandas as pd

WEEKEND = (5, 6)


def simulate_hires(stations: dict[str, Any]) -> pd.DataFrame:
    """Return a row for each hour of each station. The demand is simulated, and differs from station to station."""
    random = np.random.default_rng(stations["seed"])
    tables = [
        _simulate_station(random, stations["hours"]).assign(station=f"station_{number:02d}") for number in range(1, stations["count"] + 1)
    ]
    return pd.concat(tables, ignore_index=True)


def _simulate_station(random: np.random.Generator, hours: int) -> pd.DataFrame:
    hour, weekday = np.arange(hours) % 24, np.arange(hours) // 24 % 7
    temperature_c = random.normal(14, 7, hours)
    rain = random.binomial(1, 0.15, hours) == 1
    busiest, weekend = random.integers(7, 20), random.uniform(0.4, 1.8)
    mean = random.uniform(8, 40) * np.exp(-(((hour - busiest) / 5.0) ** 2)) * np.where(np.isin(weekday, WEEKEND), weekend, 1.0)
    mean *= np.clip(0.3 + temperature_c / 20, 0.1, None) * np.where(rain, 0.4, 1.0)
    return pd.DataFrame(
        {"hour": hour, "weekday": weekday, "temperature_c": temperature_c.round(1), "rain": rain, "hires": random.poisson(mean)}
    )
