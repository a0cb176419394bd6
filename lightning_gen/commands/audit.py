"""lightning-gen audit: can the training images of a run be told apart from images that it has not seen?"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor

from lightning_gen.commands.terminal import console
from lightning_gen.config.build import build_data
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.evaluation.headings import heading
from lightning_gen.evaluation.membership import ATTACKS, Audited, against_shadows, audited, scores
from lightning_gen.files import shortest, write_atomically
from lightning_gen.metrics.membership import advantage, auroc, true_positives_at
from lightning_gen.metrics.memorization import nearest_in_pixels
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import draw_samples
from lightning_gen.pictures import Grid, save_picture, to_float, to_uint8
from lightning_gen.progress import progress
from lightning_gen.runs.loading import load_image_model
from lightning_gen.runs.run import Run

RATES = (0.001, 0.01)  # false-positive rates
SHOWN = 12  # training images in the picture, and as many others


@dataclass(frozen=True)
class Protocol:
    """How an audit is made: images on each side, samples for distances, draws of codes, and the seed of them all."""

    images: int = 2000
    samples: int = 10_000
    draws: int = 10
    seed: int = 0


def audit_run(run_dir: Path, checkpoint: str, shadows: list[Path], how: Protocol) -> dict[str, Any]:
    """Attack the model of a run by membership inference; print a table, and write JSON and a picture.

    They are audit/CHECKPOINT.json and audit/CHECKPOINT.png in the run directory.

    Args:
        run_dir: the run directory.
        checkpoint: best, last, or a path.
        shadows: runs like it that were trained on other random subsets of the same images, for LiRA.
        how: the protocol.

    Returns:
        What is written: `attacks`, each with its numbers and their 95 % intervals, and `protocol`.

    Raises:
        UserError: the data have no images that the run was not trained on, or shadow runs that do not fit.
    """
    run = Run.load(run_dir)
    data = build_data(run.config)
    with progress(None, "scoring training images and others"):
        model, found = load_image_model(run, checkpoint), audited(data, how.images, how.seed)
        samples = draw_samples(model, how.samples, how.seed) if model.can_sample else None
        values = _scores(model, found, data, samples, how)
    if shadows:
        values |= _against_shadows(run, shadows, checkpoint, found, data, values, how)
    if not values:
        raise UserError(f"model={run.config.model.name} cannot be audited: it neither encodes nor samples images.")
    split = len(found.members)
    results = {name: _measured(score[:split], score[split:], how.seed) for name, score in values.items()}
    protocol: dict[str, Any] = {"members": split, "others": len(found.others), "others_from": found.source}
    protocol |= {"samples": 0 if samples is None else how.samples, "draws": how.draws, "seed": how.seed}
    protocol |= {"checkpoint": checkpoint, "step": model.step_loaded, "ema": model.averaged}
    protocol |= {"shadows": [str(path) for path in shadows], "confidence": 0.95}
    protocol["advantage"] = "threshold chosen on one half of the images, measured on the other"
    entry = {"attacks": results, "protocol": protocol}
    path = run.path / "audit" / f"{Path(checkpoint).stem}.json"
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, (json.dumps(entry, indent=2) + "\n").encode())
    _print(results, protocol, path)
    if samples is not None:
        picture = neighbours(found, samples).draw(heading(model, data.dataset, model.step_loaded))
        save_picture(picture, path.with_suffix(".png"))
        console().print(f"picture  {shortest(path.with_suffix('.png'))}, which shows training images")
    return entry


def _scores(
    model: GenerativeModel, found: Audited, data: ImageDataModule, samples: Tensor | None, how: Protocol
) -> dict[str, Tensor]:
    """The scores of members, followed by those of the others."""
    sides = [scores(model, part, data, samples, how.draws, how.seed) for part in (found.members, found.others)]
    return {name: torch.cat([side[name] for side in sides]) for name in sides[0]}


def _against_shadows(
    run: Run,
    paths: list[Path],
    checkpoint: str,
    found: Audited,
    data: ImageDataModule,
    values: dict[str, Tensor],
    how: Protocol,
) -> dict[str, Tensor]:
    if found.rows is None or len(paths) < 2:
        raise UserError(
            "--shadows needs 2 or more runs, each trained on a random part of the images, as is the audited run: "
            "train all of them with dataset.fraction=0.5 and another seed each."
        )
    total, theirs, inside = data.kept()[1], [], []
    for path in paths:
        shadow = Run.load(path)
        own = build_data(shadow.config)
        kept, of = own.kept()
        if (own.dataset, own.image_shape, of) != (data.dataset, data.image_shape, total):
            raise UserError(f"--shadows {path}: it has other images than {run.path}.")
        with progress(None, f"scoring with {shortest(path)}"):
            model = load_image_model(shadow, checkpoint)
            samples = draw_samples(model, how.samples, how.seed) if model.can_sample else None
            theirs.append(_scores(model, found, data, samples, how))
        inside.append(torch.isin(found.rows, kept))
    relative = against_shadows(values, theirs, torch.stack(inside))
    scored = ~next(iter(relative.values())).isnan()
    if min(int(side.sum()) for side in (scored[: len(found.members)], scored[len(found.members) :])) < 4:
        raise UserError("--shadows: almost every audited image is in all of these runs: give runs with other seeds.")
    return relative


def _measured(members: Tensor, others: Tensor, seed: int) -> dict[str, Any]:
    """The numbers of one attack, each with the ends of its interval; images without a score are left out."""
    members, others = members[~members.isnan()], others[~others.isnan()]
    result: dict[str, Any] = {"members": len(members), "others": len(others)}
    result["auroc"] = auroc(members, others)._asdict()
    result["advantage"] = advantage(members, others, seed)._asdict()
    for rate in RATES:
        at = true_positives_at(members, others, rate)
        result[f"tpr_at_{rate:g}"] = None if at is None else at.rate._asdict()
        result[f"fpr_of_{rate:g}"] = None if at is None else at.false_positives._asdict()
    return result


def _print(results: dict[str, Any], protocol: dict[str, Any], path: Path) -> None:
    table = Table(show_edge=False, pad_edge=False, box=None)
    columns = ("AUROC", "advantage", *(f"TPR at {100 * rate:g} % FPR" for rate in RATES))
    for title in ("attack", *columns):
        table.add_column(title, justify="left" if title == "attack" else "right", no_wrap=True)
    for name, result in results.items():
        rates = (_percent(result[f"tpr_at_{rate:g}"]) for rate in RATES)
        table.add_row(name, _shown(result["auroc"]), _shown(result["advantage"]), *rates)
    out = console()
    out.print(table)
    out.print("below each number its 95 % interval; an AUROC of 0.5 and an advantage of 0 are those of guessing")
    for name in (name for name in ATTACKS if name in results):
        out.print(f"{name}: {ATTACKS[name]}")
    if any(name.endswith("+lira") for name in results):
        out.print("+lira: relative to models that were not trained on the image (Carlini et al. 2022)")
    out.print(
        f"{protocol['members']:,} training images and {protocol['others']:,} {protocol['others_from']}; for the "
        f"advantage, one half of them chooses the threshold and the other half is measured"
    )
    out.print(f"numbers  {shortest(path)}")


def _shown(one: dict[str, float]) -> str:
    return f"{one['value']:.3f}\n{one['low']:.3f} to {one['high']:.3f}"


def _percent(one: dict[str, float] | None) -> str:
    """The rate in percent."""
    if one is None:
        return "too few images"
    value, low, high = (100 * one[name] for name in ("value", "low", "high"))
    return f"{value:.3g} %\n{low:.3g} to {high:.3g} %"


def neighbours(found: Audited, samples: Tensor) -> Grid:
    """The training images that samples come closest to, each beside its nearest sample, and the same for others."""
    stored, images, captions, names = to_uint8(samples), [], [], []
    for side, name in ((found.members.images, "trained on"), (found.others.images, "not trained on")):
        distance, index = nearest_in_pixels(side, stored)
        first = distance.argsort()[: min(SHOWN, len(side) // 4 * 4)]  # whole rows of four
        pairs = torch.stack([to_float(side[first]).cpu(), to_float(stored[index[first]]).cpu()], dim=1)
        images.append(pairs.flatten(0, 1))
        captions += [word for value in distance[first].tolist() for word in ("", f"{value:.2f}")]
        names += [name] * (len(first) // 4)
    return Grid(
        torch.cat(images),
        8,
        "The images that samples come closest to, each beside its nearest sample, with their distance",
        4 * ["image", "sample"],
        row_names=names,
        captions=captions,
        column_breaks=[2, 4, 6],
        row_breaks=[names.count(names[0])],
    )
