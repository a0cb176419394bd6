"""Pictures of anomaly scores: their histograms, and the strangest and the most ordinary images."""

import torch

from lightning_gen.evaluation.anomalies import Scores
from lightning_gen.evaluation.anomaly_images import Part, every_image
from lightning_gen.evaluation.headings import data_name
from lightning_gen.pictures import Grid, to_float
from lightning_gen.pictures.histograms import Histograms

SHOWN = 10  # strangest and most ordinary images in a picture


def histograms(scores: Scores, parts: list[Part]) -> Histograms:
    """The scores of normal images and of anomalies, which are the two `parts`."""
    normal = len(parts[0].images)
    names = [data_name(part.name) for part in parts]
    if names[0] == names[1]:  # other classes of one data set
        names = [shortened(", ".join(part.images.classes)) for part in parts]
    first, second = (f"{kind}: {name}" for kind, name in zip(("normal", "anomalies"), names, strict=True))
    groups = {score: {first: values[:normal], second: values[normal:]} for score, values in scores.values.items()}
    return Histograms(
        {score.replace("_", " "): its for score, its in groups.items()},
        f"How strange the model finds {'images' if parts[0].images.table is None else 'rows'}",
        {score.replace("_", " "): what for score, what in scores.what.items()},
    )


def shortened(text: str, most: int = 40) -> str:
    """The text, or its beginning and three dots."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def extremes(scores: Scores, name: str, parts: list[Part]) -> Grid:
    """The strangest and the most ordinary images by one score, each above the map of its error if there is one."""
    values = scores.values[name]
    order = values.nan_to_num(nan=torch.inf).argsort(descending=True, stable=True)
    count = min(SHOWN, len(order) // 2)
    shown = [order[:count], order[-count:].flip(0)]
    images = torch.cat([part.images.images for part in parts])
    known = list(every_image(parts))
    rows, names, captions = [], [], []
    for chosen, title in zip(shown, ("strangest", "most ordinary"), strict=True):
        rows.append(to_float(images[chosen]))
        names.append(title)
        captions += [f"{known[i][2]}{' *' if known[i][3] else ''}" for i in chosen.tolist()]
        if scores.errors is not None:
            rows.append(scores.errors[chosen].expand(-1, images.shape[1], -1, -1))
            names.append("its error")
            captions += [""] * count
    title = f"The strangest and the most ordinary images by {name.replace('_', ' ')}"
    title += "; an asterisk marks an anomaly" if len(parts) > 1 else ""
    return Grid(torch.cat(rows), count, title, row_names=names, captions=captions)
