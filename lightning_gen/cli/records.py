"""The arguments of the commands that use the records of runs, or a data set, and no model.

As in models.py, each function imports its command only when it is called.
"""

from pathlib import Path
from typing import Annotated

import typer

from lightning_gen.cli.models import RunArgument


def compare(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run directories, or folders that contain some.")
    ],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this CSV file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Print a table of runs against metrics: seeds averaged, best values marked, one column per protocol."""
    from lightning_gen.commands.compare import compare_runs

    compare_runs(runs, csv, markdown)


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(metavar="SWEEP...", help="The folder of a search, or any runs.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Order by this metric, such as eval/kid; several: by the Pareto front.")
    ] = None,
    plots: Annotated[bool, typer.Option(help="Write plots into the folder leaderboard/.")] = True,
) -> None:
    """Print the trials of a search in order, with the best one's command, and plot what the search found."""
    from lightning_gen.commands.leaderboard import show_leaderboard

    show_leaderboard(runs, metric or [], plots)


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN|SWEEP...", help="Run directories, or folders that contain some.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page of runs or of a search: curves, pictures over time, metrics, how to run it again."""
    from lightning_gen.commands.report import write_report

    print(write_report(runs, out))


def watch(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8321,
) -> None:
    """Serve the page of a run on this machine, refreshed while it trains, and print its address."""
    from lightning_gen.commands.watch import watch as serve

    serve(run, port)


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds runs.")] = Path("runs"),
) -> None:
    """Print a table of all runs in a folder, the newest first, and write it to index.html in that folder."""
    from lightning_gen.commands.runs import list_runs

    list_runs(folder)


def dashboard(
    project: Annotated[str, typer.Option(help="The project in wandb.")] = "lightning_gen",
    entity: Annotated[str | None, typer.Option(help="User or team in wandb; by default your own.")] = None,
    file: Annotated[
        Path | None, typer.Option(help="What to write, like lightning_gen/commands/dashboard.yaml, the default.")
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Without a login, write the specification into this folder.")
    ] = Path("dashboard"),
) -> None:
    """Write a workspace and a comparison report to wandb; without a login, to JSON files."""
    from lightning_gen.commands.dashboard import write_dashboard

    print("\n".join(write_dashboard(project, entity, file, out)))


def data(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help="mnist, image_folder, ...: an option of dataset=.")
    ],
    overrides: Annotated[list[str] | None, typer.Argument(help="dataset.root=DIR dataset.size=64 ...")] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The PNG file to write; by default samples/data_NAME.png.")
    ] = None,
) -> None:
    """Show what is in a data set, without training: counts, shape, classes, values, memory, speed and a picture."""
    from lightning_gen.commands.data import describe_data

    describe_data(dataset, overrides or [], out)
