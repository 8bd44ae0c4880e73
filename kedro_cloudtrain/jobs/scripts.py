"""Job scripts: a template and a job's values make a page of Python that a person can read and run by hand."""

from __future__ import annotations

import itertools
import re
from functools import cache, cached_property
from importlib import resources
from keyword import kwlist
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from pydantic import ValidationError

from kedro_cloudtrain.errors import ConfigError, TemplateError
from kedro_cloudtrain.jobs.literals import LINE_WIDTH, literal
from kedro_cloudtrain.jobs.parameters import TrainingParameters, library_of, plain, task_of
from kedro_cloudtrain.jobs.sharing import reading_of
from kedro_cloudtrain.jobs.spec import TrainingSpec, source_fields
from kedro_cloudtrain.storage.sources import make_source
from kedro_cloudtrain.wording import did_you_mean, problems_of
from kedro_cloudtrain.worker.locations import FORMATS
from kedro_cloudtrain.worker.urls import extension
from kedro_cloudtrain.worker.watched_metric import LOSS, metric_problems, watched_metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kedro_cloudtrain.jobs.spec import FunctionSpec, PredictionSpec
    from kedro_cloudtrain.worker.watched_metric import WatchedMetric

_SUFFIX = ".py.j2"
_NOT_MODEL_TYPES = ("function", "group", "predict")
# The names that a function's script uses itself.
_RESERVED_NAMES = {
    *("Path", "sys", "DataCatalog", "FunctionJob", "unpacked_code", "catalog", "job", "returned"),
    *("RETURNS", "SAVES", "LAZY", "ENTRIES", "FILES", "LOAD_VERSIONS", "MACHINES"),
}
DEFAULT_SEED = 42
_SHIPPED = Path(str(resources.files("kedro_cloudtrain.templates")))


def _without_inferred_format(source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a source's fields, without the format where its extension says the same: the worker infers it from that."""
    place = next((source[name] for name in ("dataset_key", "dataset_url", "dataset_file") if source.get(name)), "")
    ending = extension(str(place))
    return {name: value for name, value in source.items() if name != "file_format" or value != FORMATS.get(ending, ending)}


class _Names:
    """Names for a script's variables: each dataset's own name as far as Python allows it, and no name twice."""

    def __init__(self, taken: set[str]) -> None:
        self._taken = {name.lower() for name in taken} | {"returns", "saves", "entries", "load_versions", "machines"}

    def of(self, dataset: str) -> str:
        """Return a new variable's name for a dataset's value; the constant's name is the same in capitals."""
        base = re.sub(r"\W+", "_", dataset.removeprefix("params:"), flags=re.ASCII).strip("_").lower() or "value"
        base = f"_{base}" if base[0].isdigit() else base
        name = next(name for name in itertools.chain([base], (f"{base}_{n}" for n in itertools.count(2))) if name not in self._taken)
        self._taken.add(name)
        return name


def _validated(spec: FunctionSpec) -> dict[str, dict[str, Any]]:
    """Return the catalog entries of a script with their validators; those of tables that the job itself loads as entries in memory."""
    entries: dict[str, dict[str, Any]] = {name: dict(entry) for name, entry in spec.entries.items()}
    for name, validator in spec.validators.items():
        entries.setdefault(name, {"type": "MemoryDataset", "copy_mode": "assign"})["validator"] = validator
    return entries


def _call(function: str, arguments: Sequence[str], indent: int) -> str:
    """Write a call on one line, or with a line for each argument if it is too long."""
    flat = f"{function}({', '.join(arguments)})"
    if len(flat) + len("returned = ") + indent <= LINE_WIDTH:
        return flat
    pad = " " * indent
    return "\n".join([f"{function}(", *(f"{pad}    {argument}," for argument in arguments), f"{pad})"])


class TrainingScriptGenerator:
    """Renders the scripts of jobs: a training's from the template that its `model_type` names.

    Args:
        templates: a folder whose `NAME.py.j2` take precedence over the shipped ones; a project's `templates/`.

    Example:
        ```python
        TrainingScriptGenerator().generate_training_script(
            model_id="model_123",
            model_type="xgboost_regression",
            target_column="price",
            feature_columns=["sqft", "bedrooms"],
            hyperparameters={"n_estimators": 100},
            storage_config={"volume_id": "vol_123", "dataset_key": "datasets/user_123/data.csv"},
        )
        ```
    """

    def __init__(self, templates: Path | str | None = None) -> None:
        # This package's own repository is a project whose templates/ are the shipped ones.
        own = templates is not None and Path(templates).resolve() != _SHIPPED.resolve()
        self._folders = [Path(str(templates))] if own else []

    def generate_training_script(
        self,
        model_id: str,
        model_type: str,
        target_column: str,
        feature_columns: Sequence[str] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        storage_config: Mapping[str, Any] | None = None,
        dataset_url: str | None = None,
        **parameters: Any,
    ) -> str:
        """Return the text of a training script that reads one dataset, by key or by URL.

        Args:
            model_id: names the job; a template may use it as `model_id`.
            model_type: a recipe, such as `xgboost_regression`, or the name of a template of the project's own.
            target_column: the column to predict.
            feature_columns: the columns to predict from; None means every column but the target.
            hyperparameters: the library's, by the names that the library gives them.
            storage_config: `dataset_key`, the dataset's key on the volume. `volume_id` and the storage secrets
                (`storage_endpoint`, `storage_access_key`, `storage_secret_key`) may stand beside it; none of them enters the text.
            dataset_url: the dataset's URL, instead of the key.
            **parameters: `validation`, `categorical_columns` and so on, and `outputs`, as in `parameters.yml`; `file_format` and
                `load_args` as in the catalog.

        Raises:
            SourceError: both key and URL are given, or neither, or the given one is not valid.
            ConfigError: a value is not valid.
            TemplateError: the template does not exist, or does not make a script.
        """
        reading = {name: parameters.pop(name) for name in ("file_format", "load_args") if name in parameters}
        outputs = parameters.pop("outputs", ("model", "metrics", "history", "importance"))
        source = make_source(dataset_url=dataset_url, dataset_key=(storage_config or {}).get("dataset_key"), **reading)
        checked = TrainingParameters.parse(
            {
                "model_type": model_type,
                "target_column": target_column,
                "feature_columns": None if feature_columns is None else tuple(feature_columns),
                "hyperparameters": plain(dict(hyperparameters or {})),
                **parameters,
            },
            where="generate_training_script",
        )
        try:
            spec = TrainingSpec(name=model_id, parameters=checked, sources={"data": source_fields(source)}, outputs=outputs)
        except ValidationError as error:
            raise ConfigError("\n".join(sentence for _, sentence in problems_of(error, TrainingSpec))) from None
        return self.render(spec)

    def render(self, spec: TrainingSpec) -> str:
        """Render the script of a training.

        Raises:
            ConfigError: the library has no such metric as the training names.
            TemplateError: names the template and the line, before anything runs or costs money.
        """
        parameters, validation_source = spec.parameters, spec.sources.get("validation")
        self.check_model_type(parameters.model_type)
        template = f"{parameters.model_type}{_SUFFIX}"
        seed = parameters.seed if parameters.seed is not None else DEFAULT_SEED
        validation = parameters.validation.model_dump(exclude_none=True)
        if validation_source is None and "column" not in validation and "folds" not in validation:
            validation = {"fraction": 0.2, **validation}
        if "time_column" not in validation and ("fraction" in validation or "folds" in validation):
            validation.setdefault("seed", seed)
        watched, hyperparameters = self._watched(parameters), dict(parameters.hyperparameters)
        if watched is not None and watched.hyperparameter is not None:
            hyperparameters[watched.hyperparameter] = watched.own
        return self._script(
            template,
            model_id=spec.name,
            model_type=parameters.model_type,
            source=_without_inferred_format(spec.sources["data"]),
            validation_source=None if validation_source is None else _without_inferred_format(validation_source),
            target_column=parameters.target_column,
            feature_columns=None if parameters.feature_columns is None else list(parameters.feature_columns),
            categorical_columns=list(parameters.categorical_columns),
            weight_column=parameters.weight_column,
            class_weight=parameters.class_weight,
            weighted=parameters.weight_column is not None or parameters.class_weight is not None,
            hyperparameters=hyperparameters,
            validation=validation,
            folds=parameters.validation.folds,
            **reading_of(spec, shipped=self.is_shipped(parameters.model_type) and self._path("_read.py.j2") == "_read.py.j2"),
            early_stopping_rounds=parameters.early_stopping_rounds,
            metric=parameters.metric,
            watched=None if watched is not None and watched.own == LOSS else watched,
            seed=seed,
            backend=parameters.backend,
            outputs=list(spec.outputs),
            workers=spec.workers,
        )

    def _watched(self, parameters: TrainingParameters) -> WatchedMetric | None:
        """Return the library's own metric of a training that names one; None too where a template of the project's own decides.

        Raises:
            ConfigError: the recipe's library has no such metric, or is given another one as a hyperparameter.
        """
        library, task = library_of(parameters.model_type), task_of(parameters.model_type)
        if parameters.metric is None or task is None:
            return None
        weighted = parameters.weight_column is not None
        problems = list(metric_problems(library, task, parameters.metric, parameters.hyperparameters, weighted=weighted))
        if problems and self.is_shipped(parameters.model_type):
            raise ConfigError("\n".join(problems))
        return watched_metric(library, task, parameters.metric, weighted=weighted)

    def render_function(self, spec: FunctionSpec) -> str:
        """Render the script that calls a user's own function.

        Raises:
            TemplateError: names the template and the line, before anything runs or costs money.
        """
        root, _, rest = spec.qualname.partition(".")
        # A function whose name the script uses itself is imported under another name.
        imported = f"{root}_of_{spec.module.rpartition('.')[2]}" if root in _RESERVED_NAMES else root
        function = f"{imported}.{rest}" if rest else imported
        names = _Names({imported, *_RESERVED_NAMES, *kwlist})
        constants, loaded, written = {}, {}, {}
        by_entry: dict[str, str] = {}
        for dataset in dict.fromkeys(spec.arguments.values() if isinstance(spec.arguments, dict) else spec.arguments):
            name = names.of(dataset)
            if dataset in spec.entries:
                by_entry[name], written[dataset] = dataset, name
                continue
            is_parameter = dataset in spec.parameters
            constants[name.upper()] = spec.parameters[dataset] if is_parameter else _without_inferred_format(spec.inputs[dataset])
            written[dataset] = name.upper() if is_parameter else name
            if not is_parameter:
                loaded[name] = (name.upper(), dataset)
        if isinstance(spec.arguments, dict):
            arguments = [f"{argument}={written[dataset]}" for argument, dataset in spec.arguments.items()]
        else:
            arguments = [written[dataset] for dataset in spec.arguments]
        return self._script(
            f"function{_SUFFIX}",
            module=spec.module,
            function=spec.qualname,
            imported=root if imported == root else f"{root} as {imported}",
            constants=constants,
            loaded=loaded,
            call=_call(function, arguments, indent=12),
            returns=list(spec.returns) if isinstance(spec.returns, tuple) else spec.returns,
            saves=spec.saves,
            entries=_validated(spec),
            validated={name for name in spec.validators if name not in spec.entries},
            by_entry=by_entry,
            files=spec.files,
            lazy=list(spec.lazy),
            load_versions=spec.load_versions,
            machines=spec.machines,
        )

    def render_prediction(self, spec: PredictionSpec) -> str:
        """Render the script that predicts a table's rows.

        Raises:
            TemplateError: names the template and the line, before anything runs or costs money.
        """
        return self._script(
            f"predict{_SUFFIX}",
            predicts_by=spec.predicts_by,
            library=spec.library,
            table=_without_inferred_format(spec.sources["data"]),
            model={"dataset_file": spec.files["model"]},
            keep=list(spec.keep),
            save=None if spec.save is None else _without_inferred_format(spec.save),
            workers=spec.workers,
        )

    def render_group(self, name: str, run: str, jobs: Mapping[str, Mapping[str, str]], keep_s: float = 0.0) -> str:
        """Render the script that runs jobs one after another, each with the environment variables that it has for itself.

        Raises:
            TemplateError: names the template and the line, before anything runs or costs money.
        """
        return self._script(f"group{_SUFFIX}", name=name, run=run, jobs={job: dict(own) for job, own in jobs.items()}, keep_s=keep_s)

    def _script(self, template: str, **values: Any) -> str:
        try:
            script = self._environment.get_template(template).render(**values)
        except jinja2.UndefinedError as error:
            raise TemplateError(f"Template {self._path(template)} uses a name that no job has: {error.message}.") from error
        except jinja2.TemplateSyntaxError as error:
            raise TemplateError(f"Template {error.filename}, line {error.lineno}: {error.message}.") from error
        except jinja2.TemplateNotFound as error:
            raise TemplateError(f"Template {self._path(template)} includes {error.name!r}, which does not exist.") from error
        except TemplateError:
            raise
        except Exception as error:  # an expression of the template's own may raise anything
            raise TemplateError(f"Template {self._path(template)} fails: {type(error).__name__}: {error}.") from error
        try:
            compile(script, template.removesuffix(".j2"), "exec")
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None)
            text = script.splitlines()[line - 1].strip() if line else ""
            place = f"line {line} of the script: {text}"
            raise TemplateError(
                f"Template {self._path(template)} makes a script that does not compile: {error.args[0]} ({place})."
            ) from error
        return script

    def check_model_type(self, model_type: str) -> None:
        """Check that a model type has a template.

        Raises:
            TemplateError: it has none; the message names the nearest model type, and all others.
        """
        if model_type not in self.model_types:
            raise TemplateError(
                f"`{model_type}` is not a model type.{did_you_mean(model_type, self.model_types)} "
                f"The model types are {', '.join(self.model_types)}. To add your own, write templates/{model_type}{_SUFFIX}."
            )

    @cached_property
    def model_types(self) -> list[str]:
        """The names of all templates, the project's own and the shipped ones."""
        names = self._environment.list_templates(filter_func=lambda name: name.endswith(_SUFFIX) and not name.startswith("_"))
        return [name.removesuffix(_SUFFIX) for name in names if "/" not in name and name.removesuffix(_SUFFIX) not in _NOT_MODEL_TYPES]

    def is_shipped(self, model_type: str) -> bool:
        """Return whether a model type's template is a shipped recipe, whose hyperparameters are known."""
        base = f"_{model_type.partition('_')[0]}"  # what the recipes of one library extend
        return not any((folder / f"{name}{_SUFFIX}").is_file() for folder in self._folders for name in (model_type, base))

    def _path(self, template: str) -> str:
        """Return a template's path as a message shows it; a shipped one's is its name."""
        for folder in self._folders:
            if (folder / template).is_file():
                return str(folder / template)
        return template

    @cached_property
    def _environment(self) -> jinja2.Environment:
        # A project's own may take the place of a shipped one between two generators.
        return _environment_of(*self._folders) if self._folders else shipped_templates()


@cache
def shipped_templates() -> jinja2.Environment:
    """Return the environment of the shipped templates alone, each of which is compiled once."""
    return _environment_of()


def _environment_of(*folders: Path) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _SHIPPED]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Python, not HTML: every value passes through `literal`
    )
    environment.filters["literal"] = literal
    return environment
