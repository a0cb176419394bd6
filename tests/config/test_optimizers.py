"""Another class of optimizer trains, for each player and for one of them."""

import pytest
import torch

from lightning_gen.config.build import build
from tests.helpers import make_run, train_run

OPTIONS = ("networks=mlp", "trainer.max_steps=1")
GENERATOR = "model.generator_optimizer._target_=torch.optim."
DISCRIMINATOR = "model.discriminator_optimizer._target_=torch.optim."


@pytest.mark.parametrize(
    ("overrides", "left_out", "adams"),
    [
        ((f"{GENERATOR}RMSprop",), {"betas", "fused"}, 0),
        ((f"{DISCRIMINATOR}SGD",), {"betas"}, 1),
        ((f"{GENERATOR}Adagrad", f"{DISCRIMINATOR}AdamW"), {"betas"}, 0),
        ((), set(), 2),
    ],
)
def test_what_a_class_does_not_have_is_left_out_and_told(tmp_path, capsys, overrides, left_out, adams):
    run, summary = train_run(tmp_path, "model=gan", *OPTIONS, *overrides)
    assert summary["status"] == "completed"
    told = {line.split()[1].rsplit(".")[-1] for line in capsys.readouterr().err.splitlines() if "is left out" in line}
    assert told == left_out
    saved = [run.config.model[f"{player}_optimizer"] for player in ("generator", "discriminator")]
    optimizers = [build(node)([torch.nn.Parameter(torch.zeros(1))]) for node in saved]
    assert sum(type(optimizer) is torch.optim.Adam for optimizer in optimizers) == adams
    if "AdamW" in saved[1]._target_:
        assert optimizers[1].defaults["betas"] == (0.0, 0.9)  # still the config's


def test_the_optimizer_of_a_part_of_a_model(tmp_path):
    overrides = ("model/divergence=gan", "model.divergence.optimizer._target_=torch.optim.RMSprop")
    assert "betas" not in make_run(tmp_path, "model=wae", *OPTIONS, *overrides).config.model.divergence.optimizer


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model/generator_optimizer=rmsprop", "model.generator_optimizer._target_=torch.optim.RMSprop"),
        ("model.generator_optimizer=rmsprop", "model.generator_optimizer._target_=torch.optim.RMSprop"),
        ("+model.generator_optimizer.momentum=0.5", "There is no config key 'model.generator_optimizer.momentum'"),
        ("model.generator_optimizer._target_=torch.optim.Adm", "torch.optim.Adm cannot be imported"),
    ],
)
def test_mistakes_are_told(tmp_path, train_command, override, told):
    done = train_command("model=gan", *OPTIONS, override, f"hydra.run.dir={tmp_path}/run")
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
