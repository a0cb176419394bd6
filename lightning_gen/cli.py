"""lightning-gen: train generative models, evaluate, compare and sample them, and inspect data sets.

All commands except `train` and `data` take run directories and nothing else.
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
    typer.Option(help="Draw codes from this fitted density; fits it if needed. prior: the model's own prior."),
]


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(context: typer.Context) -> None:
    """Train a model, with overrides such as model=vae dataset=mnist. The same as python train.py."""


@app.command()
def evaluate(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="evaluation=standard evaluation.num_samples=5000 checkpoint=best|last|PATH ..."),
    ] = None,
    prior: Prior = None,
) -> None:
    """Measure a trained model by a protocol, and add the numbers with their protocol to its summary.json."""
    from lightning_gen.commands.evaluate import evaluate_run

    evaluate_run(run, overrides or [], prior)


@app.command()
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


@app.command()
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


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN|SWEEP...", help="Run directories, or folders that contain some.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page of runs or of a search: curves, pictures over time, metrics, how to run it again."""
    from lightning_gen.commands.report import write_report

    print(write_report(runs, out))


@app.command()
def watch(
    run: RunArgument,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8321,
) -> None:
    """Serve the page of a run on this machine, refreshed while it trains, and print its address."""
    from lightning_gen.commands.watch import watch as serve

    serve(run, port)


@app.command()
def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder that holds runs.")] = Path("runs"),
) -> None:
    """Print a table of all runs in a folder, the newest first, and write it to index.html in that folder."""
    from lightning_gen.commands.runs import list_runs

    list_runs(folder)


@app.command()
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


@app.command()
def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of images or rows.")] = 64,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder to write to; of a table, or a .csv or .parquet file.")
    ] = Path("samples"),
    format: Annotated[
        Literal["grid", "png", "npz", "csv", "parquet"] | None,
        typer.Option(help="One grid, single PNG files, or one array; rows of a table as csv or parquet."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the latents.")] = 0,
    checkpoint: Checkpoint = "best",
    prior: Prior = None,
    label: Annotated[int | None, typer.Option(min=0, help="The class, for a conditional model.")] = None,
    truncation: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="For GANs: less variety, more typical images. Draws codes within +-this value; for StyleGAN2, moves "
            "styles towards their mean, to this fraction of the distance.",
        ),
    ] = None,
) -> None:
    """Draw images, or rows of a table, from a trained model."""
    from lightning_gen.commands.sample import Draw, sample_run

    print(sample_run(run, checkpoint, count, out, format, Draw(seed, prior, label, truncation)))


@app.command("fit-prior")
def fit_prior(
    run: RunArgument,
    kind: Annotated[Kind, typer.Option(help="A Gaussian, a mixture of Gaussians, a second VAE, or a flow.")] = "gmm",
    components: Annotated[int, typer.Option(min=1, help="Number of Gaussians in the mixture.")] = 10,
    checkpoint: Checkpoint = "best",
) -> None:
    """Fit a density to the codes of a model, for sample --prior and evaluate --prior."""
    from lightning_gen.commands import fit_prior as command

    print(command.fit_prior(run, checkpoint, kind, components))


@app.command()
def probe(
    run: RunArgument,
    labels: Annotated[int | None, typer.Option(min=10, help="Learn from only this many labels.")] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Classify and cluster the codes of a model; compares with PCA of the same width and with raw pixels."""
    from lightning_gen.commands.probe import probe_run

    probe_run(run, checkpoint, labels)


@app.command()
def audit(
    run: RunArgument,
    shadows: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run on another random part of the images, for LiRA; repeat the option."),
    ] = None,
    images: Annotated[int, typer.Option(min=4, help="Most training images, and most others.")] = 2000,
    samples: Annotated[int, typer.Option(min=1, help="Samples that images are compared with.")] = 10_000,
    draws: Annotated[int, typer.Option(min=1, help="Draws of each image's code, for the bound of a VAE.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all of these.")] = 0,
    checkpoint: Checkpoint = "best",
) -> None:
    """Membership inference: tell training images from others, by loss, distance to samples or discriminator."""
    from lightning_gen.commands.audit import Protocol, audit_run

    audit_run(run, checkpoint, shadows or [], Protocol(images, samples, draws, seed))


@app.command()
def latents(
    run: RunArgument,
    projection: Annotated[
        Literal["pca", "tsne", "umap"], typer.Option(help="How codes of more than two dimensions are projected.")
    ] = "pca",
    checkpoint: Checkpoint = "best",
) -> None:
    """Plot the codes of the test images; for two-dimensional codes, also images decoded over the plane."""
    from lightning_gen.commands.latents import draw_latents

    print(draw_latents(run, checkpoint, projection))


@app.command()
def directions(
    run: RunArgument,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE...", help="Edit these images, or those in a folder, instead of drawing strips."
        ),
    ] = None,
    method: Annotated[
        Literal["sefa", "ganspace", "pca", "axes", "classes"],
        typer.Option(help="From the weights, early features, the codes or differences of class means."),
    ] = "sefa",
    count: Annotated[int, typer.Option(min=1, help="Number of directions; of classes, all.")] = 8,
    direction: Annotated[
        str | None, typer.Option(help="Edit along this direction alone; without images, the first test images.")
    ] = None,
    strength: Annotated[float, typer.Option(help="How far, in standard deviations of the codes.")] = 3.0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write to; by default RUN/directions.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    checkpoint: Checkpoint = "best",
) -> None:
    """Find directions in the latent space and show samples, or edit images, that move along them."""
    from lightning_gen.commands.directions import Options, directions_of_run

    directions_of_run(run, images or [], Options(method, count, direction, strength, seed, checkpoint, out))


@app.command()
def invert(
    run: RunArgument,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="Images, or folders of images; by default the first test images."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search.")] = 200,
    restarts: Annotated[int, typer.Option(min=1, max=100, help="Searches for each image; the best one counts.")] = 4,
    prior: Annotated[float, typer.Option(min=0, help="Weight of the penalty on codes that are rare.")] = 0.01,
    perceptual: Annotated[
        float, typer.Option(min=0, help="Weight of the squared distance in the features of the evaluation.")
    ] = 0.0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write to; by default RUN/inversion.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random samples that searches start from.")] = 0,
    checkpoint: Checkpoint = "best",
) -> None:
    """Find the codes, or the styles, from which a GAN makes given images."""
    from lightning_gen.commands.invert import invert_images
    from lightning_gen.evaluation.inversion import Search

    search = Search(steps, restarts, prior=prior, perceptual=perceptual)
    invert_images(run, images or [], search, seed, checkpoint, out)


@app.command()
def anomalies(
    run: RunArgument,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Of the data set of --data: dataset.root=DIR dataset.size=28 ...")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="A data set whose test images are anomalies, such as mnist.")
    ] = None,
    background: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A second run with a likelihood, for the likelihood ratio.")
    ] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws from q(z|x) for each likelihood.")] = 20,
    neighbours: Annotated[int, typer.Option(min=1, help="Distances are those to this neighbour.")] = 5,
    images: Annotated[
        int | None, typer.Option(min=1, help="Score at most so many images of each kind; by default all.")
    ] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Score test images by how strange the model finds them: anomalies are other classes, or another data set."""
    from lightning_gen.commands.anomalies import Options, find_anomalies

    options = Options(data, tuple(overrides or ()), background, draws, neighbours, images, checkpoint)
    find_anomalies(run, options)


@app.command()
def augment(
    run: RunArgument,
    labels: Annotated[
        str, typer.Option(help="Real images of each class that classifiers learn from.")
    ] = "10,100,1000",
    seeds: Annotated[int, typer.Option(min=2, help="Classifiers of each kind.")] = 3,
    generated: Annotated[int, typer.Option(min=100, help="Generated images, as many of each class.")] = 10_000,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each classifier.")] = 1500,
    checkpoint: Checkpoint = "best",
) -> None:
    """Does a classifier that also learns from generated images get better? Needs a conditional model."""
    from lightning_gen.commands.augment import augment_run, numbers_of

    augment_run(run, checkpoint, numbers_of(labels), seeds, generated, steps)


@app.command()
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


@app.command()
def export(
    run: RunArgument,
    format: Annotated[
        Literal["safetensors", "torchscript", "onnx", "pt2", "hub"],
        typer.Option(help="Weights alone, graphs for other programs, or a folder for the Hugging Face hub."),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write to; by default RUN/export/FORMAT.")
    ] = None,
    checkpoint: Checkpoint = "best",
    upload: Annotated[
        str | None,
        typer.Option(metavar="USER/NAME", help="With --format hub: also upload to this repository of the hub."),
    ] = None,
) -> None:
    """Write the decoder, the encoder and the whole sampler of a model as files for other programs, with a card."""
    from lightning_gen.commands.export import export_run

    print(export_run(run, checkpoint, format, out, upload))


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
