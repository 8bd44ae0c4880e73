"""The twelve recipes, four libraries times three tasks, on the same table."""

from kedro.pipeline import Pipeline, node

from cloudtrain_example.leaderboard import draw_leaderboard, make_leaderboard
from kedro_cloudtrain import training_node

LIBRARIES = ["xgboost", "lightgbm", "catboost", "keras"]
TASKS = ["regression", "binary_classification", "multiclass_classification"]


def create_pipeline() -> Pipeline:
    recipes = [f"{library}_{task}" for library in LIBRARIES for task in TASKS]
    training = [
        training_node(
            "penguins",
            f"params:all_models.{recipe}",
            model=f"{recipe}_model",
            metrics=f"{recipe}_metrics",
            history=f"{recipe}_history",
            importance=f"{recipe}_importance",
            predictions=f"{recipe}_predictions",
            name=f"train_{recipe}",
            tags="training",
        )
        for recipe in recipes
    ]
    metrics = {recipe: f"{recipe}_metrics" for recipe in recipes}
    return Pipeline(
        [
            *training,
            node(make_leaderboard, metrics, "all_models_leaderboard", name="all_models_leaderboard"),
            node(draw_leaderboard, "all_models_leaderboard", "all_models_figure", name="all_models_figure"),
        ]
    )
