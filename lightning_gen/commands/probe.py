"""lightning-gen probe: how well the codes of a model classify and cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table
from torch import Tensor

from lightning_gen.commands.terminal import console
from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import in_order, permutation
from lightning_gen.data.words import worded
from lightning_gen.errors import UserError
from lightning_gen.metrics.probing import PCA, cluster_quality, probe
from lightning_gen.models.use import codes_of
from lightning_gen.pictures import to_float
from lightning_gen.progress import progress
from lightning_gen.randomness import Stream
from lightning_gen.runs.loading import load_encoder_and_data
from lightning_gen.runs.run import Run


def probe_run(run_dir: Path, checkpoint: str, labels: int | None = None) -> dict[str, Any]:
    """Classify and cluster frozen codes; the same for principal components of the same width and for raw pixels.

    Prints a table and adds it to `probes` in summary.json.

    Args:
        run_dir: the run directory. checkpoint: best, last, or a path. labels: number of labelled training images that
        the classifiers learn from, drawn by the run's seed; None: all.
            Clusters and principal components need no labels.
    """
    run = Run.load(run_dir)
    model, data = load_encoder_and_data(run, checkpoint)
    train, test = data.train, data.test
    if train.labels is None or test.labels is None:
        raise UserError(f"dataset={data.dataset} has no labels to probe with.")
    chosen = train.subset(permutation(data.seed, Stream.FIT, len(train))[: labels or len(train)])
    width = min(model.latent_dim, train.images[0].numel())
    pca = PCA(train.images, width)
    spaces: dict[str, Callable[[ImageSet], Tensor]] = {
        "codes": lambda part: codes_of(model, in_order(part, 500, model.device))[0],
        f"PCA-{width}": lambda part: pca.encode(part.images),
        "pixels": lambda part: to_float(part.images).flatten(1),
    }
    results = {}
    for name, codes in spaces.items():
        with progress(None, f"classifying and clustering {name}"):
            held_out = codes(test)
            assert chosen.labels is not None
            results[name] = probe(codes(chosen), chosen.labels, held_out, test.labels, standardize=name != "pixels")
            results[name] |= cluster_quality(held_out, test.labels, data.num_classes)
    protocol = {"labels": len(chosen), "n_test": len(test), "checkpoint": checkpoint, "ema": model.averaged}
    probes = run.read_summary().get("probes", [])
    run.write_summary(probes=[*probes, {"results": results, "protocol": protocol}])
    console().print(probe_table(results, data.unit))
    return results


def probe_table(results: dict[str, dict[str, float]], unit: str) -> Table:
    """A row for each measure and a column for each space. `unit`: what was classified, see `Run.unit`."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column(f"test {unit}")
    for name in results:
        table.add_column(worded(name, unit), justify="right")
    for measure in next(iter(results.values())):
        table.add_row(measure.replace("_", " "), *(f"{100 * column[measure]:.2f} %" for column in results.values()))
    return table
