"""What Kedro calls: the hooks, the runner with its executor and tasks, the run status for Kedro-Viz, the metrics for MLflow."""
