"""The card of an export, config.json: what goes in and out, and where the weights are from; and README.md from it."""

from importlib.metadata import version
from typing import Any

from omegaconf import OmegaConf

from lightning_gen.evaluation.headings import data_name, model_name
from lightning_gen.export.parts import Part, Port
from lightning_gen.models.base import GenerativeModel
from lightning_gen.runs.run import Run

CARD = "config.json"  # the name that the Hugging Face hub expects
LICENSES = {  # of the data, as their authors state them
    "mnist": "CC BY-SA 3.0",
    "mnist_small": "CC BY-SA 3.0",
    "fashion_mnist": "MIT",
    "kmnist": "CC BY-SA 4.0",
    "digits": "CC BY 4.0",
    "svhn": "for non-commercial use only",
    "celeba": "for non-commercial research only",
    "sprites": "MIT",
    "gaussians": "MIT",
}


def card_of(run: Run, model: GenerativeModel, checkpoint: str, format: str) -> dict[str, Any]:
    """The card of a model of a run, without its files: plain containers."""
    name = run.config.dataset.name
    return {
        "library": "lightning_gen",
        "format": format,
        "model": run.config.model.name,
        "title": f"{model_name(model)} on {data_name(name)}",
        "run": run.config.id,
        "checkpoint": checkpoint,
        "step": model.step_loaded,
        "images_seen": model.images_seen,
        "weights": "averaged" if model.averaged else "as trained",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_classes": model.num_classes,
        "data": {"name": name, "license": LICENSES.get(name)},
        "metrics": metrics_of(run.read_summary(), model.step_loaded),
        "versions": {"lightning_gen": version("lightning-gen"), "torch": version("torch")},
        "config": OmegaConf.to_container(run.config),
    }


def metrics_of(summary: dict[str, Any], step: int | None) -> list[dict[str, Any]]:
    """The numbers in a run's summary that are of the weights at this step, each with its protocol."""
    sources = [summary, *summary.get("evaluations", [])]
    return [
        {"name": name, "value": source["metrics"][name], "protocol": protocol}
        for source in sources
        for name, protocol in source.get("protocol", {}).items()
        if isinstance(protocol, dict) and protocol.get("step") == step and name in source.get("metrics", {})
    ]


def signature(part: Part) -> dict[str, Any]:
    """The inputs of a part in their order, and its output."""
    return {"inputs": [_port(port) for port in part.inputs], "output": _port(part.output)}


def _port(port: Port) -> dict[str, Any]:
    return {"name": port.name, "dtype": port.dtype, "shape": ["batch", *port.shape], "values": port.values}


def readme(card: dict[str, Any]) -> str:
    """The model card of the hub, README.md: front matter and a page of Markdown."""
    data, shape = card["data"], "x".join(map(str, card["image_shape"]))
    license = f", licensed under {data['license']}" if data["license"] else ""
    rows = [
        f"| `{one['name']}` | {one['value']:.6g} | {one['protocol'].get('n_fake', '')} | "
        f"{one['protocol'].get('extractor', '')} |"
        for one in card["metrics"]
    ]
    table = (
        ["| metric | value | samples | features |", "|---|---|---|---|", *rows] if rows else ["None was measured."]
    )
    lines = [
        "---",
        "library_name: lightning-gen",
        f"tags: [lightning-gen, {card['model']}]",
        "---",
        "",
        f"# {card['title']}",
        "",
        f"`model={card['model']}` with {card['parameters']:,} parameters, trained for {card['step']:,} steps on "
        f"{card['images_seen']:,} images of {data_name(data['name'])} ({shape}{license}). The weights are "
        f"{'averages over training' if card['weights'] == 'averaged' else 'those at that step'}.",
        "",
        *(["![samples](samples.png)", ""] if card.get("samples") else []),
        "```python",
        "import lightning_gen as lg",
        "",
        'model = lg.load("FOLDER")  # this folder, downloaded',
        "images = model.sample(64)  # [64, C, H, W] in [0, 1]" if card.get("samples") else "print(model)",
        "```",
        "",
        "## Metrics",
        "",
        *table,
        "",
        "Each number's full protocol, and the config of the training, are in config.json.",
    ]
    return "\n".join(lines) + "\n"
