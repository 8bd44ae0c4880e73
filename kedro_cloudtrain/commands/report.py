"""`kedro cloudtrain report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kedro_cloudtrain.commands.project import env_option, job_roots, open_planner

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata

    from kedro_cloudtrain.runs.job_view import JobView
    from kedro_cloudtrain.runs.record import RunRecord


@click.command()
@click.argument("run", default="latest")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=None, help="The file; left out, .cloudtrain/reports/RUN.html."
)
@env_option
@click.pass_obj
def report(metadata: ProjectMetadata, run: str, opens: bool, output: Path | None, env: str | None) -> None:
    """Write the page of RUN, a run's id, the beginning of it, or `latest`: one HTML file that needs no network.

    It has a timeline, the receipt, scores beside those of earlier runs, learning curves, confusion matrices, importances, dollars, and each
    job's parameters, script and the end of its log; what has failed comes first.
    """
    from kedro_cloudtrain.runs.ledger import RunLedger
    from kedro_cloudtrain.runs.page import write_page

    ledger = RunLedger(metadata.project_path)
    record = ledger.find(run)
    file = output if output is not None else ledger.page(record.id)
    write_page(file, record, ledger.before(record), _job_views(metadata, record, env))
    click.echo(f"Wrote {file}")
    if opens and click.launch(file.resolve().as_uri()):
        raise click.ClickException(f"No browser could be opened. The page is {file}")


def _job_views(metadata: ProjectMetadata, record: RunRecord, env: str | None) -> dict[str, JobView]:
    """Return what the folders of a run's jobs show; where the project cannot be opened, print why and return nothing."""
    from kedro_cloudtrain.errors import CloudTrainError
    from kedro_cloudtrain.runs.job_view import views_of

    try:
        with open_planner(metadata, env or record.env or None) as (planner, _):
            return views_of(record, job_roots(planner))
    except CloudTrainError as error:
        click.echo(f"The page is without its jobs' folders: {error.message}", err=True)
        return {}
