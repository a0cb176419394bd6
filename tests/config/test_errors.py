"""A mistake is a line or two on standard error that name the override, an exit code, and no traceback."""

import re

import pytest

from lightning_gen.commands import train as app
from lightning_gen.commands.help import COMMON_KEYS
from lightning_gen.config.explain import folder_not_made
from lightning_gen.config.tree import all_keys
from tests.helpers import QUICK, quick, train_run

MISTAKES = {
    "unknown model": (
        ["model=gna"],
        "model=gna does not exist: use one of ae, bigan, classifier, factor_vae, gan, gmm, hierarchical_vae, infogan, ladder_vae, vae, vae_gan, vqgan, vqvae, wae. Did you mean 'gan'?",
    ),
    "unknown data set": (
        ["dataset=mnst"],
        "dataset=mnst does not exist: use one of arrays, celeba, cifar10, cifar100, digits, emnist, fashion_mnist, "
        "gaussians, huggingface, image_folder, kmnist, mnist, mnist_small, shards, sprites, stl10, svhn, table. Did you mean 'mnist'?",
    ),
    "unknown option of a sub-group": (["model/loss=hinj"], "model/loss=hinj does not exist"),
    "a group set to nothing": (["schedule=null"], "is the name of one of its files, such as model=vae"),
    "unknown recipe": (["experiment=gan_rnig8"], "experiment=gan_rnig8 does not exist: use one of"),
    "unknown debugging": (["debug=qiuck"], "debug=qiuck does not exist: use one of quick. Did you mean 'quick'?"),
    "unknown sweep": (["-m", "sweeps=foo"], "does not exist: use one of ae_width, gan_learning_rate,"),
    "a sweep of wandb": (
        ["-m", "sweeps=wandb/gan_search"],
        "sweeps=wandb/gan_search is no sweep of Hydra: run `wandb sweep --project lightning_gen sweeps/wandb/gan_search.yaml`",
    ),
    "a sweep of wandb by its former name": (["-m", "sweeps=wandb_gan"], "sweeps/wandb/NAME.yaml`, then"),
    "a sweep of wandb, short": (["sweeps=wandb_vae_beta"], "sweeps/wandb/vae_beta.yaml`, then"),
    "adaptive augmentation without a boundary": (
        ["model/augment=ada", "model/loss=wasserstein"],
        "model/loss=wasserstein has no boundary",
    ),
    "no steps for the first stage": (["model=vqvae", "model.prior_steps=9000"], "model.prior_steps=9000"),
    "no steps after layer-wise training": (
        ["model=ae", "networks=mlp", "model.pretrain.steps_per_layer=9000"],
        "trainer.max_steps=3000 is less than",
    ),
    "a generator batch that devices do not divide": (
        ["trainer.devices=3", "dataset.batch_size=63", "model.generator_batch_size=64"],
        "model.generator_batch_size=64",
    ),
    "a run directory that cannot be made": (["hydra.run.dir=/proc/x/y"], "hydra.run.dir: /proc/x"),
    "another directory for a run that goes on": (
        ["resume=RUN", "hydra.run.dir=elsewhere"],
        "hydra.run.dir=elsewhere: a run goes on in its own directory",
    ),
    "a run directory that is a file": ([f"hydra.run.dir={__file__}"], "test_errors.py cannot be made (File exists)"),
    "a folder of a grid that cannot be made": (
        ["-m", "seed=0,1", "hydra.sweep.dir=/proc/x/y"],
        "hydra.sweep.dir: /proc/x",
    ),
    "configs that are not there": (["--config-dir", "/nope"], "'/nope' not found"),
    "unknown schedule": (["schedule=cosin"], "Did you mean 'cosine'?"),
    "unknown average": (["ema=avrage"], "Did you mean 'average'?"),
    "best at an end that does not exist": (["checkpoint.mode=minimum"], "must be min, max or null"),
    "best by a metric without a better end": (
        ["checkpoint.monitor=eval/auth_pct"],
        "set checkpoint.mode=min or checkpoint.mode=max",
    ),
    "an encoder for a model that takes none": (["encoder_from=runs/a"], "is for model=classifier, not for model=gan"),
    "misspelt key": (["trainer.max_step=5"], "no config key 'trainer.max_step'. Did you mean 'trainer.max_steps'?"),
    "misspelt key of the model": (["model.latent_dims=5"], "Did you mean 'model.latent_dim'?"),
    "misspelt group": (["modle=gan"], "Did you mean 'model'?"),
    "key of another model": (["model=ae", "model.beta=2"], "no config key 'model.beta'"),
    "value that is not a number": (["trainer.max_steps=many"], "trainer.max_steps"),
    "size that cannot be divided": (["dataset.size=30"], "Set dataset.size to 28, or networks=mlp"),
    "size that is too small": (["dataset.size=6"], "Set dataset.size to 8 or more, or networks=mlp"),
    "size of zero": (["dataset.size=0"], "dataset.size=0"),
    "channels": (["dataset.channels=2"], "dataset.channels=2"),
    "batch that devices do not divide": (["trainer.devices=3", "dataset.batch_size=64"], "use 63 or 66"),
    "batch of nothing": (["dataset.batch_size=0"], "dataset.batch_size=0 must be a whole number, 1 or more"),
    "more GPUs than there are": (["hardware=gpu", "trainer.devices=2"], "GPU"),
    "no GPU": (["hardware=gpu"], "use hardware=auto or hardware=cpu"),
    "devices that are not a number": (["trainer.devices=two"], "trainer.devices=two"),
    "a data set without a name": (["model=wae", "dataset.name="], "dataset.name is empty: name the data set"),
    "missing data": (["dataset=mnist", "dataset.root=/nonexistent"], "set dataset.root to the folder that contains"),
    "resume of nothing": (["resume=/nonexistent"], "resume=/nonexistent is not a run directory"),
    "negative seed": (["seed=-1"], "seed=-1"),
    "a penalty without a name": (
        ["~model.penalty", "+model.penalty={_target_: lightning_gen.objectives.penalties.R1, weight: 0.1}"],
        "conf/model/penalty/r1.yaml, write `r1: {_target_: lightning_gen.objectives.penalties.R1, weight: 1.0}`",
    ),
    "values of a penalty that was not chosen": (
        ["experiment=gan_ring8", "model/penalty=none"],
        "set model.penalty.r1.weight=0",
    ),
    "a penalty chosen with a dot": (["model.penalty=r1"], "chosen with a slash, model/penalty=r1"),
    "a part of other models": (["model=vae", "model/penalty=r1"], "but of model=bigan, gan, infogan, vae_gan, wae"),
    "values of an option that was not chosen": (["model.loss.hinge=1"], "until model/loss=hinge is chosen"),
    "a key without its group": (["latent_dim=3"], "Did you mean 'model.latent_dim'?"),
    "unknown penalty in a list": (["model/penalty=[r1,lecm]"], "model/penalty=lecm does not exist: use one of"),
    "unknown way to clip": (["trainer.gradient_clip_algorithm=max"], "must be norm, value or null"),
    "batches to accumulate": (["trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches=0"),
    "unknown conditioning": (["model.conditioning=project"], "must be concat, projection or auxiliary"),
    "unknown latent prior": (["model.latent_prior=normale"], "must be normal, uniform or truncated"),
    "unknown output": (["model.output=tan"], "must be tanh, sigmoid or linear"),
    "unknown reaction": (["model.on_collapse=ignore"], "must be warn or stop"),
    "unknown buffers": (["ema.buffers=swap"], "must be average or copy"),
    "classes without labels": (
        [
            "dataset=gaussians",
            "dataset.kind=two_moons",
            "networks=mlp",
            "dataset.labels=false",
            "conditional=true",
        ],
        "needs labels",
    ),
    "pairs of unequal number": (
        ["model/loss=relativistic_paired", "model.generator_batch_size=128"],
        "model.generator_batch_size must be null",
    ),
    "unnamed logger": (["logger=csv", "+logger.level=high"], "logger.level: each logger stands under a name"),
    "unknown wandb mode": (["logger=wandb", "logger.wandb.mode=on"], "logger.wandb.mode=on is not known"),
    "samples for a distance": (["evaluation.num_samples=1"], "evaluation.num_samples=1"),
    "unknown metric": (["evaluation.metrics=[fid,kidd]"], "kidd does not exist"),
    "unknown protocol": (["evaluation=quik"], "evaluation=quik does not exist"),
    "features by value": (["evaluation.extractor=pixels"], "to choose features, set evaluation/extractor=pixels"),
    "features that do not exist": (["evaluation/extractor=incepton"], "Did you mean 'inception'?"),
    "weights that are not there": (
        ["evaluation/extractor=inception", "evaluation.extractor.weights=/nonexistent"],
        "no Inception weights at /nonexistent (evaluation.extractor.weights)",
    ),
    "factors that are not known": (["evaluation.metrics=[fid,disentanglement]"], "use dataset=sprites"),
    "best by a distance that is not measured": (["evaluation.metrics=[kid]"], "checkpoint.monitor=fid"),
    "classes of features without": (
        ["evaluation.metrics=[fid,per_class]", "evaluation/extractor=random"],
        "needs an extractor that classifies",
    ),
    "a precision that a CPU lacks": (["trainer.precision=16-mixed"], "on a CPU use trainer.precision=bf16-mixed"),
    "more samples than memory": (
        ["evaluation.metrics=[fid,kid]", "evaluation.num_samples=100000000000"],
        "kid keep 25,600.0 GB of samples, and ",
    ),
    "more points than can be compared": (
        ["dataset=gaussians", "networks=mlp", "evaluation.num_samples=100000000"],
        "set it to 100000 or less",
    ),
    "unknown precision": (["trainer.precision=12"], "trainer.precision=12"),
    "unknown strategy": (["trainer.strategy=fast"], "trainer.strategy=fast"),
    "divided weights": (["trainer.strategy=fsdp"], "trainer.strategy=fsdp divides the weights"),
    "unknown activation": (["networks=mlp", "networks.encoder.activation=rellu"], "Did you mean 'relu'?"),
    "unknown norm": (["networks.decoder.norm=batches"], "Did you mean 'batch'?"),
}


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


def fail(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        app.main(arguments)
    out, err = capsys.readouterr()
    return stop.value.code, out, err


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    arguments, expected = MISTAKES[name]
    code, out, err = fail(quick(*arguments), capsys)
    assert code == 2
    assert expected in err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) <= 2
    assert not out
    assert not list(tmp_path.rglob("config.yaml"))  # nothing began


def test_more_gpus_than_there_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    code, _, err = fail(["hardware=gpu", "trainer.devices=2", "logger=csv"], capsys)
    assert code == 2
    assert err == "error: trainer.devices=2, but this machine has 1 GPU: use at most trainer.devices=1.\n"


@pytest.mark.parametrize("damage", ["truncated", "not a checkpoint"])
def test_unreadable_checkpoint(tmp_path, capsys, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    run, _ = train_run(tmp_path / "run", "model=ae", "networks=mlp", "trainer.max_steps=1")
    for path in (run.checkpoint_path("last"), run.checkpoint_path("previous")):
        path.write_bytes(path.read_bytes()[:500] if damage == "truncated" else b"hello")
    before = (tmp_path / "run" / "config.yaml").read_text()
    code, _, err = fail([f"resume={tmp_path}/run", "trainer.max_steps=2"], capsys)
    assert code == 2
    assert "previous.ckpt cannot be read" in err
    assert len(err.splitlines()) <= 2
    assert (tmp_path / "run" / "config.yaml").read_text() == before


def test_a_mistake_in_one_job_of_a_multirun_leaves_the_others(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [*QUICK, "networks=mlp", "trainer.max_steps=1", "-m", "seed=-1,1", f"hydra.sweep.dir={tmp_path}/sweep"]
    code, out, err = fail(options, capsys)
    assert code == 2
    assert err.count("error:") == 1
    assert "completed" in out
    assert (tmp_path / "sweep" / "1" / "checkpoints" / "last.ckpt").exists()


def test_full_error_shows_the_traceback(tmp_path, monkeypatch):
    from lightning_gen.errors import UserError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(UserError):
        app.main([*QUICK, "seed=-1"])


def test_several_nodes_without_a_launcher(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = fail([*QUICK, "trainer.num_nodes=2"], capsys)
    assert code == 2
    assert err == "error: trainer.num_nodes=2 needs srun or torchrun, one process per device.\n"


def test_a_launcher_that_started_another_number(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "4")
    code, _, err = fail([*QUICK, "trainer.devices=2"], capsys)
    assert code == 2
    assert "4 processes were started" in err


@pytest.mark.parametrize("arguments", [["--help"], ["model=vae", "--help"], ["-m", "--help", "seed=1"]])
def test_help_shows_the_groups_and_trains_nothing(tmp_path, capsys, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    app.main(arguments)
    out = capsys.readouterr().out
    assert "model=" in out
    assert re.search("trainer.max_steps= +training steps\n", out)
    assert "ae, bigan, classifier, " in out
    assert "conf/model" not in out
    assert not list(tmp_path.iterdir())


def test_the_common_keys_of_the_help_exist():
    assert set(COMMON_KEYS) <= {*all_keys(), "hydra.run.dir"}


def test_other_errors_of_the_system_are_not_about_the_run_directory(tmp_path):
    made = FileNotFoundError(2, "No such file or directory", str(tmp_path / "no" / "where"))
    assert folder_not_made(made).startswith(f"hydra.run.dir: {tmp_path}/no/where cannot be made (No such file")
    assert folder_not_made(OSError(28, "No space left on device")) is None
    assert folder_not_made(PermissionError(13, "Permission denied", str(tmp_path))) is None  # a file that is there
