"""One model for each station of a bicycle hire: a single node trains sixty, and ranks them."""

from kedro.pipeline import Pipeline, node

from cloudtrain_example.stations import simulate_hires
from kedro_cloudtrain import training_node


def create_pipeline() -> Pipeline:
    return Pipeline(
        [
            node(simulate_hires, "params:stations", "hires", name="simulate_hires"),
            # `partitioned` in the parameters `demand` makes a training of each station's rows.
            training_node("hires", "params:demand", model="station_models", leaderboard="stations", name="train_stations"),
        ]
    )
