"""Exported files give the model's own numbers in a process that does not import this package."""

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.export import formats
from lightning_gen.export.parts import parts_of
from tests.export.families import FAMILIES, family, read_elsewhere, write

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("safetensors")

IN_ONNX = ("ae", "vae_mixture", "gan")  # quickly; the slow test has all families in all formats
NOT_IN_PT2 = ("stylegan2", "bigan", "wae", "factor_vae", "vae_gan", "residual", "vqgan")
WITHOUT_SAMPLER = ("vqvae", "residual", "vqgan")


def test_every_family_is_read_without_this_package(tmp_path):
    """TorchScript of all parts, and one part of most families with torch.export, of three in ONNX."""
    cards = []
    for name in FAMILIES:
        model = family(name)
        cards.append(write(tmp_path / name / "torchscript", model, "torchscript"))
        one = "encoder" if name in WITHOUT_SAMPLER else "sampler"
        if name not in NOT_IN_PT2:
            cards.append(write(tmp_path / name / "pt2", model, "pt2", one))
        if name in IN_ONNX:
            cards.append(write(tmp_path / name / "onnx", model, "onnx", one))
    found = read_elsewhere(cards, tmp_path)
    assert {key.split("/")[1] for key in found} == set(FAMILIES)
    assert {key: value for key, value in found.items() if not value < 1e-5} == {}


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "pt2"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_part_in_every_format(tmp_path, name, format):
    found = read_elsewhere([write(tmp_path / name / format, family(name), format)], tmp_path)
    assert found
    assert {key: value for key, value in found.items() if not value < 1e-5} == {}


def test_a_file_holds_only_the_weights_that_it_uses(tmp_path):
    """The sampler of a GAN has its generator, not its discriminator."""
    model = family("gan")
    formats.write_pt2(parts_of(model)["sampler"], tmp_path / "sampler.pt2")
    held = torch.export.load(tmp_path / "sampler.pt2").state_dict
    assert {name.removeprefix("weights.") for name in held} == {
        f"generator.{name}" for name in model.generator.state_dict()
    }


def test_a_missing_package_is_told(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxscript: pip install 'lightning-gen\[export\]'"):
        formats.require("onnxscript")
