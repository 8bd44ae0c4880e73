"""The training scripts' templates: a page each, by the name of their model type."""
