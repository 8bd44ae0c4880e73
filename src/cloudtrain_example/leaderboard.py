"""Ordinary nodes, which run on this computer: the models' scores as a table and as a figure."""

import pandas as pd
import plotly.express as px
import plotly.graph_objects as go

# One score for each task. All lie between 0 and 1, higher is better, so that their bars can be compared.
SCORES = {"r2": "R²", "roc_auc": "ROC AUC", "macro_f1": "macro F1"}


def make_leaderboard(**metrics: dict[str, float]) -> pd.DataFrame:
    """Return one row for each model: its score, which score that is, and its other metrics."""
    rows = []
    for model, values in metrics.items():
        score = next(name for name in SCORES if name in values)
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        rows.append({"model": model, "score": values[score], "of": SCORES[score], **numbers})
    return pd.DataFrame(rows).sort_values("score", ascending=False, ignore_index=True)


def draw_leaderboard(leaderboard: pd.DataFrame) -> go.Figure:
    """Draw the scores as a bar chart."""
    figure = px.bar(
        leaderboard[::-1],
        x="score",
        y="model",
        color="of",
        orientation="h",
        text_auto=".3f",
        range_x=[0, 1],
        labels={"score": "score on the validation rows", "model": "", "of": ""},
        color_discrete_sequence=["#2a5ea8", "#d9822b", "#3c8d5a"],
        template="plotly_white",
    )
    return figure.update_layout(yaxis={"categoryorder": "array"}, margin={"l": 0, "r": 16, "t": 24, "b": 0})
