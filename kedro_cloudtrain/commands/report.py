"""`kedro cloudtrain report`: the page of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kedro.framework.startup import ProjectMetadata


@click.command()
@click.argument("run", default="latest")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), default=None, help="The file; left out, .cloudtrain/reports/RUN.html."
)
@click.pass_obj
def report(metadata: ProjectMetadata, run: str, opens: bool, output: Path | None) -> None:
    """Write the page of RUN, a run's id, the beginning of it, or `latest`: one HTML file that needs no network.

    It has a timeline, the receipt, scores beside those of earlier runs, learning curves, confusion matrices, importances, dollars, and each
    job's parameters, script and the end of its log; what has failed comes first.
    """
    from kedro_cloudtrain.runs.job_view import views_of
    from kedro_cloudtrain.runs.ledger import RunLedger
    from kedro_cloudtrain.runs.page import write_page

    ledger = RunLedger(metadata.project_path)
    record = ledger.find(run)
    file = output if output is not None else ledger.page(record.id)
    write_page(file, record, ledger.before(record), views_of(record, metadata.project_path))
    click.echo(f"Wrote {file}")
    if opens and click.launch(file.resolve().as_uri()):
        raise click.ClickException(f"No browser could be opened. The page is {file}")
