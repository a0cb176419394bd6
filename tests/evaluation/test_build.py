"""From the evaluation config to the evaluator; a metric of one's own, by the text of the documents."""

import json
import re
from pathlib import Path

import pytest

import lightning_gen.metrics
from lightning_gen.config.build import build_data
from lightning_gen.config.compose import compose
from lightning_gen.errors import UserError
from lightning_gen.evaluation.build import build_evaluator
from lightning_gen.metrics.comparison import Comparison, Metric
from tests.helpers import QUICK, quick

DOCUMENT = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()


def evaluator(*overrides, **metrics):
    """The evaluator of a config, with these nodes under evaluation.metric."""
    config = compose([*QUICK, *overrides])
    config.evaluation.metric = metrics
    return build_evaluator(config, build_data(config), "cpu")


def number_of_samples(comparison: Comparison, factor: float = 1.0) -> dict[str, float]:
    """A metric of one's own."""
    return {"samples_seen": factor * len(comparison.features()[0])}


def needs_labels(factor: float) -> Metric:
    """A metric that says what it needs."""
    return Metric(number_of_samples, floor=False, needs=frozenset({"labels"}), settings={"kind": "labelled"})


NODE = {"_target_": f"{__name__}.number_of_samples", "_partial_": True, "factor": 2.0}


def test_a_metric_from_the_documents(tmp_path, train_command, monkeypatch):
    """Each code block that begins with a path is put there; the command that the text gives measures it."""
    blocks = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", DOCUMENT, re.DOTALL)
    assert [Path(path).parent.as_posix() for path, _ in blocks] == ["lightning_gen/metrics", "conf/evaluation/metric"]
    for path, text in blocks:
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    here = [*lightning_gen.metrics.__path__, str(tmp_path / "lightning_gen" / "metrics")]
    monkeypatch.setattr(lightning_gen.metrics, "__path__", here)
    choice = "evaluation/metric=[mean_distance]"
    assert f'python train.py "{choice}"' in DOCUMENT
    options = quick(
        choice, "evaluation.metric.mean_distance.power=2", "model=gan", "networks=mlp", "trainer.max_steps=1"
    )
    places = (f"hydra.searchpath=[file://{tmp_path / 'conf'}]", f"hydra.run.dir={tmp_path / 'run'}")
    done = train_command(*options, *places)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    metrics, protocol = summary["metrics"], summary["protocol"]["eval/mean_distance"]
    assert 0 < metrics["eval/mean_distance_floor"] < 0.1 * metrics["eval/mean_distance"]
    builtin = summary["protocol"]["eval/fid_classifier"]
    assert protocol == {**builtin, "metric": "mean_distance", "settings": {"power": 2}}


def test_added_metrics_by_function_or_by_what_they_need():
    labelled = {"_target_": f"{__name__}.needs_labels", "factor": 3.0}
    metrics = evaluator(number=NODE, labelled=labelled).sample_evaluator.metrics
    assert list(metrics)[-2:] == ["number", "labelled"]
    assert metrics["number"].settings == {"factor": 2.0}
    assert metrics["labelled"].settings == {"kind": "labelled", "factor": 3.0}
    with pytest.raises(UserError, match="labelled needs class labels"):
        evaluator("dataset.labels=false", "evaluation/extractor=random", labelled=labelled)


@pytest.mark.parametrize(
    ("overrides", "metrics", "message"),
    [
        ((), {"fid": NODE}, "fid is already a metric of evaluation.metrics"),
        ((), {"mine": {"_target_": "builtins.dict"}}, r"mine: builtins.dict returns {}.*`_partial_: true`"),
        (("dataset=gaussians",), {"mine": NODE}, "dataset=gaussians has no images"),
    ],
)
def test_metrics_that_cannot_be_added(overrides, metrics, message):
    with pytest.raises(UserError, match=message):
        evaluator(*overrides, **metrics)


def test_a_name_where_a_choice_is_meant():
    config = compose([*QUICK, "evaluation.metric=mine"])
    with pytest.raises(UserError, match=r"evaluation/metric=\[mine\]"):
        build_evaluator(config, build_data(config), "cpu")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("evaluation.metrics=[rae]", "dataset.limit=10"),
            "rae fits a mixture of 10 Gaussians, which needs more than 10",
        ),
        (("evaluation.metrics=[lpips]",), "lpips needs images of at least 32x32 pixels, not 8"),
        (("evaluation.metrics=[prdc]", "evaluation.num_samples=5"), "set it to 6 or more, or leave prdc out"),
        (("evaluation.metrics=[kid]", "dataset.limit=1"), "needs 2 or more images in the training split"),
    ],
)
def test_metrics_that_these_images_do_not_allow_are_refused_before_training(overrides, message):
    with pytest.raises(UserError, match=message):
        evaluator(*overrides)
