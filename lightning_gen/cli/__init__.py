"""lightning-gen: train generative models, evaluate, compare and sample them, and inspect data sets.

All commands except `train` and `data` take run directories and nothing else.
"""

import os
import sys
from typing import Any

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
    """The command lightning-gen. A mistake prints a line on standard error, with exit code 2."""
    if sys.argv[1:2] == ["train"]:
        from lightning_gen.commands import train as training

        training.main(sys.argv[2:])
        return
    try:
        sys.exit(app(standalone_mode=False))
    except UserError as error:
        message = str(error)
    except BrokenPipeError:  # what reads the output has ended, as in `lightning-gen runs | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter would complain at its end
        sys.exit(1)
    except Exception as error:
        message = of_arguments(error)
        if not message:
            raise
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def of_arguments(error: Any) -> str:
    """The message of typer's errors about arguments; empty for other errors.

    Typer itself would draw a box of five lines. The classes of its errors have no public name.
    """
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()
        sys.exit(2)
    if not hasattr(error, "format_message"):
        return ""
    context = getattr(error, "ctx", None)
    known = f" See {context.command_path if context else 'lightning-gen'} --help."
    message = error.format_message()
    return message + ("" if message.endswith((".", "?")) else ".") + known
