"""The project's pipelines."""

from kedro.pipeline import Pipeline, node

from kedro_cloudtrain import training_node

from {{ cookiecutter.python_package }}.nodes import clean_penguins


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name."""
    clean = node(clean_penguins, "raw_penguins", "penguins", name="clean_penguins")
    trainings = [
        training_node(
            "penguins", f"params:{name}", model=f"{name}_model", metrics=f"{name}_metrics", history=f"{name}_history", name=f"train_{name}"
        )
        for name in ("species", "mass")
    ]
    return {"__default__": Pipeline([clean, *trainings])}
