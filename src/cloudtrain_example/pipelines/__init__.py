"""The example's pipelines."""
