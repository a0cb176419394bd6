"""lightning-gen: train generative models, evaluate, compare and sample them, and inspect data sets.

All commands except `train` and `data` take run directories and nothing else.
"""

import sys

import typer

from lightning_gen.cli import models, records
from lightning_gen.errors import UserError

COMMANDS = (  # in the order of --help
    models.evaluate,
    records.compare,
    records.leaderboard,
    records.report,
    records.watch,
    records.runs,
    records.dashboard,
    models.sample,
    models.fit_prior,
    models.probe,
    models.audit,
    models.latents,
    models.directions,
    models.invert,
    models.anomalies,
    models.augment,
    records.data,
    models.export,
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context) -> None:
    """Train a model, with overrides such as model=vae dataset=mnist. The same as python train.py."""


for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """The command lightning-gen. A mistake prints one or two lines on standard error, with exit code 2."""
    if sys.argv[1:2] == ["train"]:
        from lightning_gen.commands import train as training

        training.main(sys.argv[2:])
        return
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
