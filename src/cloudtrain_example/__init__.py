"""The example project: models of the Palmer penguins, trained through `kedro run --runner=cloudtrain`."""

__version__ = "0.1.0"
