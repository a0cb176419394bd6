"""Two processes give what one gives; errors and sweeps behave with them as without."""

from pathlib import Path

import pytest
import torch

from lightning_gen.runs.run import Run
from lightning_gen.training.devices import order_backward_passes
from tests.helpers import assert_same, quick, train_by_two, train_run

TWO = ("hardware=cpu", "trainer.devices=2")
# Three chunks of samples for two processes to share, and what is made of features and of images.
METRICS = "[fid,fid_infinity,kid,inception_score,prdc,per_class,memorization,c2st,reconstruction]"
SHARED = (f"evaluation.metrics={METRICS}", "evaluation.num_samples=520")


STAGES = (
    "model.pretrain.steps_per_layer=4",
    "networks.decoder.tied=true",
    "model/corruption=masking",
    "model/regularizer=kl",  # of the mean activation over all processes
    "model.code_activation=sigmoid",
    "model.max_shift=1",
)


# Objectives and likelihoods that look at the whole batch, and the test likelihood, whose images are shared.
BATCHWISE = ("model=vae", "model/objective=beta_tc", "model/likelihood=optimal_gaussian", "conditional=true")
BATCHWISE += ("evaluation.nll.k=20", "evaluation.nll.images=50")
DISCREPANCY = ("model=vae", "model/objective=info_vae", "model/prior=mixture")


PENALIZED = (  # means over all processes, labels, several batches an update
    "model=gan",
    "model/loss=relativistic_average",
    "model/penalty=[lecam,dragan,r1]",
    "model.penalty.r1.interval=3",
    "conditional=true",
    "model.d_steps=2",
    "trainer.accumulate_grad_batches=2",
    "model.penalty.r1.weight={values:[1,0.1],images:[0,600]}",
    "model.generator_optimizer.betas=[0.5,{values:[0.9,0.99],images:[0,600],shape:cosine}]",
    "ema.half_life={values:[0,500],images:[0,600]}",
)


NORMALIZED = ("model=gan", "networks=conv", "networks.encoder.norm=batch")
NORMALIZED += ("networks.encoder.width=8", "networks.decoder.width=8", "model.d_steps=2")


STYLED = (  # random numbers inside the generator, and a penalty on it
    "model=gan",
    "networks=stylegan2",
    "networks.encoder.channel_base=128",
    "networks.encoder.channel_max=8",
    "networks.encoder.minibatch_std=0",  # groups of images are those of a process
    "networks.decoder.style_dim=8",
    "networks.decoder.noise=fresh",
    "networks.decoder.style_mixing=0.9",
    "model/penalty=path_length",
    "model/augment=ada",
    "model.augment.p=0.5",
    "model.augment.groups={filter:1,noise:1,cutout:1}",
)


@pytest.mark.parametrize(
    "options",
    [
        ("model=vae",),
        ("model=ae", *STAGES),
        BATCHWISE,
        DISCREPANCY,
        PENALIZED,
        NORMALIZED,
        STYLED,
        ("model=gmm", "model.fit=gradient"),
    ],
    ids=["vae", "stages", "batchwise", "discrepancy", "penalties", "batch norm", "styles", "mixture"],
)
def test_devices_do_not_change_the_result(tmp_path, forked_workers, options):
    """Nor the metrics. In float64, where rounding is all that could differ, and Adam does not make more of it than 1e-9."""
    shared = SHARED if options == ("model=vae",) else ()  # it has an encoder too
    networks = () if {"networks=conv", "networks=stylegan2"} & set(options) else ("networks=mlp",)
    options = (*options, *networks, *shared, "trainer.max_steps=14", "trainer.precision=64-true")
    (one, _), two = train_run(tmp_path / "one", *options), train_by_two(tmp_path / "two", *options)
    a, b = one.read_checkpoint(), two.read_checkpoint()
    batches = (2 if "model.d_steps=2" in options else 1) * (
        2 if "trainer.accumulate_grad_batches=2" in options else 1
    )
    assert (a["global_step"], a["images_seen"]) == (b["global_step"], b["images_seen"]) == (14, 224 * batches)
    assert_same(a["state_dict"], b["state_dict"], tolerance=1e-9)
    assert (two.path / "neighbours").is_dir() == bool(shared)
    assert one.read_summary()["protocol"] == two.read_summary()["protocol"]
    metrics = [run.read_summary()["metrics"] for run in (one, two)]
    for name, value in metrics[0].items():
        assert metrics[1][name] == pytest.approx(value, rel=1e-6), name


def test_gan_on_two_processes_in_multirun(tmp_path, train_command, forked_workers):
    sweep = f"hydra.sweep.dir={tmp_path}"
    done = train_command(*quick("model=gan", "networks=mlp", *TWO, "trainer.max_steps=4", "-m", "seed=0,1", sweep))
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        run = Run.load(tmp_path / str(seed))
        assert run.config.seed == seed
        assert run.read_summary()["progress"]["step"] == 4
        assert len(run.read_checkpoint()["random_state"]) == 2


def test_ranks_stay_in_sync(tmp_path, forked_workers):
    """Each rank writes a hash of its weights at the end; they are one."""
    callback = "+callbacks.probe={_target_: tests.training.test_devices.HashWeights, folder: '" + str(tmp_path) + "'}"
    train_by_two(tmp_path / "run", *NORMALIZED, "trainer.max_steps=10", callback)
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert first == second


def test_a_failure_in_a_worker_is_told_once_and_ends_all(tmp_path, train_command):
    short = ("networks=mlp", "model.optimizer.lr=1e30", f"hydra.run.dir={tmp_path}/run")
    done = train_command(*quick("model=ae", *TWO, *short))
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr
    assert Run.load(tmp_path / "run").read_summary()["status"] == "failed"


@pytest.mark.parametrize(("device", "least"), [("cuda", 10_000), ("cpu", 0)])
def test_backward_passes_of_a_gpu_begin_with_the_order_of_later_steps(device, least):
    """Recorded operations are numbered; those of the main thread must be ahead of those of a GPU's thread."""

    def number():
        return torch.zeros(1, requires_grad=True).view(1).grad_fn._sequence_nr()

    before = number()
    order_backward_passes(torch.device(device))
    assert number() - before - 1 in range(least, least * 10 + 1)


from pytorch_lightning import Callback  # noqa: E402


class HashWeights(Callback):
    """Writes a hash of the trainable weights of this rank."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def on_train_end(self, trainer, pl_module):
        import hashlib

        digest = hashlib.sha256()
        for parameter in pl_module.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        (self.folder / f"rank{trainer.global_rank}").write_text(digest.hexdigest())
