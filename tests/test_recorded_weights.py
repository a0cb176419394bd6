"""Training gives the weights that it gave when they were recorded: a change of the code is no change of a result.

`tests/records/weights.json` holds the weights of eight steps of each model, as a hash and as their norm, from version
0.1.0. Two are later: that of `vqvae`, because the random stream of its codebook was then the one of `dataset.limit`, and
the hashes of `hierarchical_vae`, because the densities of the Gaussian that it now shares with the VAE round in another
order. The norm must agree everywhere. The hash must agree where the recording was made: with the same version of torch,
on a processor with the same vector instructions.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from tests.helpers import train_run

RECORD = json.loads((Path(__file__).parent / "records" / "weights.json").read_text())


def same_machine() -> bool:
    """Whether kernels round here as they did where the weights were recorded."""
    version = torch.__version__.split("+")[0]
    return (version, torch.backends.cpu.get_cpu_capability()) == (RECORD["torch"], RECORD["cpu_capability"])


def check_weights(state: dict[str, torch.Tensor], record: dict) -> None:
    """The norm of all weights agrees, and on the recording's machine every bit."""
    norm = torch.stack([value.double().square().sum() for value in state.values()]).sum().sqrt()
    assert float(norm) == pytest.approx(record["norm"], rel=1e-4)
    if same_machine():
        digest = hashlib.sha256()
        for name in sorted(state):
            digest.update(state[name].contiguous().numpy().tobytes())
        assert digest.hexdigest() == record["sha256"]


@pytest.mark.parametrize("name", RECORD["runs"])
def test_the_same_seed_gives_the_recorded_weights(tmp_path, name):
    record = RECORD["runs"][name]
    run, _ = train_run(tmp_path, *record["overrides"], "trainer.max_steps=8")
    check_weights(run.read_checkpoint()["state_dict"], record)
