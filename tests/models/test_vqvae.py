"""The VQ-VAE: its codebook, its two stages, and the prior that it samples from."""

import csv
import math

import pytest
import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.codebook import Codebook
from lightning_gen.networks.transformer import CodeTransformer
from lightning_gen.networks.vq import VQDecoder, VQEncoder
from lightning_gen.randomness import StepNoise
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, make_run, resume_run, train_run

SMALL = (
    "model=vqvae",
    "model.quantizer.num_codes=16",
    "model.quantizer.dim=4",
    "model.prior.width=16",
    "model.prior.depth=1",
)
SMALL += ("networks.encoder.width=8", "networks.encoder.hidden=4", "model.quantizer.revive_after=3")
SMALL += ("evaluation.held_out=20",)
PRIOR = ("model.prior.width=16", "model.prior.depth=1")
STOP = "+callbacks.stop={{_target_: tests.models.test_autoencoder.StopAt, step: {}}}"


def rows(run):
    with open(run.path / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(0)
    return build_model(make_run(tmp_path / "run", *SMALL).config, (1, 8, 8))


# -- the codebook ----------------------------------------------------------------------------------------------


def test_outputs_go_to_their_nearest_vector():
    codebook = Codebook(3, 2, decay=0.9, revive_after=5)
    codebook.vectors.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]]))
    outputs = torch.tensor([[0.4, 0.1], [0.6, 0.0], [9.0, 0.0], [0.0, 2.6]])
    assert codebook.nearest(outputs).tolist() == [0, 1, 1, 2]


@pytest.mark.parametrize("offset", [0.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_nearest_vector_is_found_in_full_precision_under_autocast(offset, dtype):
    """Squared distances are small differences of large numbers, of which half precision leaves nothing."""
    torch.manual_seed(0)
    codebook = Codebook(64, 16, decay=0.5, revive_after=1)
    codebook.vectors.add_(offset)
    outputs = torch.randn(500, 16) + offset
    expected = torch.cdist(outputs.double(), codebook.vectors.double()).argmin(dim=1)
    with torch.autocast("cpu", dtype):
        assert torch.equal(codebook.nearest(outputs), expected)
        codebook.update(outputs, expected)
    mean = torch.stack([outputs[expected == code].sum(dim=0) for code in range(64)]) / 2
    torch.testing.assert_close(codebook.sums, mean)


def test_vectors_come_to_the_mean_of_their_outputs():
    """Moving averages of a constant batch: the vectors are its cluster means, the counts its cluster sizes."""
    codebook = Codebook(2, 1, decay=0.5, revive_after=100)
    codebook.vectors.copy_(torch.tensor([[0.0], [10.0]]))
    outputs = torch.tensor([[1.0], [3.0], [3.5], [11.0]])
    for _ in range(40):
        used = codebook.update(outputs, codebook.nearest(outputs))
    assert used.tolist() == [3, 1]
    torch.testing.assert_close(codebook.vectors, torch.tensor([[2.5], [11.0]]), atol=1e-3, rtol=0)
    torch.testing.assert_close(codebook.counts, torch.tensor([3.0, 1.0]))


def test_dead_vectors_are_put_on_outputs_and_others_stay():
    codebook, noise = Codebook(4, 2, decay=0.9, revive_after=2), StepNoise(0)
    outputs = torch.arange(12.0).view(6, 2)
    codebook.revive(outputs, noise)  # at first all are dead
    assert all((vector == outputs).all(dim=1).any() for vector in codebook.vectors)
    before = codebook.vectors.clone()
    for _ in range(2):
        codebook.update(before[:1], torch.tensor([0]))
    moved = codebook.vectors.clone()
    noise.start(1)
    codebook.revive(outputs + 100, noise)
    torch.testing.assert_close(codebook.vectors[0], moved[0], rtol=0, atol=0)
    assert (codebook.vectors[1:] >= 100).all()


def test_the_gradient_passes_straight_through(model):
    """The encoder gets d error / d e as if e were its output, and beta 2 (E - e) of the commitment."""
    images = torch.rand(5, 1, 8, 8)
    model.codebook.revive(model.outputs(images).detach(), model.shared_noise)
    kept = {}

    def outputs(images, original=model.outputs):
        kept["outputs"] = original(images)
        kept["outputs"].retain_grad()
        return kept["outputs"]

    model.outputs = outputs
    model.codebook.update = lambda outputs, codes: torch.ones(16)
    model.codebook.revive = lambda *_: None
    model.first_stage(images).backward()
    chosen = model.codebook(model.codebook.nearest(kept["outputs"])).detach().requires_grad_()
    error = (model.decoder(model.flattened(chosen)).sigmoid() - images).square().sum() / 5
    (direct,) = torch.autograd.grad(error, chosen)
    commitment = 0.25 * 2 * (kept["outputs"] - chosen).detach() / 5
    torch.testing.assert_close(kept["outputs"].grad, direct + commitment)


# -- the prior ---------------------------------------------------------------------------------------------------


@pytest.fixture
def transformer():
    torch.manual_seed(0)
    made = CodeTransformer(num_codes=5, positions=6, width=8, depth=2, heads=2)
    torch.nn.init.normal_(made.head.weight)
    return made


def test_the_prior_sees_only_what_came_before(transformer):
    kept = []
    transformer.embedding.register_forward_hook(lambda module, inputs, output: kept.append(output) or output)
    codes = torch.randint(5, (1, 6))
    logits = transformer(codes)
    seen = torch.zeros(6, 6)
    for position in range(6):
        (gradient,) = torch.autograd.grad(logits[0, position].square().sum(), kept[0], retain_graph=True)
        seen[position, :5] = gradient[0].abs().sum(dim=1)
    assert torch.equal(seen > 0, torch.ones(6, 6).tril(-1) > 0)


def test_sampling_with_kept_keys_draws_from_the_model(transformer):
    """Given the same uniform numbers, the inverse distribution function of the logits of the whole sequence."""
    uniform = torch.rand(7, 6)
    drawn = transformer.sample(uniform)
    cumulated = transformer(drawn).softmax(dim=2).cumsum(dim=2)
    assert torch.equal(drawn, (cumulated <= uniform.unsqueeze(2)).sum(dim=2))


def test_its_probabilities_sum_to_one():
    torch.manual_seed(0)
    prior = CodeTransformer(num_codes=3, positions=4, width=8, depth=1, heads=2, num_classes=2)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)
    for label in (0, 1):
        torch.nn.init.normal_(prior.head.weight)
        total = (-prior.nll(every, torch.full((81,), label))).exp().sum().detach()
        assert float(total) == pytest.approx(1, abs=1e-5)


def test_an_untrained_prior_is_uniform(model):
    torch.testing.assert_close(
        model.prior_nll(Batch(torch.rand(3, 1, 8, 8), None)), torch.full((3,), 4 * math.log(16))
    )


# -- the model ---------------------------------------------------------------------------------------------------


def test_maps_survive_flattening(model):
    codes = torch.randn(3, 4 * 2 * 2)
    assert torch.equal(model.flattened(model.rows(codes)), codes)
    assert torch.equal(model.rows(codes)[1], codes.view(3, 4, 2, 2)[0, :, 0, 1])


def test_samples_are_images_of_codes(model):
    images = model.sample(5, torch.Generator().manual_seed(1))
    assert images.shape == (5, 1, 8, 8)
    assert 0 <= images.min() <= images.max() <= 1
    assert torch.equal(images, model.sample(5, torch.Generator().manual_seed(1)))
    code = model.encode(images)
    torch.testing.assert_close(model.encode(images), code)
    assert len(torch.cat([model.rows(code), model.codebook.vectors]).unique(dim=0)) == 16


def test_both_stages_are_in_the_log_and_each_moves_its_own(tmp_path):
    run, summary = train_run(tmp_path / "run", *SMALL, "model.prior_steps=4", "trainer.max_steps=10")
    table = rows(run)[1:]
    assert [float(row["train/stage"]) for row in table] == [1.0] * 6 + [2.0] * 4
    assert [bool(row["train/perplexity"]) for row in table] == [True] * 6 + [False] * 4
    assert [bool(row["train/prior_nll"]) for row in table] == [False] * 6 + [True] * 4
    assert summary["metrics"]["eval/prior_nll"] < 4 * math.log(16)
    first, _ = train_run(tmp_path / "first", *SMALL, "model.prior_steps=4", "trainer.max_steps=10", STOP.format(6))
    before, after = first.read_checkpoint()["state_dict"], run.read_checkpoint()["state_dict"]
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == (not name.startswith("prior.")), name


STAGES = (*SMALL, "model.prior_steps=5", "trainer.max_steps=12", "ema.half_life=100")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """A run through both stages."""
    return train_run(tmp_path_factory.mktemp("stages") / "straight", *STAGES)[0]


@pytest.mark.parametrize("stop", [3, 7, 10])
def test_resume_within_and_between_stages_is_bit_identical(tmp_path, straight, stop, monkeypatch):
    monkeypatch.setenv("LIGHTNING_GEN_TRUST", "tests")  # the callback that stops is none of the package
    train_run(tmp_path / "stopped", *STAGES, STOP.format(stop))
    resumed, _ = resume_run(tmp_path / "stopped", 12)
    for part in ("state_dict", "optimizer_states", "images_seen"):
        assert_same(straight.read_checkpoint()[part], resumed.read_checkpoint()[part])


def test_codes_are_revived_and_the_error_falls(tmp_path):
    options = ("model=vqvae", "model.quantizer.num_codes=64", "trainer.max_steps=150", "model.prior_steps=0")
    options += ("networks.encoder.width=16", *PRIOR, "evaluation.held_out=20")
    used = {}
    for revive_after in (10, 10**6):
        run, summary = train_run(
            tmp_path / str(revive_after), *options, f"model.quantizer.revive_after={revive_after}"
        )
        used[revive_after] = summary["metrics"]["train/perplexity"]
    assert used[10] > 2 * used[10**6]
    table = rows(run)
    assert float(table[-1]["train/reconstruction"]) < float(table[1]["train/reconstruction"])
    model = load_model(run, "last")
    images = build_data(run.config).test.images[:5] / 255
    torch.testing.assert_close(model.reconstruct(images), model.decode(model.encode(images)))


def test_a_conditional_prior_knows_the_class(tmp_path):
    options = (*SMALL, "conditional=true", "trainer.max_steps=40", "model.prior_steps=20")
    run, _ = train_run(tmp_path / "run", *options, "trainer.log_every_n_steps=20")
    model = load_model(run, "last")
    assert model.num_classes == 10
    latents = model.sample_latents(6, torch.Generator().manual_seed(0), torch.full((6,), 3))
    assert latents.shape == (6, 16 + 10)
    assert latents[:, 16 + 3].tolist() == [1] * 6
    batch = Batch(build_data(run.config).test.images[:50] / 255, build_data(run.config).test.labels[:50])
    wrong = batch._replace(labels=(batch.labels + 1) % 10)
    assert not torch.allclose(model.prior_nll(batch), model.prior_nll(wrong))


@pytest.mark.parametrize("model", ["ae", "vae", "gan"])
def test_its_networks_serve_every_model(tmp_path, model):
    options = ("networks.encoder.width=8", "trainer.max_steps=1", "networks=vq")
    assert train_run(tmp_path, f"model={model}", *options)[1]["status"] == "completed"


def test_networks_have_the_mirrored_shapes():
    encoder = VQEncoder((3, 12, 8), width=6, hidden=2)
    assert encoder.feature_shape == (6, 3, 2)
    assert encoder(torch.rand(2, 3, 12, 8)).shape == (2, encoder.num_features)
    assert VQDecoder(4 * 6, (3, 12, 8), width=6, hidden=2, spatial=True)(torch.rand(2, 24)).shape == (2, 3, 12, 8)


def test_mistakes_are_told_before_training(tmp_path):
    with pytest.raises(UserError, match="networks=vq"):
        train_run(tmp_path / "a", "model=vqvae", "networks=mlp")
    with pytest.raises(UserError, match=r"model\.prior_steps"):
        train_run(tmp_path / "b", *SMALL, "model.prior_steps=10", "trainer.max_steps=10")
    with pytest.raises(UserError, match=r"multiples of 4.*dataset\.size to 8"):
        train_run(tmp_path / "c", *SMALL, "dataset.size=10")
    with pytest.raises(UserError, match=r"model\.prior\.heads=3"):
        train_run(tmp_path / "d", *SMALL, "model.prior.heads=3")
