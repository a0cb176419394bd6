"""The arguments of the commands that use the model of a run.

Each function imports its command only when it is called, so that `lightning-gen --help` is fast.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory, such as runs/latest.")]
Checkpoint = Annotated[str, typer.Option(help="best, last, or the path of a checkpoint.")]
Kind = Literal["gaussian", "gmm", "two_stage", "flow"]
Prior = Annotated[
    Literal["prior", "gaussian", "gmm", "two_stage", "flow"] | None,
    typer.Option(help="Draw codes from this fitted density; fits it if needed. prior: the model's own prior."),
]


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


def sample(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", "--count", min=1, help="Number of images or rows.")] = 64,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder, or a .png, .npz, .csv or .parquet file.")] = Path(
        "samples"
    ),
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


def fit_prior(
    run: RunArgument,
    kind: Annotated[Kind, typer.Option(help="A Gaussian, a mixture of Gaussians, a second VAE, or a flow.")] = "gmm",
    components: Annotated[int, typer.Option(min=1, help="Number of Gaussians in the mixture.")] = 10,
    checkpoint: Checkpoint = "best",
) -> None:
    """Fit a density to the codes of a model, for sample --prior and evaluate --prior."""
    from lightning_gen.commands import fit_prior as command

    print(command.fit_prior(run, checkpoint, kind, components))


def probe(
    run: RunArgument,
    labels: Annotated[int | None, typer.Option(min=10, help="Learn from only this many labels.")] = None,
    checkpoint: Checkpoint = "best",
) -> None:
    """Classify and cluster the codes of a model; compares with PCA of the same width and with raw pixels."""
    from lightning_gen.commands.probe import probe_run

    probe_run(run, checkpoint, labels)


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
    count: Annotated[
        int, typer.Option(min=1, help="Number of directions; --method classes finds one for each class.")
    ] = 8,
    direction: Annotated[
        str | None, typer.Option(help="Edit along this direction only; without IMAGE, the first test images.")
    ] = None,
    strength: Annotated[float, typer.Option(min=-100, max=100, help="How far, in standard deviations.")] = 3.0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write to; by default RUN/directions.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the samples.")] = 0,
    checkpoint: Checkpoint = "best",
) -> None:
    """Find directions in the latent space and show samples, or edit images, that move along them."""
    from lightning_gen.commands.directions import Options, directions_of_run

    directions_of_run(run, images or [], Options(method, count, direction, strength, seed, checkpoint, out))


def invert(
    run: RunArgument,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="IMAGE...", help="Images, or folders of images; by default the first test images."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the search.")] = 200,
    restarts: Annotated[int, typer.Option(min=1, max=100, help="Searches for each image; the best one counts.")] = 4,
    prior: Annotated[float, typer.Option(min=0, max=1e6, help="Weight of the penalty on rare codes.")] = 0.01,
    perceptual: Annotated[
        float, typer.Option(min=0, max=1e6, help="Weight of the squared distance in features of the evaluation.")
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
