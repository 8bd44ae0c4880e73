"""The example's pipelines by name."""

from kedro.pipeline import Pipeline

from cloudtrain_example.pipelines import all_models, penguins, segments


def register_pipelines() -> dict[str, Pipeline]:
    return {
        "__default__": penguins.create_pipeline(),
        "all_models": all_models.create_pipeline(),
        "segments": segments.create_pipeline(),
    }
