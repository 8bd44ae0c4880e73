"""Every public name, used as its types promise. `mypy` checks this page; nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

from kedro_cloudtrain import (
    ApiError,
    AuthError,
    BackendError,
    BalanceError,
    BudgetExceededError,
    CapacityError,
    Checkpoint,
    CloudDataset,
    CloudTrainError,
    CloudTrainRunner,
    ConfigError,
    DetachedError,
    DiskError,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobLostError,
    JobTimeoutError,
    MetricsDataset,
    ModelDataset,
    ModelsDataset,
    PodsLeftError,
    RunPodPodManager,
    SourceError,
    TemplateError,
    TrainingHistoryDataset,
    TrainingScriptGenerator,
    prediction_node,
    training_node,
)
from kedro_cloudtrain.rehearsal import Rehearsal, Seed

if TYPE_CHECKING:
    import pandas as pd
    from kedro.pipeline.node import Node


def nodes() -> list[Node]:
    node = training_node(
        "penguins",
        "params:species",
        model="species_model",
        metrics="species_metrics",
        history="species_history",
        importance="species_importance",
        predictions="species_predictions",
        trials="species_trials",
        leaderboard="species_leaderboard",
        validation="held_out",
        name="train_species",
        tags=["models"],
        namespace="birds",
    )
    scores = prediction_node(
        "penguins", "species_model", predictions="scores", keep=["island"], name="score", tags=["models"], namespace="birds"
    )
    return [node, scores, training_node("penguins", "params:species", metrics="species_metrics", tags="models")]


def tables(frame: pd.DataFrame) -> None:
    url = CloudDataset(
        dataset_url="https://example.org/penguins.csv",
        load_args={"sep": ";"},
        credentials={"headers": {"Authorization": "Bearer token"}},
    )
    key = CloudDataset(
        dataset_key="datasets/penguins.csv",
        volume={"path": "data/volume"},
        file_format="csv",
        save_args={"float_format": "%.3f"},
        metadata={"kedro-viz": {"layer": "raw"}},
    )
    key.save(url.load())
    key.save(frame)
    assert_type(url.column_names(), list[str])
    assert_type(key.filepath, str | None)
    assert_type(key.volume.exists("datasets/penguins.csv"), bool)
    url.head(rows=3)
    url.preview(nrows=3)


def outputs(folder: Path, frame: pd.DataFrame) -> None:
    model = ModelDataset(filepath="data/06_models/species")
    model.save(model.load())
    model.save(folder)
    model.save("data/06_models/other")
    model.load().predict(frame)
    models = ModelsDataset(filepath="data/06_models/stations")
    models.save({"north": model.load(), "south": folder, "west": "data/06_models/other"})
    models.load()["north"].predict(frame)
    assert_type(model.load().folder, Path)
    metrics = MetricsDataset(filepath="data/08_reporting/species.json")
    metrics.save({"accuracy": 0.98, "classes": ["Adelie", "Gentoo"]})
    assert_type(metrics.load(), dict[str, Any])
    history = TrainingHistoryDataset(filepath="data/08_reporting/species_history.json")
    history.save([{"round": 1, "train_rmse": 0.5}])
    history.save(history.load())
    for dataset in (model, metrics, history):
        dataset.preview()


def fit(rounds: int) -> int:
    checkpoint = Checkpoint()
    assert_type(checkpoint.folder, Path | None)
    for done in range(checkpoint.rounds + 1, rounds + 1):
        if checkpoint.due(done):
            with checkpoint.write(done) as folder:
                (folder / "state.txt").write_text(str(done), encoding="utf-8")
    return checkpoint.rounds


def script() -> str:
    generator = TrainingScriptGenerator(Path("templates"))
    assert_type(generator.model_types, list[str])
    return generator.generate_training_script(
        model_id="species",
        model_type="xgboost_classification",
        target_column="species",
        feature_columns=["bill_length_mm", "bill_depth_mm"],
        hyperparameters={"n_estimators": 100},
        dataset_url="https://example.org/penguins.csv",
    )


def runner() -> CloudTrainRunner:
    return CloudTrainRunner(is_async=False, max_pods=2, gpu="auto", max_cost_usd=1.5)


def pods() -> dict[str, Any]:
    manager = RunPodPodManager({"volume": {"id": "abc123xyz", "data_center": "EU-RO-1"}}, project="service")
    pod = manager.launch_training({"gpu_type": manager.select_compute_type(500.0, "xgboost_regression")})
    try:
        assert_type(manager.monitor_training(pod["pod_id"]), dict[str, Any])
        assert_type(manager.get_pod_logs(pod["pod_id"], lines=20), list[str])
        return manager.wait_for_completion_and_terminate(pod["pod_id"], max_wait_seconds=3600)
    finally:
        manager.terminate_pod(pod["pod_id"])


def advice(error: CloudTrainError) -> str:
    match error:
        case ConfigError() | TemplateError() | SourceError():
            advice = f"mend the project: {error.message}"
        case CapacityError() | BudgetExceededError() | PodsLeftError():
            advice = "allow another GPU, or a higher price"
        case JobFailedError() | JobTimeoutError() | JobLostError():
            advice = "read the job's log"
        case AuthError() | BalanceError():
            advice = "look at the account"
        case ApiError():
            advice = f"{error.status}: {error.detail}"
        case JobCancelledError() | DiskError():
            advice = "start it again"
        case BackendError() | JobError():
            advice = "try again later"
        case _:
            advice = str(error)
    return advice


def left(error: DetachedError) -> str:
    return error.job


def rehearsed(folder: Path) -> float:
    with Rehearsal({"abc123xyz": "EU-RO-1"}, [Seed(folder)], faults=["vanish"], gpus=["NVIDIA L4"]) as rehearsal:
        assert_type(rehearsal.environment, dict[str, str])
        assert_type(rehearsal.volume(), Path)
        assert all(pod.gone for pod in rehearsal.pods)
        return rehearsal.cost_usd
