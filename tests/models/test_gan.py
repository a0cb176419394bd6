"""Every loss x every penalty x every conditioning; what a GAN's training does beside."""

import itertools
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.adversarial_training import split
from lightning_gen.models.gan import GAN
from lightning_gen.models.mode_collapse import collapse
from lightning_gen.networks.conv import ConvDecoder, ConvEncoder
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives import adversarial, logit_penalties, penalties
from lightning_gen.runs.loading import load_model
from tests.helpers import assert_same, make_run, resume_run, train_run

LOSSES = (
    "NonSaturating",
    "Minimax",
    "LeastSquares",
    "Hinge",
    "Wasserstein",
    "RelativisticPaired",
    "RelativisticAverage",
)
PENALTIES = {
    "none": {},
    "r1 and r2": {"r1": penalties.R1(0.1), "r2": penalties.R2(0.1)},
    "gradient penalty": {"gradient_penalty": penalties.GradientPenalty(10.0)},
    "one-sided": {"gradient_penalty": penalties.GradientPenalty(10.0, one_sided=True)},
    "dragan": {"dragan": penalties.Dragan(10.0)},
    "lecam": {"lecam": logit_penalties.LeCam(0.3)},
    "consistency": {"consistency": logit_penalties.Consistency(10.0, shift=1, fake_weight=1.0)},
    "clipping": {"weight_clipping": penalties.WeightClipping(0.1)},
}
ADAM = partial(torch.optim.Adam, lr=1e-2)
MLP = {"encoder": partial(MLPEncoder, widths=[8]), "decoder": partial(MLPDecoder, widths=[8])}

SCHEDULES = (
    "model/penalty=r1",
    "model.penalty.r1.weight={values:[2,0.5],images:[0,96]}",
    "model/augment=scheduled",
    "model.augment.p={values:[0,0.6],images:[0,96],shape:linear}",
    "model.auxiliary_weights=[{values:[0,1],images:[0,192]},1.0]",
    "model.generator_optimizer.lr={values:[2e-4,1e-4],images:[0,64]}",
    "model.generator_optimizer.betas=[0.0,{values:[0.9,0.99],images:[0,64],shape:cosine}]",
    "ema.half_life={values:[0,100],images:[0,64]}",
    "ema.ramp=null",
)


def make(shape=(1, 4, 4), loss="NonSaturating", **options):
    torch.manual_seed(0)
    options = {**MLP, "latent_dim": 3, **options}
    model = GAN(
        shape, generator_optimizer=ADAM, discriminator_optimizer=ADAM, loss=getattr(adversarial, loss)(), **options
    )
    model._trainer = SimpleNamespace(world_size=1, global_step=0)  # what the losses ask of a trainer
    return model


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("conditioning", [None, "concat", "projection", "auxiliary"])
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("loss", LOSSES)
def test_two_steps_of_every_combination(loss, penalty, conditioning, channels):
    """Finite, and each phase moves the parameters of its own network, all of them, and no other."""
    classes = {} if conditioning is None else {"conditioning": conditioning, "num_classes": 3}
    model = make((channels, 4, 4), loss, penalty=PENALTIES[penalty], **classes)
    players = {"generator": model.generator, "discriminator": model.discriminator}
    batch = Batch(torch.rand(6, channels, 4, 4), torch.arange(6) % 3)
    pairs = list(zip(model.phases, reversed(model.configure_optimizers()), strict=True))
    for step, (phase, optimizer) in itertools.product(range(2), pairs):
        before = {name: weights(player) for name, player in players.items()}
        for name, player in players.items():
            player.requires_grad_(name == phase.name)
        value = phase.loss(batch, step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        assert value.isfinite()
        assert all(scalar.isfinite() for scalar in model.scalars.values())
        for name, player in players.items():
            moved = [not torch.equal(a, b) for a, b in zip(before[name], weights(player), strict=True)]
            assert any(moved) == (name == phase.name)
            assert all(p.isfinite().all() for p in player.parameters())


def test_the_value_of_the_game_is_what_the_phases_minimize():
    """Minimax: the discriminator's loss is -V, the generator's the part of V that it moves."""
    model = make(loss="Minimax")
    batch = Batch(torch.rand(4, 1, 4, 4), None)
    value = model.discriminator_loss(batch, 0)
    model.noise.start(0)
    with torch.no_grad():
        logits = [model.judge(images)[0] for images in (batch.images, model.fakes(4, None)[0])]
    expected = logits[0].sigmoid().log().mean() + (1 - logits[1].sigmoid()).log().mean()
    assert float(value.detach()) == pytest.approx(-float(expected), rel=1e-5)
    js = float(model.scalars["train/js_estimate"])
    assert js == pytest.approx(float(torch.tensor(4.0).log() + expected) / 2, abs=1e-6)


@pytest.mark.parametrize("one_pass", [False, True])
@pytest.mark.parametrize("on_fakes", [True, False])
def test_the_class_loss_is_on_real_and_generated_images(one_pass, on_fakes):
    """Odena et al. 2017, eq. 2 and 3: the discriminator maximizes L_S + L_C, the generator L_C - L_S, where L_C is the
    log-likelihood of the right class on real and on generated images."""
    options = {"conditioning": "auxiliary", "num_classes": 3, "auxiliary_weights": (0.7, 0.2)}
    model = make(one_pass=one_pass, auxiliary_on_fakes=on_fakes, **options)
    batch = Batch(torch.rand(6, 1, 4, 4), torch.tensor([0, 1, 2, 2, 1, 0]))
    with torch.no_grad():
        fake, _ = model.fakes(6, batch.labels)
        (real_logits, real_classes, _), (fake_logits, fake_classes, _) = (
            model.discriminator.judge(images, torch.eye(3)[batch.labels]) for images in (batch.images, fake)
        )
    right = [classes.log_softmax(dim=1)[range(6), batch.labels].mean() for classes in (real_classes, fake_classes)]
    sources = model.loss.discriminator(real_logits, fake_logits).mean()
    model.noise.start(0)
    expected = sources - 0.7 * (right[0] + right[1] * on_fakes)
    torch.testing.assert_close(model.discriminator_loss(batch, 0).detach(), expected)
    model.noise.start(0)
    expected = model.loss.generator(fake_logits).mean() - 0.2 * right[1]
    torch.testing.assert_close(model.generator_loss(batch, 0).detach(), expected)


def test_lazy_penalties_count_as_often_as_they_are_left_out():
    model = make(penalty={"r1": penalties.R1(0.1, interval=4)})
    batch, plain = Batch(torch.rand(4, 1, 4, 4), None), make()
    plain.load_state_dict(model.state_dict())
    for index in range(8):
        for one in (model, plain):
            one._trainer.global_step = index
            one.begin_step()
        value, without = model.discriminator_loss(batch, index), plain.discriminator_loss(batch, index)
        logged = model.scalars["train/penalty_r1"]  # at each update, as it was when last computed
        torch.testing.assert_close(value - without, 4 * logged if index % 4 == 0 else torch.tensor(0.0))


def test_penalties_are_in_full_precision_under_autocast():
    """The losses' pass runs in bfloat16, the penalty's in float32, and so is the same number with and without."""
    model, seen = make(penalty={"r1": penalties.R1(0.1)}), []
    model.discriminator.encoder.net[1].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    batch, values = Batch(torch.rand(4, 1, 4, 4), None), []
    for enabled in (True, False):
        model.begin_step()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            model.discriminator_loss(batch, 0)
        values.append(model.scalars["train/penalty_r1"])
    assert seen == [torch.bfloat16, torch.bfloat16, torch.float32] + [torch.float32] * 3
    assert torch.equal(*values)
    assert values[0].dtype == torch.float32


def test_penalties_on_fakes_have_all_digits_under_autocast():
    """A generator in bfloat16 gives float32 images: gradients on them do not round, nor do mixtures with real ones."""
    model = make(penalty={"r2": penalties.R2(0.1), "gradient_penalty": penalties.GradientPenalty(10.0)})
    batch, draw, drawn = Batch(torch.rand(4, 1, 4, 4), None), model.fakes, []
    model.fakes = lambda *arguments: drawn.append(draw(*arguments)) or drawn[-1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model.discriminator_loss(batch, 0)
    found, seen = model.scalars, SimpleNamespace(judge=lambda images: model.judge(images)[0], input_scale=2.0)
    expected = 0.05 * penalties.squared_gradient_norm(seen, drawn[0][0]).mean()
    assert drawn[0][0].dtype == torch.float32
    torch.testing.assert_close(found["train/penalty_r2"], expected.detach())
    assert found["train/penalty_gradient_penalty"].dtype == torch.float32


def test_one_pass_and_two_differ_only_with_batch_norm():
    batch = Batch(torch.rand(8, 1, 8, 8), None)
    for norm, alike in (("none", True), ("batch", False)):
        networks = {"encoder": partial(ConvEncoder, width=8, norm=norm), "decoder": partial(ConvDecoder, width=8)}
        networks["encoder"] = partial(ConvEncoder, width=8, norm=norm)
        values = []
        for one_pass in (False, True):
            model = make((1, 16, 16), one_pass=one_pass, **networks)
            values.append(
                model.discriminator_loss(
                    Batch(torch.nn.functional.interpolate(batch.images, scale_factor=2), None), 0
                )
            )
        assert torch.allclose(*values, atol=1e-5) == alike


@pytest.mark.parametrize("frozen", [True, False])
def test_statistics_of_the_generator_stand_still_where_the_recipe_says_so(frozen):
    model = make(
        (1, 8, 8),
        encoder=partial(ConvEncoder, width=8),
        decoder=partial(ConvDecoder, width=8),
        untrack_in_d_steps=frozen,
    )
    before = [b.clone() for name, b in model.generator.named_buffers() if "running" in name]
    model.discriminator_loss(Batch(torch.rand(4, 1, 8, 8), None), 0)
    after = [b for name, b in model.generator.named_buffers() if "running" in name]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) == frozen
    model.generator_loss(Batch(torch.rand(4, 1, 8, 8), None), 0)
    assert not torch.equal(before[0], after[0])


@pytest.mark.parametrize(("prior", "least", "most"), [("uniform", -1, 1), ("truncated", -2, 2)])
def test_priors_keep_their_bounds(prior, least, most):
    model = make(latent_prior=prior)
    codes = model.sample_codes(4000, torch.Generator().manual_seed(0))
    assert least <= codes.min() < least + 0.05
    assert most - 0.05 < codes.max() <= most
    assert float(codes.mean()) == pytest.approx(0, abs=0.05)
    model.truncation = 0.5
    assert model.sample_codes(4000).abs().max() <= 0.5


def test_truncated_normal_has_its_variance():
    """1 - 2 t phi(t) / (2 Phi(t) - 1), t = 2: 0.774."""
    codes = make(latent_prior="truncated").sample_codes(200_000, torch.Generator().manual_seed(0))
    assert float(codes.var()) == pytest.approx(0.7737, abs=0.005)


def test_a_linear_output_is_clamped_only_where_it_is_shown():
    model = make(output="linear")
    with torch.no_grad():
        model.generator.net[-2].weight.mul_(100)
    latents = torch.randn(50, 3)
    assert model.generate(latents).max() > 1
    assert model.decode(latents).max() == 1


def test_labels_choose_the_class():
    """A generator that ignores its code shows the label alone, whatever is sampled."""
    model = make(num_classes=3, conditioning="concat")
    with torch.no_grad():
        model.generator.net[0].weight[:, :3] = 0
    images = model.sample(30, torch.Generator().manual_seed(0), torch.arange(3).repeat(10))
    for label in range(3):
        torch.testing.assert_close(images[label::3], images[label : label + 1].expand(10, -1, -1, -1))
    assert not torch.allclose(images[0], images[1])
    model.class_names = ("cat", "dog", "owl")
    assert model.pictures(images)["samples"].column_names == ["cat", "dog", "owl"]


def test_collapse_is_told_by_each_of_its_signs():
    told = partial(collapse, stop=False)
    assert told({"eval/diversity": 0.9, "eval/recall": 0.5, "eval/class_total_variation": 0.1}) == []
    assert "vary only 0.10 times" in told({"eval/diversity": 0.1})[0]
    assert "recall is 0.001" in told({"eval/recall": 0.001})[0]
    assert "only 2 classes" in told({"eval/class_total_variation": 0.8, "eval/classes_found": 2.0})[0]
    assert "finds 3 modes and misses 5" in told({"eval/modes_found": 3.0, "eval/modes_lost": 5.0})[0]
    with pytest.raises(UserError, match="has collapsed"):
        collapse({"eval/diversity": 0.1}, stop=True)
    (advice,) = collapse({"eval/diversity": 0.1}, stop=False, d_steps=3)
    assert "model.d_steps=4" in advice


# -- whole runs --------------------------------------------------------------------------------------------------

SMALL = ("model=gan", "networks=mlp", "trainer.log_every_n_steps=2")


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    """In float64 and with the same codes: the discriminator's first gradient is that of the whole batch."""
    model = make().double()
    whole = Batch(torch.rand(8, 1, 4, 4, dtype=torch.float64), None)
    parts = split(whole, 2)
    codes = torch.randn(8, 3, dtype=torch.float64)
    model.draw = lambda noise, count: fed.pop(0)
    fed = [codes]
    model.discriminator_loss(whole, 0).backward()
    expected = [p.grad.clone() for p in model.discriminator.parameters()]
    model.zero_grad()
    fed = list(codes.chunk(2))
    for part in parts:
        (model.discriminator_loss(part, 0) / 2).backward()
    for got, wanted in zip(model.discriminator.parameters(), expected, strict=True):
        torch.testing.assert_close(got.grad, wanted)
    _, summary = train_run(
        tmp_path, *SMALL, "trainer.max_steps=4", "trainer.accumulate_grad_batches=3", "model.d_steps=2"
    )
    assert summary["progress"]["images_seen"] == 4 * 3 * 2 * 16


@pytest.mark.parametrize(
    "options",
    [
        ("model/penalty=[r1,lecam]", "model.penalty.r1.interval=3", "model.d_steps=2"),
        (
            "conditional=true",
            "model.conditioning=auxiliary",
            "model/loss=hinge",
            "model.generator_batch_size=32",
        ),
        ("model/loss=relativistic_average", "model/penalty=[r1,r2]", "model.latent_prior=uniform"),
        ("model/augment=ada", "model.augment.speed_images=500", "model/penalty=r1", "model.one_pass=true"),
        SCHEDULES,
    ],
)
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, options):
    whole, _ = train_run(tmp_path / "whole", *SMALL, *options, "trainer.max_steps=8")
    train_run(tmp_path / "parts", *SMALL, *options, "trainer.max_steps=5")
    parts, _ = resume_run(tmp_path / "parts", 8)
    a, b = whole.read_checkpoint(), parts.read_checkpoint()
    for part in ("state_dict", "optimizer_states", "images_seen", "random_state"):
        assert_same(a[part], b[part])


def test_every_number_follows_its_schedule(tmp_path):
    """After two steps of 16 images, those of the third step; the average is then of three steps."""
    run, _ = train_run(tmp_path, *SMALL, *SCHEDULES, "trainer.max_steps=3")
    state = run.read_checkpoint()
    for optimizer in state["optimizer_states"]:
        assert optimizer["param_groups"][0]["lr"] == pytest.approx(2e-4 + 0.5 * (1e-4 - 2e-4))
        assert list(optimizer["param_groups"][0]["betas"]) == pytest.approx([0.0, 0.945])
    model = load_model(run, "last")  # as it is evaluated: after 48 images
    assert (model.penalty["r1"].weight, float(model.augment.p)) == pytest.approx((1.25, 0.3))
    assert model.auxiliary_weights == pytest.approx([0.25, 1.0])


def test_ada_is_refused_where_the_loss_has_no_boundary(tmp_path):
    options = (*SMALL, "model/loss=relativistic_paired", "trainer.max_steps=2")
    with pytest.raises(UserError, match="model/loss=relativistic_paired has no boundary"):
        train_run(tmp_path / "a", *options, "model/augment=ada")
    _, summary = train_run(tmp_path / "b", *options, "model/augment=scheduled", "model.augment.p.images=[0,32]")
    assert summary["metrics"]["train/augment_p"] == pytest.approx(0.275)  # half way, after the first 16 images
    _, summary = train_run(tmp_path / "c", *options, "model/augment=scheduled", "model.augment.p=0.2")
    assert summary["metrics"]["train/augment_p"] == pytest.approx(0.2)


def test_stop_on_collapse_ends_the_run(tmp_path, monkeypatch):
    """A generator that does not move makes the same few blots from the first step to the last."""
    monkeypatch.setattr("lightning_gen.training.callbacks.evaluation.SETTLED_IMAGES", 0)
    monkeypatch.setattr("lightning_gen.training.callbacks.evaluation.ENOUGH_SAMPLES", 20)
    options = (*SMALL, "model.generator_optimizer.lr=0", "model.on_collapse=stop", "evaluation.every_n_steps=2")
    with pytest.raises(UserError, match="the generator has collapsed"):
        train_run(tmp_path, *options, "model.discriminator_optimizer.lr=1e-4", "trainer.max_steps=4")


def test_conditional_runs_need_labels(tmp_path):
    from lightning_gen.training.train import prepare

    run = make_run(tmp_path, *SMALL, "conditional=true", "dataset.labels=false")
    with pytest.raises(UserError, match=r"conditional=true needs labels"):
        prepare(run)


def test_points_are_shown_on_the_discriminators_field(tmp_path, drawn_pictures):
    train_run(tmp_path, "model=gan", "networks=mlp", "dataset=gaussians", "trainer.max_steps=2")
    assert (tmp_path / "field" / "step_00000002.png").is_file()
