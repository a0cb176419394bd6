"""Steps that are replayed as CUDA graphs give what ordinary steps give. Most tests need an NVIDIA GPU."""

from types import SimpleNamespace

import pytest
import torch

from lightning_gen.config.build import build_model
from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.runs.run import Run
from lightning_gen.training import cuda_graphs
from lightning_gen.training.cuda_graphs import StepGraphs
from lightning_gen.training.train import prepare, train
from lightning_gen.training.trainer import check_graphs
from tests.helpers import assert_same, composed, logged, make_run, quick, train_run

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")

# Without trainer.deterministic even two ordinary runs may differ.
GPU = (
    "hardware=auto",
    "trainer.deterministic=true",
    "trainer.log_every_n_steps=5",
    "trainer.max_steps=23",
    "checkpoint.every_n_steps=7",
)
GRAPHS = "trainer.cuda_graphs=true"
SAME = ("state_dict", "optimizer_states", "global_step", "images_seen")
MODELS = {
    "ae": ("model=ae", "networks=mlp"),
    "vae": ("model=vae", "networks=mlp", "ema=average"),
    "warm-up": ("model=vae", "networks=mlp", "model/objective=warm_up", "model.objective.beta.images=[0,160]"),
    "gan": ("networks=mlp", "model.d_steps=2", "trainer.gradient_clip_val=0.1", "trainer.accumulate_grad_batches=2"),
    "lazy penalty": ("networks=mlp", "model/penalty=r1", "model.penalty.r1.interval=4"),
    "conditional": ("networks=mlp", "conditional=true"),
    "convolutions": ("networks=conv",),
    "hierarchical": ("model=hierarchical_vae", "networks=mlp", "model/objective=iwae", "model.objective.samples=3"),
    "ladder": ("model=ladder_vae",),
    "flows": ("model=vae", "networks=mlp", "model/posterior=iaf", "model/prior=flow"),
    "compiled": ("model=vae", "networks=mlp", "trainer.compile=true"),
    "bfloat16": ("model=vae", "networks=mlp", "trainer.precision=bf16-mixed"),
}


@pytest.fixture
def replayed(monkeypatch):
    """The number of steps that were replayed."""
    counts = []
    replay = StepGraphs.replay
    monkeypatch.setattr(StepGraphs, "replay", lambda *of: (counts.append(1), replay(*of)))
    return counts


def of_training(run):
    return [{key: value for key, value in row.items() if "train/" in key} for row in logged(run.path)]


@gpu
@pytest.mark.parametrize("name", MODELS)
def test_weights_averages_counts_and_logs_are_the_same(tmp_path, replayed, name):
    plain, _ = train_run(tmp_path / "plain", *GPU, *MODELS[name])
    assert not replayed
    graphs, _ = train_run(tmp_path / "graphs", *GPU, *MODELS[name], GRAPHS)
    assert len(replayed) > 3
    first, second = plain.read_checkpoint(), graphs.read_checkpoint()
    for key in SAME:
        assert_same(first[key], second[key])
    assert_same(first["callbacks"].get("EMA", {}), second["callbacks"].get("EMA", {}))
    assert of_training(plain) == of_training(graphs)


@gpu
def test_learning_rates_follow_their_schedule(tmp_path, replayed):
    options = (*GPU, "model=vae", "networks=mlp", "schedule=cosine")
    plain, _ = train_run(tmp_path / "plain", *options)
    graphs, _ = train_run(tmp_path / "graphs", *options, GRAPHS)
    assert len(replayed) > 3
    first, second = plain.read_checkpoint(), graphs.read_checkpoint()
    for name, weights in first["state_dict"].items():
        torch.testing.assert_close(weights, second["state_dict"][name], rtol=1e-4, atol=1e-6)
    rates = [[group["lr"] for group in of["optimizer_states"][0]["param_groups"]] for of in (first, second)]
    assert rates[0] == pytest.approx(rates[1])
    assert type(rates[1][0]) is float


@gpu
@pytest.mark.parametrize("model", ["vae", "gan"])
def test_a_run_resumes_to_the_same_bits(tmp_path, model):
    options = (*GPU, f"model={model}", "networks=mlp", GRAPHS)
    whole, _ = train_run(tmp_path / "whole", *options)
    train_run(tmp_path / "part", *options, "trainer.max_steps=14")
    run = Run.load(tmp_path / "part")
    run.config.resume, run.config.trainer.max_steps = str(run.path), 23
    train(run)
    for key in SAME:
        assert_same(whole.read_checkpoint()[key], run.read_checkpoint()[key])


@gpu
def test_a_loss_that_is_not_finite_is_found_in_a_replayed_step(tmp_path):
    from lightning_gen.training.divergence import Diverged

    with pytest.raises(Diverged, match="not finite"):
        train_run(tmp_path, *GPU, "model=vae", "networks=mlp", GRAPHS, "model.optimizer.lr=1e18")


def test_a_cpu_has_no_graphs(tmp_path):
    with pytest.raises(UserError, match="needs an NVIDIA GPU"):
        prepare(make_run(tmp_path, "model=vae", GRAPHS))


@pytest.mark.parametrize(
    ("precision", "most", "message"), [("32-true", 1, "no trainer.profiler"), ("16-mixed", None, "float16")]
)
def test_what_does_not_go_together_with_graphs(precision, most, message):
    with pytest.raises(UserError, match=message):
        check_graphs(composed(f"trainer.precision={precision}").trainer, "cuda", most)


@gpu
def test_other_optimizers_are_refused(tmp_path):
    with pytest.raises(UserError, match="fused"):
        train_run(tmp_path, *GPU, "model=vae", "networks=mlp", GRAPHS, "model.optimizer.fused=false")


# -- which steps are recorded and replayed: without a GPU -----------------------------------------------------------


@pytest.fixture
def made(monkeypatch):
    """A function that makes steps with these constants, and says how each was made."""
    how = []
    monkeypatch.setattr(StepGraphs, "record", lambda *of: how.append("recorded"))
    monkeypatch.setattr(StepGraphs, "replay", lambda *of: how.append("replayed"))
    graphs, batch = StepGraphs(lambda *of: how.append("ordinary")), Batch(torch.zeros(2, 1, 4, 4), None)

    def make(*constants, logging=False):
        how.clear()
        for one in constants:
            graphs(SimpleNamespace(logging=logging, step_constants=lambda one=one: one), batch, 0)
        return how, graphs

    return make


def test_a_step_is_recorded_after_its_warm_up_and_then_replayed(made):
    assert made(*5 * [(1.0,)])[0] == ["ordinary"] * 3 + ["recorded", "replayed"]
    assert made(None, (2.0,), (1.0,))[0] == ["ordinary", "ordinary", "replayed"]
    assert made((1.0,), logging=True)[0] == ["ordinary"]


def test_steps_that_all_differ_need_no_memory_and_are_told(made, monkeypatch, capsys):
    monkeypatch.setattr(cuda_graphs, "MOST_KINDS", 20)
    how, graphs = made(*((float(step),) for step in range(150)))
    assert set(how) == {"ordinary"}
    assert len(graphs._seen) <= 20
    assert capsys.readouterr().err.count("none of 100 steps could be recorded") == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("model/penalty=none",), [True, True, True, True]),
        (("model/penalty=r1", "model.penalty.r1.interval=4", "model.d_steps=2"), [False, True, False, True]),
        (("model/penalty=none", "model/augment=ada"), [False, False, False, False]),
    ],
)
def test_which_steps_of_a_gan_can_be_replayed(options, expected):
    model = build_model(composed(*quick("model=gan", "networks=mlp", *options)), (1, 8, 8))
    found = []
    for step in range(4):
        trainer = SimpleNamespace(global_step=step, optimizers=[])
        model.trainer = trainer
        found.append(model.step_constants() is not None)
    assert found == expected
