"""The commands in README.md and docs/ work as they stand there.

Every train command is composed and checked. Those that differ in more than numbers run for two steps: on a CPU, on the
bundled digits in the shape of the data set, with narrow networks. The others run on two tiny runs, at least one of which
must do.
"""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import hydra
import numpy as np
import pytest
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from typer.testing import CliRunner

from lightning_gen.cli import app
from lightning_gen.config.tree import config_dir
from lightning_gen.config.validate import validate
from lightning_gen.evaluation import fitted_priors
from tests.documents import DOCUMENTS, ROOT, Command, command, commands, written_configs
from tests.helpers import train_run

COMMANDS = list({shown.words: shown for file in DOCUMENTS for shown in commands(file)}.values())
TRAIN = [shown for shown in COMMANDS if shown.overrides is not None]

TINY = {  # where the config has the key
    "trainer.max_steps": 2,
    "trainer.devices": 1,
    "trainer.enable_progress_bar": "false",
    "report": "false",
    "dataset.batch_size": 8,
    "dataset.limit": 100,
    "evaluation.num_samples": 20,
    "evaluation.every_n_steps": 1000,
    "evaluation.held_out": 50,
    "evaluation.projection": "null",
    "evaluation.nll.k": 2,
    "evaluation.nll.images": 2,
    "evaluation.nll.chains": 2,
    "evaluation.nll.temperatures": 2,
    "networks.encoder.width": 8,
    "networks.decoder.width": 8,
    "model.pretrain.steps_per_layer": 0,
    "model.pretrain.amounts": "null",
    "model.objective.samples": 2,
    "model.prior.components": 8,
    "model.prior.widths": "[8]",
    "model.components": 4,
    "model.prior_steps": 1,
}
# Data sets that tests do not have or that are larger, as pixels a side and channels: the digits take their place.
SHAPES = {
    **dict.fromkeys(("mnist", "mnist_small", "fashion_mnist"), (28, 1)),
    "cifar10": (32, 3),
    "celeba": (64, 3),
    "image_folder": (8, 1),
}
NOT_HERE = ("huggingface", "shards")  # data sets on a network


NUMBERS = re.compile(r"[^=]+=(null|[][\d.,e:_+-]+)")


def essence(shown: Command) -> frozenset[str]:
    """What is left of a command when it is made tiny: commands with the same are run once."""
    replaced = {"logger", "hardware", "seed", "evaluation", *TINY}
    words = (word for word in shown.overrides or () if not re.fullmatch("dataset=(.*mnist(_small)?|digits)", word))
    return frozenset(word for word in words if word.split("=")[0] not in replaced and not NUMBERS.fullmatch(word))


def jobs(overrides: list[str]) -> list[list[str]]:
    """The jobs of a multirun that between them have every value: all first values, then each other value once.

    Of an interval, both ends stand for all of it.
    """
    values = [
        [f"{o.get_key_element()}={value}" for value in ends(o) or o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [str(o.input_line)]
        for o in OverridesParser.create().parse_overrides(overrides)
    ]
    first = [options[0] for options in values]
    return [first] + [[*first[:i], v, *first[i + 1 :]] for i, options in enumerate(values) for v in options[1:]]


def spelled_out(overrides: list[str]) -> list[str]:
    """The overrides with those of the space of `sweeps=NAME`."""
    names = [o.partition("=")[2] for o in overrides if o.startswith("sweeps=")]
    spaces = [OmegaConf.load(ROOT / "sweeps" / f"{name}.yaml").hydra.sweeper.params for name in names]
    return [*overrides, *(f"{key}={values}" for space in spaces for key, values in space.items())]


def ends(override: Override) -> list[float | int | None]:
    """The ends of an interval; [] for other values."""
    value = override.value()
    return [value.start, value.end] if isinstance(value, IntervalSweep) else []


def composed(overrides: list[str], folder: Path) -> DictConfig:
    """The config of one job, checked; `folder` is searched too.

    What readers write themselves is composed only: its code is not here, and test_extending.py runs it.
    """
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_dir()), version_base="1.3"):
        config = hydra.compose("train", [*overrides, f"hydra.searchpath=['file://{ROOT}','file://{folder}']"])
    if not written_by_readers(overrides):
        validate(config)
    return config


def written_by_readers(overrides: list[str]) -> bool:
    """Whether it names a config that a document tells readers to write."""
    named = (f"{key}/{name}.yaml" for key, _, names in (o.partition("=") for o in overrides) for name in split(names))
    return any(name in written_configs() for name in named)


def split(names: str) -> list[str]:
    """The options that an override names: `[a,b]` or `a`."""
    return names.strip("[]").split(",")


def tiny(overrides: list[str], config: DictConfig) -> list[str]:
    """The same in a second: on the CPU, on the digits, two steps."""
    given = {o.split("=")[0]: o for o in overrides}
    if "resume" in given:
        return [given["resume"], "trainer.max_steps=4"]
    options = {key: f"{key}={value}" for key, value in TINY.items() if OmegaConf.select(config, key) is not None}
    options |= {"logger": "logger=csv", "hardware": "hardware=cpu", "dataset.limit": "dataset.limit=100"}
    options["trainer.cuda_graphs"] = "trainer.cuda_graphs=false"  # needs a GPU
    if config.dataset.name in SHAPES:
        options["dataset"] = "dataset=digits"
        # With the encoder of a run on the digits they stay as they are.
        size, channels = (None, None) if "encoder_from" in str(given) else SHAPES[config.dataset.name]
        options["dataset.size"] = f"dataset.size={config.dataset.size or size or 'null'}"
        options["dataset.channels"] = f"dataset.channels={config.dataset.channels or channels or 'null'}"
    if config.dataset.name not in ("digits", "gaussians", "sprites"):
        options["evaluation/extractor"] = "evaluation/extractor=random"  # no classifier to train
    if config.dataset.name in ("digits", *SHAPES):
        options["dataset.classes"] = "dataset.classes=[0,1]"  # a fifth of the held-out images
    dropped = {"hydra.run.dir", *(["dataset.root"] if "dataset" in options else [])}
    return [*(o for key, o in given.items() if key not in {*options, *dropped}), *options.values()]


def small(shown: Command) -> tuple[str, ...]:
    """The words of another command than train, so that it takes a second."""
    program, *words = " ".join(shown.words).replace("-o pictures", "-o drawn").split()
    if program == "make" or len(words) < 2:
        return shown.words
    if words[0] == "data" and words[1] in {*SHAPES} - {"image_folder"}:
        words[1] = "digits"
    if "--data" in words:  # of the size of the runs
        words[words.index("--data") + 1] = "digits"
    if words[0] == "evaluate":
        extractor = ["evaluation/extractor=random"] if "fid50k_train" in str(words) else []
        words = [word for word in words if word.split("=")[0] not in TINY]
        words += [f"{k}={v}" for k, v in TINY.items() if k.startswith("evaluation.") and "every" not in k] + extractor
    if words[0] == "augment":
        words = [*words[:2], "--labels", "2", "--seeds", "2", "--generated", "100", "--steps", "1"]
    words += ["--port", "0"] if words[0] == "watch" and "--port" not in words else []
    return program, *words


DIFFERENT = list({essence(shown): shown for shown in TRAIN}.values())
OTHERS = list({small(shown): shown for shown in COMMANDS if shown.overrides is None}.values())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands speak of: runs, a folder of pictures, a file of images, configs of one's own."""
    folder = tmp_path_factory.mktemp("workspace")
    common = ("networks=mlp", "trainer.max_steps=2", "evaluation.projection=null")
    train_run(folder / "runs/mnist_small/vae/1", "model=vae", *common)
    train_run(folder / "runs/mnist_small/gan/1", "model=gan", "conditional=true", *common)
    train_run(folder / "runs/mnist_small/table/1", "model=vae", "dataset=table", "dataset.path=sklearn:iris", *common)
    lines = [f"{i},{20 + i % 50},{'north' if i % 3 else 'south'},{i % 2 == 0}" for i in range(100)]
    (folder / "images.csv").write_text("\n".join(["id,age,region,income", *lines]))
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(40) % 2)
    (folder / "runs/sweeps").mkdir()
    (folder / "runs/sweeps/gan_search").symlink_to(folder / "runs/mnist_small/gan")
    (folder / "pictures").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / "pictures" / f"{number}.png")
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "mine" / "experiment" / "short.yaml").write_text("# @package _global_\ntrainer: {max_steps: 2}\n")
    for path, text in written_configs().items():
        (folder / "mine" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mine" / path).write_text(text)
    return folder


@pytest.fixture
def latest(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """In that folder: `latest("vae")` makes that run the latest."""
    monkeypatch.chdir(workspace)
    monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", ctrl_c)
    for kind, fit in fitted_priors.KINDS.items():
        if kind in ("two_stage", "flow"):
            monkeypatch.setitem(fitted_priors.KINDS, kind, partial(fit, steps=5))

    def point(model: str) -> None:
        (workspace / "runs/latest").unlink(missing_ok=True)
        (workspace / "runs/latest").symlink_to(f"mnist_small/{model}/1")

    point("vae")
    return point


def ctrl_c(*_: object) -> None:
    """Ends what would wait for Ctrl-C."""
    raise KeyboardInterrupt


def check_train(shown: Command, workspace: Path) -> list[DictConfig]:
    """Compose every job of a train command."""
    arguments = get_args_parser().parse_args(shown.overrides)
    return [composed(job, workspace / "mine") for job in jobs(spelled_out(arguments.overrides))]


def check_other(shown: Command, latest: Callable[[str], None]) -> None:
    """Run another command than train."""
    program, *words = shown.words
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"make has no {words[0]}"
    elif len(words) > 1 and not written_by_readers(words):
        run_on_one(shown, latest)
    elif words:  # only named
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, f"there is no {shown}"


def run_on_one(shown: Command, latest: Callable[[str], None]) -> None:
    """Run it on a VAE and, if that cannot do it, on a conditional GAN or on a VAE of a table."""
    words = small(shown)[1:]
    told = []
    for model in ("vae", "gan", "table"):
        latest(model)
        result = CliRunner().invoke(app, words)
        if result.exit_code == 0:
            return
        told.append(f"{model}: {result.exception!r} {result.output}")
    pytest.fail(f"{shown}\n" + "\n".join(told))


@pytest.mark.parametrize("shown", TRAIN, ids=str)
def test_a_train_command(shown, workspace, latest, tmp_path, train_command):
    config = check_train(shown, workspace)[0]
    arguments = get_args_parser().parse_args(shown.overrides)
    first = jobs(spelled_out(arguments.overrides))[0]
    if shown not in DIFFERENT or arguments.cfg or config.dataset.name in NOT_HERE or written_by_readers(first):
        return
    overrides = tiny(first, config)
    folders = ["--config-dir", arguments.config_dir] if arguments.config_dir else []
    done = train_command(*folders, *overrides, *([] if "resume" in str(overrides) else [f"hydra.run.dir={tmp_path}"]))
    assert done.returncode == 0, f"{shown}\n{overrides}\n{done.stderr}"
    assert "completed" in done.stdout


@pytest.mark.parametrize("shown", OTHERS, ids=str)
def test_another_command_runs(shown, latest):
    check_other(shown, latest)


MISSPELT = {
    "python train.py model.latent_dims=3": "latent_dims",
    "python train.py model=vae model/likelihood=bernouli": "bernouli",
    "python train.py -m seed=0,1 model=vae,gna": "gna",
    "python train.py --mutlirun seed=0,1": "2",  # what argparse exits with
    "lightning-gen train trainer.max_step=5": "max_step",
    "lightning-gen evalute RUN": "No such command",
    "lightning-gen evaluate RUN evaluation.num_sample=5": "num_sample'",
    "lightning-gen sample RUN --formt png": "No such option",
    "lightning-gen probee": "there is no",
    "make tset": "make has no tset",
}


@pytest.mark.parametrize("line", MISSPELT)
def test_a_misspelt_command_is_found(line, workspace, latest):
    shown = command(line, "here")
    with pytest.raises((Exception, SystemExit, pytest.fail.Exception), match=MISSPELT[line]):
        check_train(shown, workspace) if shown.overrides is not None else check_other(shown, latest)


def test_an_unknown_placeholder_is_found():
    with pytest.raises(ValueError, match="THING stands for nothing"):
        command("lightning-gen sample THING", "here")
