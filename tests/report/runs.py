"""Run directories as training leaves them, made in milliseconds."""

import json
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_gen.runs.run import Run
from tests.helpers import make_run

STEPS = (0, 50, 100)
PROTOCOL = {"images": "samples", "n_fake": 20, "n_real": 360, "split": "test", "extractor": "classifier-digits-v1"}


def recorded_run(path: Path, *overrides: str, fid: float = 2.0, loss: float = 60.0, seconds: bool = True) -> Run:
    """A run of 100 steps. `fid` and `loss` are the values at its end, half of those before."""
    run = make_run(path, "networks=mlp", *overrides)
    run.overrides = list(overrides)
    run.save()
    names = ["step", "images_seen", *(["seconds"] if seconds else [])]
    names += ["train/loss", "eval/loss", "eval/fid_classifier", "eval/fid_classifier_floor"]
    rows = [names]
    for step in STEPS:
        times = 2 - step / 100
        clock = [str(step / 10)] if seconds else []
        rows.append(
            [str(step), str(16 * step), *clock, str(loss * times), str(loss * times + 1), str(fid * times), "0.5"]
        )
    (path / "metrics.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    for kind in ("samples", "interpolations"):
        (path / kind).mkdir()
        for step in STEPS:
            Image.new("L", (64, 48), step * 2).save(path / kind / f"step_{step:08d}.png")
    metrics = {
        "eval/loss": loss + 1,
        "eval/fid_classifier": fid,
        "eval/fid_classifier_floor": 0.5,
        "train/loss": loss,
    }
    summary: dict[str, Any] = {
        "metrics": metrics,
        "best": {"metric": "eval/fid_classifier", "value": fid, "step": 100},
        "protocol": {
            "eval/fid_classifier": PROTOCOL,
            "eval/loss": {"images": "held-out images", "n_real": 360, "split": "test"},
        },
        "progress": {"step": 100, "images_seen": 1600, "seconds": 10.0},
        "provenance": {
            "git": "abc",
            "device": "1 x cpu",
            "seed": run.config.seed,
            "time": "2026-11-26T05:45:02+00:00",
        },
        "status": "completed",
    }
    (path / "summary.json").write_text(json.dumps(summary))
    return run
