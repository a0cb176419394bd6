"""Which extractor a data set gets, and the ones that need no weights."""

import hashlib

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.metrics import extractors, inception
from lightning_gen.metrics.classifier import FeatureClassifier
from lightning_gen.metrics.dinov2 import REPOSITORY
from lightning_gen.metrics.extractors import (
    PixelExtractor,
    RandomExtractor,
    build_extractor,
    default_kind,
)

GREY = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
RGB = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
LABELS = torch.tensor([0, 1, 0, 1])


@pytest.fixture(autouse=True)
def _empty_hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.delenv(inception.ENVIRONMENT, raising=False)


def inception_file(tmp_path):
    path = tmp_path / "hub" / "checkpoints" / inception.FILE_NAMES[1]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not really")
    return path


def test_the_default_is_one_rule(tmp_path):
    assert default_kind("mnist", GREY, None)[0] == "classifier"
    assert default_kind("cifar10", RGB, LABELS)[0] == "classifier"
    assert default_kind("faces", RGB, None)[0] == "random"
    assert default_kind("faces", RGB, torch.zeros(4, 40, dtype=torch.long))[0] == "random"
    inception_file(tmp_path)
    assert default_kind("cifar10", RGB, LABELS)[0] == "inception"
    assert default_kind("cifar10", RGB[..., :16], LABELS)[0] == "classifier"
    assert default_kind("scans", GREY, None)[0] == "random"
    assert default_kind("mnist", RGB, LABELS)[0] == "classifier"


def test_build_gives_what_was_asked_for():
    assert build_extractor(dataset="mnist", images=GREY).name == "classifier-mnist-v1"
    assert build_extractor(dataset="mnist_small", images=GREY).name == "classifier-mnist-v1"  # some of its images
    assert build_extractor("random", dataset="x", images=RGB, seed=3).name == "random-conv-s3"
    assert build_extractor("pixels", dataset="x", images=RGB).num_features == 3 * 32 * 32


def test_a_labelled_data_set_gets_its_own_classifier(tmp_path, monkeypatch, digits):
    monkeypatch.setattr(extractors, "packaged_classifier", lambda dataset: None)
    from lightning_gen.metrics import classifier as module

    recipe = module.Recipe
    monkeypatch.setattr(module, "Recipe", lambda seed: recipe(seed=seed, epochs=1, min_steps=0))
    images, labels = digits[0][0][:100], digits[0][1][:100]
    net = build_extractor(dataset="mine", images=images, labels=labels, cache_dir=tmp_path / "cache")
    assert isinstance(net, FeatureClassifier)
    assert net.name == "classifier-mine-v1"
    assert len(list((tmp_path / "cache").glob("*.pt"))) == 1


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("inceptoin", {}, "Did you mean 'inception'"),
        ("classifier", {}, "no class labels"),
        ("classifier", {"labels": torch.zeros_like(LABELS)}, "or one class only"),
        ("classifier", {"labels": LABELS}, "evaluation.cache_dir"),
        ("inception", {}, "evaluation.extractor.weights"),
        ("inception", {"weights": "/no/such/file.pth"}, "/no/such/file.pth"),
        ("dinov2", {}, "torch.hub.load"),
    ],
)
def test_what_cannot_be_had_is_said_in_two_lines(kind, kwargs, message):
    with pytest.raises(UserError) as error:
        build_extractor(kind, dataset="faces", images=RGB, **kwargs)
    assert message in str(error.value)
    assert str(error.value).count("\n") <= 1


def test_a_wrong_inception_file_is_refused_before_it_is_read(tmp_path):
    pytest.importorskip("torch_fidelity")
    path = inception_file(tmp_path)
    digest = hashlib.sha256(b"not really").hexdigest()[:8]
    with pytest.raises(UserError, match=f"{digest}, not 6726825d"):
        build_extractor("inception", dataset="x", images=RGB, weights=path)


def test_inception_weights_are_looked_for_in_order(tmp_path, monkeypatch):
    hub = inception_file(tmp_path)
    assert inception.find_inception_weights() == hub
    named, other = tmp_path / "a.pth", tmp_path / "b.pth"
    named.touch()
    other.touch()
    monkeypatch.setenv(inception.ENVIRONMENT, str(other))
    assert inception.find_inception_weights() == other
    assert inception.find_inception_weights(named) == named


def test_random_features_are_seeded_and_leave_the_global_generator():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    a, b, c = (RandomExtractor(1, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert a.weights_hash == b.weights_hash != c.weights_hash
    images = torch.rand(50, 1, 28, 28)
    assert torch.equal(a(images), b(images))
    assert 0.1 < a(images).std() < 10  # neither dying nor exploding


def test_pixels_are_the_pixels():
    images = torch.rand(3, 3, 16, 24)
    assert torch.equal(PixelExtractor((3, 16, 24))(images), images.flatten(1))
    large = PixelExtractor((1, 64, 64))
    assert large(torch.rand(2, 1, 64, 64)).shape == (2, 32 * 32)
    assert large.resizer == "bilinear, antialias, to 32x32"


def test_dinov2_comes_from_the_hub_cache_alone(tmp_path):
    # A stand-in with the interface of the real repository: hubconf.py and a plain state dict.
    repository = tmp_path / "hub" / REPOSITORY
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(
        "import torch\n"
        "def dinov2_vitl14(pretrained=True):\n"
        "    assert not pretrained\n"
        "    net = torch.nn.Sequential(torch.nn.AvgPool2d(112), torch.nn.Flatten(), torch.nn.Linear(12, 5))\n"
        "    net.embed_dim = 5\n"
        "    return net\n"
    )
    state = {"2.weight": torch.eye(5, 12), "2.bias": torch.zeros(5)}
    file = tmp_path / "weights.pth"
    torch.save(state, file)
    net = build_extractor("dinov2", dataset="x", images=RGB, weights=file)
    assert net.name == "dinov2-vitl14"
    assert net.weights_hash == hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    grey = net(torch.full((2, 1, 28, 28), 0.5))
    assert grey[0, 0].item() == pytest.approx((0.5 - 0.485) / 0.229, rel=1e-3)
    assert grey[0, 4].item() == pytest.approx((0.5 - 0.456) / 0.224, rel=1e-3)


def test_features_are_in_full_float32_whatever_training_uses(monkeypatch):
    """A GPU's TF32 would move a distance by parts in a thousand; the settings of training are put back."""
    extractor, seen = RandomExtractor(channels=1), []

    def look(images):
        seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        return images.flatten(1)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        extractor.run(look, torch.rand(2, 1, 8, 8))
        assert seen == [("highest", False)]
        assert torch.get_float32_matmul_precision() == "high"
        assert torch.backends.cudnn.allow_tf32 is True
    finally:
        torch.set_float32_matmul_precision(before)
