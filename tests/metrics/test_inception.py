"""The Inception extractor against the three libraries that the field uses, all with one weights file.

The published file is 95 MB and may be absent, so a random one of the same shape stands in for it.
"""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.inception import InceptionExtractor, clean_resize
from lightning_gen.metrics.kernel_distance import kernel_distance
from lightning_gen.pictures import to_float

pytest.importorskip("torch_fidelity")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3 as Theirs

    folder = tmp_path_factory.mktemp("inception")
    with pytest.MonkeyPatch.context() as patch:
        torch.save({}, folder / "empty.pth")
        patch.setattr(Theirs, "load_state_dict", lambda self, state: None)
        with torch.random.fork_rng(devices=[]):
            net = Theirs("inception-v3-compat", ["2048"], str(folder / "empty.pth"))
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):  # the default would fade out over so many layers
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
    torch.save(net.state_dict(), folder / "random.pth")
    return folder / "random.pth"


@pytest.fixture(scope="module")
def ours(weights):
    return InceptionExtractor(weights, hashlib.sha256(weights.read_bytes()).hexdigest()[:8])


def images(n, seed, size=299, blobs=False):
    """uint8 [n, 3, size, size]; smoothed or not, so that two sets differ."""
    noise = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
    if blobs:
        noise = nn.functional.avg_pool2d(noise, 9, 1, 4)
    return (noise * 255).to(torch.uint8)


def test_features_equal_torch_fidelity(weights, ours):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits_unbiased"], str(weights))
    x = images(3, 0, size=32)
    features, logits = theirs(x)
    torch.testing.assert_close(ours(to_float(x)), features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.logits_from_features(features), logits, rtol=1e-5, atol=1e-4)
    assert len(ours.state_dict()) == len(torch.load(weights, weights_only=True))


def test_another_file_does_not_pass_for_the_published_one(ours, weights):
    assert ours.name == "inceptionlike-v3"
    assert ours.kind != "inception"
    assert ours.weights_hash == hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    assert ours.metric_name("fid") == "fid_inceptionlike"
    assert "TF1 bilinear" in ours.resizer


def test_the_clean_resize_is_pillows():
    x = images(2, 0, size=48)
    for side in (299, 31):  # enlarged and reduced
        ours = clean_resize(x, side)
        for image, resized in zip(x, ours, strict=True):
            for channel, found in zip(image, resized, strict=True):
                picture = Image.fromarray(channel.float().numpy(), mode="F").resize((side, side), Image.BICUBIC)
                torch.testing.assert_close(found, torch.from_numpy(np.array(picture)), rtol=0, atol=2e-4)


def test_clean_features_are_of_the_same_network(weights, ours):
    prefix = hashlib.sha256(weights.read_bytes()).hexdigest()[:8]
    clean = InceptionExtractor(weights, prefix, resize="clean")
    x = to_float(images(2, 0))  # 299x299: nothing to resize
    torch.testing.assert_close(clean(x), ours(x), rtol=1e-5, atol=1e-5)
    assert (clean.metric_name("fid"), "clean-fid" in clean.resizer) == ("fid_inceptionlike_clean", True)
    assert len(clean.state_dict()) == len(ours.state_dict())


def compare(weights, ours, n):
    """Frechet distances of n images a side: ours, torchmetrics', and pytorch-fid's where it is installed."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    real, fake = images(n, 0), images(n, 1, blobs=True)
    real_features, fake_features = (
        torch.cat([ours(to_float(part)) for part in side.split(50)]) for side in (real, fake)
    )
    found = {"ours": frechet_distance(Moments.of(fake_features), Moments.of(real_features))}
    metric = FrechetInceptionDistance(feature_extractor_weights_path=str(weights), antialias=False)
    for part in range(0, n, 50):
        metric.update(real[part : part + 50], real=True)
        metric.update(fake[part : part + 50], real=False)
    found["torchmetrics"] = float(metric.compute())
    return found, real, fake, real_features, fake_features


@pytest.mark.slow
def test_distances_equal_the_libraries_on_the_same_1000_images(weights, ours, monkeypatch):
    found, real, fake, real_features, fake_features = compare(weights, ours, 500)
    fidelity = pytest.importorskip("torch_fidelity.metric_fid")
    sides = (fidelity.fid_features_to_statistics(x) for x in (fake_features, real_features))
    theirs = fidelity.fid_statistics_to_metric(*sides, verbose=False)
    found["torch_fidelity"] = theirs["frechet_inception_distance"]
    found |= pytorch_fid(weights, real, fake, monkeypatch)
    print(found)
    for name, value in found.items():
        assert value == pytest.approx(found["ours"], rel=1e-3), name
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    theirs = kid.kid_features_to_metric(
        fake_features, real_features, kid_subsets=100, kid_subset_size=100, verbose=False
    )
    mean, std = kernel_distance(fake_features, real_features, subsets=100, subset_size=100)
    error = std / 10
    assert mean == pytest.approx(theirs["kernel_inception_distance_mean"], abs=5 * error)


def pytorch_fid(weights, real, fake, monkeypatch):
    try:
        from pytorch_fid import fid_score, inception
    except ImportError:
        return {}
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *args, **kwargs: torch.load(weights))
    # Its own x / 127.5 - 1 is not the (x - 128) / 128 of the TensorFlow graph: 1 % of the distance.
    net = inception.InceptionV3([3], resize_input=False, normalize_input=False).eval()
    statistics = []
    for side in (fake, real):
        features = [net((part.float() - 128) / 128)[0][..., 0, 0] for part in side.split(50)]
        moments = Moments.of(torch.cat(features))
        statistics += [moments.mean.numpy(), moments.covariance.numpy()]
    return {"pytorch_fid": fid_score.calculate_frechet_distance(*statistics)}
