"""lightning-gen: train, evaluate, compare, sample, and look at data.

Each command but `train` and `data` takes run directories and nothing else.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lightning_gen.errors import UserError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/latest.")]
Checkpoint = Annotated[str, typer.Option(help="best, last, or the path of a checkpoint.")]
Kind = Literal["gaussian", "gmm", "two_stage", "flow"]
Prior = Annotated[
    Literal["prior", "gaussian", "gmm", "two_stage", "flow"] | None,
    typer.Option(help="Draw codes from a density fitted to them, now if fit-prior has not; prior: the model's own."),
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context) -> None:
    """Train a model: the same as python train.py, with its overrides (model=vae dataset=mnist ...)."""


@app.command()
def evaluate(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="evaluation=standard evaluation.num_samples=5000 checkpoint=best|last|PATH ..."),
    ] = None,
    prior: Prior = None,
) -> None:
    """Measure a trained model by a protocol and add the numbers, each with its protocol, to its summary.json."""
    from lightning_gen.commands.evaluate import evaluate_run

    evaluate_run(run, overrides or [], prior)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, or folders of them.")],
    csv: Annotated[Path | None, typer.Option(help="Write the table to this file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print it as Markdown.")] = False,
) -> None:
    """One table of runs against metrics: best values marked, seeds averaged, each protocol in its own column."""
    from lightning_gen.commands.compare import compare_runs

    compare_runs(runs, csv, markdown)


@app.command()
def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="How many images.")] = 64,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")] = Path("samples"),
    format: Annotated[
        Literal["grid", "png", "npz"], typer.Option(help="One grid, single PNGs, or an array.")
    ] = "grid",
    seed: Annotated[int, typer.Option(min=0, help="Of the latents.")] = 0,
    checkpoint: Checkpoint = "best",
    prior: Prior = None,
    label: Annotated[int | None, typer.Option(min=0, help="The class, for a conditional model.")] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Fewer kinds, each more typical: a GAN's codes within +-this, or StyleGAN2's styles at this part of "
            "their distance from the mean.",
        ),
    ] = None,
) -> None:
    """Draw images from a trained model."""
    from lightning_gen.commands.sample import Draw, sample_run

    print(sample_run(run, checkpoint, count, out, format, Draw(seed, prior, label, truncation)))


@app.command("fit-prior")
def fit_prior(
    run: RunArgument,
    kind: Annotated[Kind, typer.Option(help="A Gaussian, a mixture of them, a second VAE, a flow.")] = "gmm",
    components: Annotated[int, typer.Option(min=1, help="Of the mixture.")] = 10,
    checkpoint: Checkpoint = "best",
) -> None:
    """Fit a density to a model's codes, for sample --prior and evaluate --prior."""
    from lightning_gen.commands import fit_prior as command

    print(command.fit_prior(run, checkpoint, kind, components))


@app.command()
def probe(
    run: RunArgument,
    labels: Annotated[int | None, typer.Option(min=10, help="Learn from so many labels only.")] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Classify and cluster a model's codes, PCA of the same width and raw pixels beside it."""
    from lightning_gen.commands.probe import probe_run

    probe_run(run, checkpoint, labels)


@app.command()
def latents(
    run: RunArgument,
    projection: Annotated[Literal["pca", "tsne", "umap"], typer.Option(help="Of codes wider than two.")] = "pca",
    checkpoint: Checkpoint = "best",
) -> None:
    """Draw the codes of the test images, and the plane of decoded images if the codes are two-dimensional."""
    from lightning_gen.commands.latents import draw_latents

    print(draw_latents(run, checkpoint, projection))


@app.command()
def data(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="mnist, image_folder, ...: as dataset=... .")],
    overrides: Annotated[list[str] | None, typer.Argument(help="dataset.root=DIR dataset.size=64 ...")] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The PNG to write; samples/data_NAME.png.")] = None,
) -> None:
    """Show what is in a data set: counts, shapes, classes, values, memory, speed and a picture; trains nothing."""
    from lightning_gen.commands.data import describe_data

    describe_data(dataset, overrides or [], out)


def main() -> None:
    """The console command; a mistake is a line or two on standard error and exit code 2."""
    if sys.argv[1:2] == ["train"] and "--help" not in sys.argv:
        from lightning_gen.commands import train as training

        training.main(sys.argv[2:])
        return
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
