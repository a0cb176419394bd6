"""A tiny untrained model of each family, and files of its parts with what they must give."""

import json
import subprocess
import sys

import torch

from lightning_gen.config.build import build_model
from lightning_gen.export.formats import FORMATS
from lightning_gen.export.parts import parts_of
from tests.helpers import composed

MLP = ("networks=mlp", "networks.encoder.widths=[8]", "networks.decoder.widths=[8]")
CONV = ("networks.encoder.width=4", "networks.decoder.width=4")
CONDITIONAL = ("conditional=true", "num_classes=3")
VQ = ("networks.encoder.width=8", "networks.decoder.width=8", "model.prior.width=8", "model.prior.depth=1")
STYLES = ("networks=stylegan2", "networks.decoder.channel_base=16", "networks.encoder.channel_base=16")
FAMILIES = {
    "ae": ("model=ae", *MLP),
    "vae": ("model=vae", *CONV),
    "vae_mixture": ("model=vae", *MLP, *CONDITIONAL, "model/prior=mixture", "model/posterior=iaf"),
    "vae_flow": ("model=vae", *MLP, "model/prior=flow", "model.latent_dim=2", "model/posterior=full_covariance"),
    "gan": ("model=gan", *MLP, *CONDITIONAL, "model.latent_prior=truncated"),
    "stylegan2": ("model=gan", *STYLES, *CONDITIONAL, "networks.decoder.style_dim=8", "networks.decoder.noise=fixed"),
    "resnet": ("model=gan", "networks=resnet", *CONV, "model.latent_prior=uniform"),
    "biggan": ("model=gan", "networks=biggan", *CONV, *CONDITIONAL, "networks.decoder.embedding=4"),
    "r3gan": ("model=gan", "networks=r3gan_small", "networks.encoder.widths=16", "networks.decoder.widths=16"),
    "gmm": ("model=gmm", "model.components=2", "model.pca_dims=4"),
    "infogan": ("model=infogan", *MLP),
    "bigan": ("model=bigan", *MLP),
    "wae": ("model=wae", *MLP),
    "factor_vae": ("model=factor_vae", *MLP),
    "vae_gan": ("model=vae_gan", *MLP, *CONDITIONAL),
    "hierarchical_vae": ("model=hierarchical_vae", *MLP, "model.latent_dims=[4,2]", "model.widths=[8]"),
    "ladder_vae": ("model=ladder_vae", *CONDITIONAL, *CONV, "networks.decoder.layers=1"),
    "vqvae": ("model=vqvae", *VQ),
    "residual": ("model=vqvae", *VQ, "model/quantizer=residual"),
    "vqgan": ("model=vqgan", *VQ),
}
READER = """
import json, sys, torch, onnxruntime
from safetensors.torch import load_file
assert "lightning_gen" not in sys.modules
differences = {}
for card in sys.argv[1:]:
    folder, card = card.rpartition("/")[0], json.load(open(card))
    for name, part in card["parts"].items():
        path, saved = f"{folder}/{part['file']}", load_file(f"{folder}/{name}.safetensors")
        if card["format"] == "onnx":
            session = onnxruntime.InferenceSession(path)
        else:
            read = torch.jit.load(path) if card["format"] == "torchscript" else torch.export.load(path).module()
        for rows in ("1", "5"):
            inputs = [saved[f"{port['name']} {rows}"] for port in part["inputs"]]
            if card["format"] == "onnx":
                named = {port["name"]: tensor.numpy() for port, tensor in zip(part["inputs"], inputs)}
                found = torch.from_numpy(session.run([part["output"]["name"]], named)[0])
            else:
                found = read(*inputs)
            wanted = saved[f"output {rows}"]
            assert list(found.shape) == [int(rows), *part["output"]["shape"][1:]]
            differences[f"{card['format']} {folder} {name} {rows}"] = float((found - wanted).abs().max())
assert "lightning_gen" not in sys.modules
print(json.dumps(differences))
"""


def family(name):
    """An untrained model, whose weights are all random, so that none hides what is wrong with another."""
    torch.manual_seed(0)
    model = build_model(composed(*FAMILIES[name]), (1, 8, 8)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def write(folder, model, format, only=None):
    """Files of the parts of a model, all or one, the card, and inputs and outputs in batches of 1 and 5; the card."""
    from safetensors.torch import save_file

    from lightning_gen.export.card import signature

    folder.mkdir(parents=True)
    suffix, write, _ = FORMATS[format]
    described = {}
    for name, part in parts_of(model).items():
        if only not in (None, name):
            continue
        write(part, folder / f"{name}{suffix}")
        described[name] = {"file": f"{name}{suffix}", **signature(part)}
        saved = {}
        for rows in (1, 5):
            inputs = part.examples(rows, seed=rows)
            saved |= {f"{port.name} {rows}": tensor for port, tensor in zip(part.inputs, inputs, strict=True)}
            saved[f"output {rows}"] = part(*inputs).contiguous()
        save_file(saved, folder / f"{name}.safetensors")
    (folder / "config.json").write_text(json.dumps({"format": format, "parts": described}))
    return folder / "config.json"


def read_elsewhere(cards, folder):
    """The largest difference of each file, found in a process that does not import this package."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", READER, *map(str, cards)], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {key.replace(str(folder), ""): value for key, value in json.loads(done.stdout.splitlines()[-1]).items()}
