"""What `plan` and `run` write about a mistake: the value, the place and the next step, in the same sentence."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest
import yaml
from kedro.io import AbstractDataset, DatasetError
from support.http_server import Server
from support.kedro_project import CATALOG, KEDRO, Project, edit, run

from kedro_cloudtrain.planning.catalog import reason

KEY = "  dataset_key: datasets/penguins.csv\n"


def refused(project: Project, *commands: str) -> str:
    """Return what plan and run both write about a mistake, neither with a traceback."""
    written = []
    for command in commands or ("plan", "run"):
        done = project.kedro(*(("cloudtrain", "plan") if command == "plan" else ("run", "--runner=cloudtrain")))
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not re.search(r"(?<![./])\.\.(?=\s|$)", done.stdout + done.stderr)
        written.append(" ".join((done.stdout + done.stderr).split()))
    assert not project.jobs
    return "\n".join(written)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (KEY, KEY + "  file_format: csvv\n", "file_format 'csvv' of datasets/penguins.csv is not a known format. Did you mean `csv`?"),
        (KEY, KEY + "  dataset_url: https://example.org/a.csv\n", "Cannot provide both dataset_key and dataset_url."),
        (
            KEY,
            "  dataset_url: https://example.org/a.csv\n  versioned: true\n",
            "`penguins` of the catalog cannot be made: https://example.org/a.csv is a URL, which has no versions that could be kept or",
        ),
        (KEY, KEY.replace("key", "keyy"), "CloudDataset has no argument `dataset_keyy`. Did you mean `dataset_key`?"),
        ("CloudDataset\n", "CloudDatset\n", "there is no dataset `kedro_cloudtrain.CloudDatset`. Did you mean `CloudDataset`?"),
        ("MetricsDataset", "ModelDataset", "its output `mass_metrics` is ModelDataset, and the node makes metrics, which"),
        ("ModelDataset, filepath", "ModelDataset, path", "ModelDataset has no argument `path`. Did you mean `filepath`?"),
    ],
)
def test_an_entry_that_cannot_be_made_is_one_line(project: Project, before: str, after: str, message: str) -> None:
    edit(project, "conf/base/catalog.yml", before, after)
    plan, ran = refused(project).splitlines()
    assert message in plan
    assert message in ran


@pytest.mark.measured
def test_an_output_that_kedro_cannot_make_is_found_before_the_work(project: Project) -> None:
    edit(project, "conf/base/catalog.yml", "filepath: data/08_reporting/mass.json", "filepath: data/08_reporting/mass.json, filename: x")
    message = "`mass_metrics` of the catalog cannot be made: "
    assert refused(project).count(message) == 2


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("  type: kedro_cloudtrain.CloudDataset\n", "", "'type' is missing"),
        ("type: kedro_cloudtrain.CloudDataset", "type: kedro_cloudtrain.CloudDataset\n  credentials: nobody", "credentials 'nobody'"),
        ("type: kedro_cloudtrain.CloudDataset", "type: [kedro_cloudtrain.CloudDataset", "Invalid YAML"),
        ("type: kedro_cloudtrain.CloudDataset", "- kedro_cloudtrain.CloudDataset", "Invalid YAML"),
    ],
)
def test_a_catalog_that_kedro_cannot_make_is_one_line(project: Project, before: str, after: str, message: str) -> None:
    edit(project, "conf/base/catalog.yml", before, after)
    for line in refused(project).splitlines():
        assert "The catalog cannot be made: " in line
        assert message in line, line


def test_what_a_hook_raises_about_the_catalog_keeps_its_traceback(project: Project) -> None:
    settings = project.path / "src/shop/settings.py"
    settings.write_text(
        f"{settings.read_text()}\nfrom kedro.framework.hooks import hook_impl\n\n\nclass Broken:\n    @hook_impl\n"
        "    def after_catalog_created(self):\n        raise KeyError('on purpose')\n\n\nHOOKS = (Broken(),)\n"
    )
    done = project.kedro("run", "--runner=cloudtrain")
    assert "Traceback" in done.stderr
    assert "The catalog cannot be made" not in done.stderr


@pytest.mark.measured
def test_other_commands_of_a_project_with_such_an_entry_work(project: Project) -> None:
    edit(project, "conf/base/catalog.yml", KEY, KEY + "  file_format: csvv\n")
    assert project.kedro("cloudtrain", "jobs").returncode == 0
    project.write("conf/base/catalog.yml", CATALOG.replace("type: kedro_cloudtrain.CloudDataset", "credentials: nobody"))
    done = project.kedro("cloudtrain", "jobs")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("Error: The catalog cannot be made: ")


@pytest.mark.measured
def test_a_hyperparameter_that_a_library_refuses_is_named_with_its_block(project: Project) -> None:
    edit(project, "conf/base/parameters.yml", "max_depth: 3", "eval_metric: zzzz")
    done = project.kedro("run", "--runner=cloudtrain")
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "`hyperparameters.eval_metric` is 'zzzz', which xgboost refuses: Unknown metric function zzzz.\n"
        "It is set in the `hyperparameters` of `mass` in parameters.yml."
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert "Its data is" not in done.stderr
    assert "Traceback" not in (project.jobs[0] / "log.txt").read_text()


def test_a_hyperparameter_out_of_range_costs_no_job(project: Project) -> None:
    edit(project, "conf/base/parameters.yml", "max_depth: 3", "max_depth: deep")
    assert refused(project).count("`hyperparameters.max_depth` is 'deep'. It takes a whole number from 0 on.") == 2


def test_a_library_that_is_not_installed_is_refused_with_its_extra(project: Project) -> None:
    hide(project, "xgboost")
    sentence = 'xgboost is not installed in this environment: pip install "kedro-cloudtrain[xgboost]"'
    assert refused(project).count(sentence) == 2


def test_keras_without_a_backend_is_refused_with_its_extra(project: Project) -> None:
    edit(project, "conf/base/parameters.yml", "xgboost_regression", "keras_regression")
    edit(project, "conf/base/parameters.yml", "{n_estimators: 12, max_depth: 3}", "{epochs: 2}")
    hide(project, "jax", "tensorflow", "torch")
    sentence = 'keras needs jax, tensorflow or torch, none of which is installed in this environment: pip install "kedro-cloudtrain[keras]"'
    assert refused(project).count(sentence) == 2


def hide(project: Project, *libraries: str) -> None:
    """Let a project find none of some libraries."""
    settings = project.path / "src/shop/settings.py"
    settings.write_text(
        f"{settings.read_text()}\nimport importlib.util as imports\nfound = imports.find_spec\n"
        f"imports.find_spec = lambda name, *more: None if name in {libraries!r} else found(name, *more)\n"
    )


@pytest.mark.parametrize(
    ("model_type", "target", "sentence"),
    [
        ("xgboost_regression", "species", "The target `species` holds text (such as 'Adelie'), and a regression needs numbers."),
        ("lightgbm_binary_classification", "island", "The target `island` has 3 classes ('Biscoe', 'Dream', 'Torgersen'), and a binary"),
    ],
)
def test_a_target_of_another_kind_is_refused_in_the_machines_own_words(
    project: Project, model_type: str, target: str, sentence: str
) -> None:
    project.write("conf/base/parameters.yml", f"mass: {{model_type: {model_type}, target_column: {target}}}\n")
    planned = project.kedro("cloudtrain", "plan")
    assert planned.returncode == 1
    assert sentence in planned.stdout
    ran = project.kedro("run", "--runner=cloudtrain")
    assert ran.returncode == 1
    assert sentence in ran.stderr


def test_a_kind_that_the_first_rows_do_not_show_is_left_to_the_machine(project: Project) -> None:
    table = project.path / "data/volume/datasets/penguins.csv"
    header, *rows = table.read_text().splitlines()
    column = header.split(",").index("body_mass_g")
    last = rows[-1].split(",")
    last[column] = "heavy"
    # What is larger than a megabyte is not looked at whole.
    table.write_text("\n".join([header, *rows * 80, ",".join(last)]) + "\n")
    assert project.kedro("cloudtrain", "plan").returncode == 0


def test_an_input_of_another_form_of_what_a_node_makes_need_not_exist(project: Project) -> None:
    project.write(
        "src/shop/pipeline_registry.py",
        """
        from kedro.pipeline import Pipeline, node


        def clean(frame):
            return frame.dropna()


        def rows(frame):
            return {"rows": len(frame)}


        def register_pipelines():
            return {
                "__default__": Pipeline(
                    [node(clean, "penguins", "clean@pandas", name="clean"), node(rows, "clean@again", "counted", name="rows")]
                )
            }
        """,
    )
    entry = "{type: pandas.CSVDataset, filepath: data/clean.csv}"
    project.write("conf/base/catalog.yml", CATALOG + f"clean@pandas: {entry}\nclean@again: {entry}\n")
    project.write("conf/base/cloudtrain.yml", "nodes: {rows: {}}\n")
    planned = project.kedro("cloudtrain", "plan")
    assert planned.returncode == 0, planned.stdout
    run(project)


def test_a_missing_input_is_named_by_its_path_and_the_next_step(project: Project) -> None:
    project.write(
        "conf/base/catalog.yml", CATALOG.replace(KEY, "  filepath: data/raw.csv\n").replace("kedro_cloudtrain.CloudD", "pandas.CSVD")
    )
    edit(project, "conf/base/catalog.yml", "  volume: ${globals:volume}\n", "")
    written = refused(project)
    path = project.path / "data/raw.csv"
    assert f"`penguins` would be sent from this computer, but does not exist: {path}. Put the file there, correct the entry," in written
    assert f"`penguins` cannot be sent to the machine, since it does not exist: {path} Check its entry" in written
    assert "CSVDataset(" not in written


def test_a_dataset_that_cannot_tell_whether_it_exists_is_not_refused(project: Project) -> None:
    project.write(
        "src/shop/made.py",
        """
        import pandas as pd
        from kedro.io import AbstractDataset


        class Made(AbstractDataset):
            def load(self):
                return pd.DataFrame({"x": range(40), "y": range(40)})

            def save(self, data):
                raise NotImplementedError

            def _describe(self):
                return {}
        """,
    )
    project.write("conf/base/catalog.yml", CATALOG + "made: {type: shop.made.Made}\n")
    edit(project, "src/shop/pipeline_registry.py", '"penguins"', '"made"')
    project.write(
        "conf/base/parameters.yml", "mass: {model_type: lightgbm_regression, target_column: y, hyperparameters: {n_estimators: 3}}\n"
    )
    assert project.kedro("cloudtrain", "plan").returncode == 0
    run(project)


def test_a_dead_url_has_a_next_step(project: Project) -> None:
    with Server({}) as server:
        url = server.url("penguins.csv")
    project.write("conf/base/catalog.yml", CATALOG.replace(KEY, f"  dataset_url: {url}\n").replace("  volume: ${globals:volume}\n", ""))
    done = project.kedro("cloudtrain", "plan")
    assert done.returncode == 1
    assert re.search(r"could not be read in \d+ tr(y|ies): .*\. Check dataset_url, and the network\.", done.stdout)


@pytest.mark.measured
def test_a_name_that_is_not_found_has_a_near_one_or_a_line_of_names(project: Project) -> None:
    ordinary = project.kedro("cloudtrain", "render", "summarise")
    assert ordinary.returncode == 1
    assert "summarise is an ordinary node" in ordinary.stderr
    assert "`nodes: {summarise: {}}` in cloudtrain.yml" in ordinary.stderr
    nodes = ", ".join(f'training_node("penguins", "params:mass", model="m{n}", name="fit_{n:02}")' for n in range(40))
    edit(project, "src/shop/pipeline_registry.py", "Pipeline([mass,", f"Pipeline([mass, {nodes},")
    unknown = project.kedro("cloudtrain", "render", "nope").stderr
    assert len(unknown.splitlines()[-1]) < 250
    assert "and 33 more. To list all: kedro cloudtrain plan" in unknown
    assert "Did you mean `fit_07`?" in project.kedro("cloudtrain", "render", "fti_07").stderr
    assert "Did you mean `summarise`?" in project.kedro("cloudtrain", "render", "sumarise").stderr


def test_exit_codes_and_the_json_file(project: Project) -> None:
    done = project.kedro("cloudtrain", "plan", "--output", "made/plan.json")
    assert done.returncode == 0
    assert "train_mass" in done.stdout
    written = json.loads((project.path / "made/plan.json").read_text())
    assert written["version"] == 1
    (project.path / "data/volume/datasets/penguins.csv").unlink()
    assert project.kedro("cloudtrain", "plan", "--output", "made/plan.json").returncode == 1
    refused_file = project.kedro("cloudtrain", "plan", "--output", "data/volume")
    assert refused_file.returncode == 2


COUNT = """
def count(table):
    from shop import late
    return len(table)
"""


@pytest.mark.measured
def test_what_a_function_imports_late_and_is_no_python_is_found_by_plan(project: Project) -> None:
    with_count(project)
    project.write("src/shop/late.py", "x = 1\ndef (:\n")
    for line in refused(project).splitlines():
        assert "src/shop/late.py, line 2: invalid syntax." in line


@pytest.mark.skipif(KEDRO < (1, 6), reason="a catalog has validators from Kedro 1.6 on")
@pytest.mark.parametrize(
    ("entry", "validator", "reason"),
    [
        ("penguins", "shop.checks.nope", "Could not import validator 'shop.checks.nope': "),
        ("here", "shop.val.nope", "Could not import validator 'shop.val.nope': "),
        ("counted", "shop.checks.NUMBER", "shop.checks.NUMBER"),
        ("mass_metrics", "shop.broken.check", "shop.broken.check cannot be imported: "),
        ("penguins", "shop.raising.check", "on purpose"),
    ],
)
def test_a_validator_that_cannot_be_made_is_found_by_plan_wherever_it_would_run(
    project: Project, entry: str, validator: str, reason: str
) -> None:
    with_count(project)
    project.write("src/shop/late.py", "")
    project.write("src/shop/checks.py", "NUMBER = 3\n")
    project.write("src/shop/broken.py", "def (:\n")
    project.write("src/shop/raising.py", "raise RuntimeError('on purpose')\n")
    catalog = project.path / "conf/base/catalog.yml"
    assert project.kedro("cloudtrain", "plan").returncode == 0
    entries = yaml.safe_load(catalog.read_text())
    entries[entry]["validator"] = validator
    catalog.write_text(yaml.safe_dump(entries))
    for line in refused(project).splitlines():
        assert f"`{entry}` cannot be validated: " in line
        assert reason in line


def with_count(project: Project) -> None:
    """Let a function on a machine count the penguins, of a table that it reads and of one that is sent."""
    project.write("src/shop/counting.py", COUNT)
    registry = project.path / "src/shop/pipeline_registry.py"
    nodes = 'mass, node(count, "penguins", "counted", name="count"), node(count, "here", "counted_here", name="count_here"), '
    registry.write_text("from shop.counting import count\n" + registry.read_text().replace("[mass, ", f"[{nodes}"))
    catalog = project.path / "conf/base/catalog.yml"
    catalog.write_text(
        catalog.read_text()
        + "here: {type: pandas.CSVDataset, filepath: data/volume/datasets/penguins.csv}\n"
        + "counted: {type: json.JSONDataset, filepath: data/counted.json}\n"
    )
    project.write("conf/base/cloudtrain.yml", "nodes: {count: {}, count_here: {}}\n")


def test_a_dataset_of_a_package_that_is_not_installed_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "kedro_datasets" else find_spec(name, *more))
    for kind, part in (
        ("collections.Table", 'pip install "kedro-datasets[collections]"'),
        ("kedro_cloudtrain.CloudDatset", "Did you mean"),
    ):
        with pytest.raises(DatasetError) as raised:
            AbstractDataset.from_config("table", {"type": kind})
        assert part in reason(raised.value)
