"""Two nodes on one machine, by the environment variables that torchrun and srun set, give what one process gives."""

import os
import sys

import pytest
import torch

from lightning_gen.commands.train import main
from lightning_gen.runs.run import Run
from lightning_gen.training.launch import free_port
from tests.helpers import ForkedWorker, assert_same, quick


def node(rank, environment, arguments):
    own = {"RANK": rank, "GROUP_RANK": rank, "SLURM_PROCID": rank, "SLURM_NODEID": rank}
    os.environ.update({**environment, **{name: str(value) for name, value in own.items() if name in environment}})
    torch.set_num_threads(1)
    sys.argv = ["train.py", *arguments]
    main()


TORCHRUN = {"RANK": "", "GROUP_RANK": "", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
TORCHRUN |= {"TORCHELASTIC_RUN_ID": "none"}
SRUN = {"SLURM_PROCID": "", "SLURM_NODEID": "", "SLURM_LOCALID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_ID": "77"}
SRUN |= {"SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "1", "SLURM_STEP_ID": "0"}
SRUN_TORCHRUN = {**SRUN, **TORCHRUN, "SLURM_NTASKS": "1"}  # Lightning would train one process of one


@pytest.mark.parametrize("launcher", [TORCHRUN, SRUN, SRUN_TORCHRUN], ids=["torchrun", "srun", "both"])
def test_two_nodes_give_what_one_process_gives(tmp_path, train_command, launcher):
    common = ("model=gan", "networks=mlp", "hardware=cpu", "trainer.max_steps=8", "trainer.precision=64-true")
    assert train_command(*quick(*common, f"hydra.run.dir={tmp_path}/one")).returncode == 0
    cache = {"LIGHTNING_GEN_CACHE": os.environ["LIGHTNING_GEN_CACHE"]}
    environment = {**launcher, **cache, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    arguments = quick(*common, "trainer.num_nodes=2", f"hydra.run.dir={tmp_path}/two")
    nodes = [ForkedWorker.context.Process(target=node, args=(rank, environment, arguments)) for rank in (0, 1)]
    for process in nodes:
        process.start()
    for process in nodes:
        process.join(120)
    assert [process.exitcode for process in nodes] == [0, 0]
    one, two = (Run.load(tmp_path / name) for name in ("one", "two"))
    assert_same(one.read_checkpoint()["state_dict"], two.read_checkpoint()["state_dict"], tolerance=1e-9)
    assert two.read_summary()["status"] == "completed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]  # only the first rank writes
