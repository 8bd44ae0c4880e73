"""One model for each segment: the same small pipeline in sixty namespaces, one for each station of a bicycle hire."""

from kedro.pipeline import Pipeline, node

from cloudtrain_example.stations import rank_stations, simulate_hires
from kedro_cloudtrain import training_node

STATIONS = [f"station_{number:02d}" for number in range(1, 61)]


def create_pipeline() -> Pipeline:
    train = Pipeline([training_node("hires", "params:demand", model="model", metrics="metrics", name="train")])
    # `segments.station_01.hires`, `segments.station_01.train`, …: each has its own data and model; all share the parameters `demand`.
    trainings = [Pipeline(train, namespace=f"segments.{station}", parameters="demand") for station in STATIONS]
    hires = [f"segments.{station}.hires" for station in STATIONS]
    metrics = {station: f"segments.{station}.metrics" for station in STATIONS}
    return Pipeline(
        [
            node(simulate_hires, "params:stations", hires, name="simulate_hires"),
            *trainings,
            node(rank_stations, metrics, "stations", name="rank_stations"),
        ]
    )
