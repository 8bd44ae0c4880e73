"""Four models of the penguins, one for each library, and a leaderboard of them."""

from kedro.pipeline import Pipeline, node

from cloudtrain_example.leaderboard import draw_leaderboard, make_leaderboard
from kedro_cloudtrain import training_node

MODELS = ["species", "sex", "body_mass", "mass_net"]


def create_pipeline() -> Pipeline:
    training = [
        training_node(
            "penguins",
            f"params:{model}",
            model=f"{model}_model",
            metrics=f"{model}_metrics",
            history=f"{model}_history",
            name=f"train_{model}",
            tags="training",
        )
        for model in MODELS
    ]
    metrics = {model: f"{model}_metrics" for model in MODELS}
    return Pipeline(
        [
            *training,
            node(make_leaderboard, metrics, "leaderboard", name="leaderboard"),
            node(draw_leaderboard, "leaderboard", "leaderboard_figure", name="leaderboard_figure"),
        ]
    )
