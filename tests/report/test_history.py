import numpy as np
import pytest

from lightning_gen.report.history import MOST_POINTS, Chart, Line, best, charts, read_history
from tests.report.runs import recorded_run


def test_training_stands_beside_held_out_images_of_the_same_quantity(tmp_path):
    recorded_run(tmp_path, "model=ae", loss=10.0)
    loss, fid = charts([[read_history(tmp_path)]])
    assert (loss.quantity, loss.parts, fid.quantity) == ("loss", {"training", "held-out images"}, "fid_classifier")
    training = next(line for line in loss.lines if line.part == "training").points
    assert training["value"].tolist() == [20, 15, 10]
    assert training["images_seen"].tolist() == [0, 800, 1600]
    assert training["seconds"].tolist() == [0, 5, 10]
    assert (fid.real, fid.better, loss.better) == (0.5, "lower is better", "")


def test_what_is_measured_on_training_images_and_on_samples_stands_in_the_same_chart():
    steps = np.arange(3.0)
    names = ("train/loss", "eval/loss", "eval/loss_train", "eval/logits", "eval/logits_fake", "eval/alone_train")
    loss, logits = charts([[{"step": steps} | {name: steps + index for index, name in enumerate(names)}]])
    assert [line.part for line in loss.lines] == ["training", "held-out images", "training images"]
    assert [line.part for line in logits.lines] == ["held-out images", "samples"]
    assert loss.lines[2].points["value"].tolist() == [2, 3, 4]


def test_seeds_are_averaged_at_the_steps_that_they_share(tmp_path):
    histories = []
    for seed, fid in enumerate((2.0, 4.0)):
        recorded_run(tmp_path / str(seed), "model=ae", f"seed={seed}", fid=fid)
        histories.append(read_history(tmp_path / str(seed)))
    histories[1] = {name: column[:2] for name, column in histories[1].items()}  # this run has ended earlier
    points = charts([histories])[1].lines[0].points
    assert points["step"].tolist() == [0, 50]
    assert points["value"].tolist() == [6, 4.5]
    assert points["low"].tolist() == [4, 3]
    assert points["high"].tolist() == [8, 6]


def test_long_curves_are_thinned_up_to_both_ends():
    steps = np.arange(10_001.0)
    (chart,) = charts([[{"step": steps, "train/loss": steps}]])
    points = chart.lines[0].points
    assert len(points["step"]) == MOST_POINTS
    assert points["step"][[0, -1]].tolist() == [0, 10_000]


def test_what_is_not_a_number_is_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,eval/fid\n0,3\n1,nan\n2,what\n3,1\n4,2\n5\n")
    history = read_history(tmp_path)
    assert charts([[history]])[0].lines[0].points["step"].tolist() == [0, 3, 4]
    assert best(history, "eval/fid") == (1, 3)
    assert best(history, "eval/kl") is None


def test_a_run_without_metrics_has_no_charts(tmp_path):
    assert charts([[read_history(tmp_path)]]) == []
    assert read_history(tmp_path) == pytest.approx({})


def test_the_best_value_of_a_two_sample_test_is_the_nearest_to_chance():
    history = {"step": np.arange(3), "eval/c2st": np.array([0.31, 0.56, 0.97])}
    assert best(history, "eval/c2st") == (0.56, 1)
    points = {"step": history["step"], "value": history["eval/c2st"]}
    assert Chart("c2st", [Line(0, "held-out images", points)]).better == "0.5 is best"
