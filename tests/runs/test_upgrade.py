"""Keys of earlier versions are understood: in saved configs, in saved overrides, and on the command line."""

import pytest
from omegaconf import OmegaConf

from lightning_gen.commands.arguments import present_names
from lightning_gen.config.compose import compose
from lightning_gen.runs.resume import resumed_config
from lightning_gen.runs.run import Run
from lightning_gen.runs.upgrade import renamed, upgraded, with_objective_group, with_schedules
from tests.helpers import QUICK, make_run

TWO_LAYERS = "model=hierarchical_vae"
IWAE, ELBO = (f"lightning_gen.objectives.bounds.{name}" for name in ("IWAE", "ELBO"))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model.ema_half_life=500", "ema.half_life=500"),
        ("model/schedule=cosine", "schedule=cosine"),
        ("model.schedule.warmup_steps=5", "schedule.warmup_steps=5"),
        ("+model.conditional=true", "+conditional=true"),
        ("model.encoder_from=runs/a=b", "encoder_from=runs/a=b"),
        ("logger.mode=offline", "logger.wandb.mode=offline"),
        ("model.conditioning=projection", "model.conditioning=projection"),  # only begins alike
        ("model.latent_dim=8", "model.latent_dim=8"),
        ("model.augment.transformations=bg", "model.augment.groups={blit:1.0,geometry:1.0,colour:0.0}"),
        ("model.code_dim=8", "model.quantizer.dim=8"),
        ("model.prior_steps=8", "model.prior_steps=8"),
    ],
)
def test_overrides_are_renamed(old, new):
    assert renamed(old) == new


def test_a_config_of_now_stays_as_it_is(tmp_path):
    config = make_run(tmp_path, "model=classifier", "networks=mlp").config
    assert upgraded(config) == config


def test_the_codebook_of_earlier_runs_is_a_quantizer(tmp_path):
    config = make_run(tmp_path, "model=vqvae", "model.quantizer.num_codes=64").config
    old = OmegaConf.to_container(config)
    quantizer = old["model"].pop("quantizer")
    quantizer["code_dim"] = quantizer.pop("dim")
    old["model"] |= {key: value for key, value in quantizer.items() if not key.startswith("_")}
    assert upgraded(OmegaConf.create(old)) == config


def test_metrics_that_had_a_better_direction_keep_it_in_earlier_runs(tmp_path):
    """Also if other keys change on resume; another metric has its own direction."""
    asked = ["model=ae", "checkpoint.monitor=eval/c2st", "callbacks=early_stopping"]
    asked.append("callbacks.early_stopping.monitor=eval/logits_gap")
    run = make_run(tmp_path, *asked)
    (tmp_path / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(OmegaConf.create(asked), tmp_path / ".hydra" / "overrides.yaml")
    config = upgraded(run.config)
    assert (config.checkpoint.mode, config.callbacks.early_stopping.mode) == ("min", "min")
    for new, mode in (("checkpoint.keep=2", "min"), ("checkpoint.monitor=eval/psnr", None)):
        overrides = [*(o for o in asked if o.partition("=")[0] != new.partition("=")[0]), new]
        composed = compose(overrides)
        composed.command = "python train.py"
        resumed = resumed_config(composed, run.path, overrides)
        assert (resumed.checkpoint.mode, resumed.callbacks.early_stopping.mode) == (mode, "min")
    chosen = OmegaConf.create({"checkpoint": {"monitor": "eval/c2st", "mode": "max"}, "trainer": {}})
    assert upgraded(chosen).checkpoint.mode == "max"


@pytest.mark.parametrize(
    ("node", "now"),
    [
        ({"mode": None}, {}),
        ({"_target_": "lightning_gen.loggers.tensorboard_logger", "mode": None}, {"tensorboard": {}}),
        (
            {"_target_": "lightning_gen.training.loggers.wandb_logger", "mode": "offline"},
            {"wandb": {"mode": "offline"}},
        ),
    ],
)
def test_the_one_logger_of_earlier_runs_has_a_name(node, now):
    for name, inner in now.items():
        inner["_target_"] = f"lightning_gen.training.loggers.choices.{name}_logger"
    assert upgraded(OmegaConf.create({"logger": node})).logger == now


def test_the_model_inside_a_classifier_is_upgraded_too():
    inner = {"model": {"name": "ae", "num_classes": 0, "ema_half_life": None}, "networks": {}, "seed": 0}
    model = {"name": "classifier", "source": inner, "num_classes": 10, "monitor": {}, "encoder_from": "runs/a"}
    config = upgraded(OmegaConf.create({"model": {**model, "ema_half_life": 5}, "seed": 0}))
    assert config.model == {"name": "classifier", "source": {**inner, "model": {"name": "ae"}, "num_classes": None}}
    assert (config.ema.half_life, config.num_classes, config.encoder_from) == (5, 10, "runs/a")


def test_old_names_work_on_the_command_line_and_are_told(tmp_path, train_command):
    options = (*QUICK, "model=ae", "networks=mlp", "trainer.max_steps=1", f"hydra.run.dir={tmp_path}/run")
    done = train_command(*options, "model.ema_half_life=500", "model/schedule=linear")
    assert done.returncode == 0, done.stderr
    assert "note: model.ema_half_life=500 is now ema.half_life=500" in done.stderr
    config = Run.load(tmp_path / "run").config
    assert (config.ema.half_life, config.schedule.final) == (500, 0.0)


@pytest.mark.parametrize(
    ("former", "target", "samples"),
    [
        ([TWO_LAYERS, "model.k=3"], IWAE, 3),
        ([TWO_LAYERS, "model.objective=iwae"], IWAE, 1),
        ([TWO_LAYERS, "model.objective=elbo", "model.k=7"], ELBO, 7),
        (["experiment=iwae50_2layer_mnist", "model.objective=elbo"], ELBO, 50),
        (["experiment=iwae50_2layer_mnist", "model.k=5"], IWAE, 5),
    ],
)
def test_former_overrides_compose_to_what_they_meant(former, target, samples):
    objective = compose(with_objective_group(former)).model.objective
    assert (objective._target_, objective.samples) == (target, samples)


def test_a_note_tells_the_present_overrides(capsys):
    assert present_names([TWO_LAYERS, "model.k=3"]) == [
        TWO_LAYERS,
        "model/objective=iwae",
        "model.objective.samples=3",
    ]
    assert capsys.readouterr().err == "note: model.k=3 is now model/objective=iwae model.objective.samples=3\n"


def test_other_overrides_stay_as_they_are():
    overrides = ["model=vae", "model/objective=iwae", "model.objective.samples=3", "evaluation.nll.k=5"]
    assert with_objective_group(overrides) == overrides


def test_former_configs_are_upgraded_in_a_model_inside_the_model_too():
    former = {"model": {"name": "hierarchical_vae", "objective": "elbo", "k": 4}}
    config = upgraded(OmegaConf.create({**former, "seed": 0}))
    assert config.model == {"name": "hierarchical_vae", "objective": {"_target_": ELBO, "samples": 4}}
    source = {**former, "networks": {}, "seed": 0}
    classifier = upgraded(OmegaConf.create({"model": {"name": "classifier", "source": source}}))
    assert classifier.model.source.model == config.model


BOUNDS = "lightning_gen.objectives.bounds."


@pytest.mark.parametrize(
    ("node", "key", "values", "images"),
    [
        ({"_target_": BOUNDS + "WarmUp", "steps": 10, "beta": 3.0, "cyclic": False}, "beta", [0, 3], [0, 320]),
        (
            {"_target_": BOUNDS + "WarmUp", "steps": 10, "cyclic": True, "rising": 0.25},
            "beta",
            [0, 1, 1],
            [0, 80, 320],
        ),
        ({"_target_": BOUNDS + "Capacity", "steps": 5, "capacity": 25.0}, "capacity", [0, 25], [0, 160]),
    ],
)
def test_what_counted_steps_is_a_schedule_over_images(node, key, values, images):
    """32 images a step: 16 in a batch, two batches accumulated."""
    config = {"model": {"objective": node}, "dataset": {"batch_size": 16}, "trainer": {"accumulate_grad_batches": 2}}
    objective = upgraded(OmegaConf.create(config)).model.objective
    assert (objective[key]["values"], objective[key]["images"]) == (values, images)
    assert objective["_target_"] == BOUNDS + ("Capacity" if key == "capacity" else "ELBO")


@pytest.mark.parametrize(
    ("former", "key", "values", "images"),
    [
        (["model/objective=warm_up", "model.objective.steps=10"], "beta", [0, 1], [0, 640]),
        (
            ["model/objective=cyclic", "model.objective.steps=10", "model.objective.beta=2"],
            "beta",
            [0, 2, 2],
            [0, 320, 640],
        ),
        (["model/objective=capacity", "model.objective.capacity=9"], "capacity", [0, 9], [0, 320_000]),
    ],
)
def test_former_overrides_of_schedules_compose(former, key, values, images):
    number = compose(["model=vae", *with_schedules(former)]).model.objective[key]
    assert (number["values"], number["images"]) == (values, images)
    assert with_schedules(["model=vae", "model/objective=warm_up"]) == ["model=vae", "model/objective=warm_up"]


def test_the_letters_of_adas_transformations_are_groups_without_the_filter():
    node = {"_target_": "lightning_gen.objectives.augmentation.AdaptiveAugment", "transformations": "bc", "p": 0.1}
    augment = upgraded(OmegaConf.create({"model": {"augment": node}})).model.augment
    assert augment._target_ == "lightning_gen.objectives.adaptive.AdaptiveAugment"
    assert augment.groups == {"blit": 1.0, "geometry": 0.0, "colour": 1.0}
    assert (augment.low_pass, "transformations" in augment) == (False, False)
    assert (
        compose(
            ["model=gan", "model/augment=ada", renamed("model.augment.transformations=b")]
        ).model.augment.groups.blit
        == 1
    )
