"""The best Fréchet distance over time in searches with and without pruning, with equal seconds of training.

python benchmarks/pruning.py digits 240     sweeps=gan_search with shorter trials, 240 seconds for each search
python benchmarks/pruning.py mnist 400      the same on MNIST

Each seed of the sampler has a search without pruning and one with the median rule. The two run side by side with one
thread each, so that other work on the machine slows both. Started again, an interrupted benchmark goes on. It prints
a table and draws runs/sweeps/pruning_DATASET.png.
"""

import csv
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

from lightning_gen.runs.run import Run

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
PRUNERS = {"none": "no pruning", "median": "median rule"}
SMALLER = ["networks.encoder.width=16", "networks.decoder.width=16", "evaluation.every_n_steps=100"]
SHORTER = {  # so that some twenty trials fit into the time
    "digits": ["trainer.max_steps=600", "sweep.pruner_options={n_startup_trials: 5, n_warmup_steps: 150}"],
    "mnist": ["trainer.max_steps=400", "sweep.pruner_options={n_startup_trials: 5, n_warmup_steps: 150}"],
}
Curve = list[tuple[float, float]]  # seconds of training in all trials, best distance so far


def folder(dataset: str, pruner: str, seed: int) -> Path:
    return ROOT / "runs" / "sweeps" / f"pruning_{dataset}_{pruner}_{seed}"


def start(dataset: str, pruner: str, seed: int, seconds: float) -> subprocess.Popen[bytes]:
    """One search, as a process with one thread."""
    command = [sys.executable, "train.py", "-m", "sweeps=gan_search", f"dataset={dataset}", f"sweep.seed={seed}"]
    command += [f"sweep.name={folder(dataset, pruner, seed).name}", f"sweep.seconds={seconds}", "sweep.trials=1000"]
    command += [
        "sweep.repeat_best=0",
        "hardware=cpu",
        "report=false",
        *SMALLER,
        *SHORTER[dataset],
        f"sweep.pruner={pruner}",
    ]
    if pruner == "none":
        command.append("sweep.pruner_options=null")
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def curve(directory: Path, seconds: float) -> tuple[Curve, int, int]:
    """The best distance over the seconds of a search, and how many trials were trained and pruned."""
    runs = sorted(
        (Run.load(path.parent) for path in directory.glob("*/summary.json")), key=lambda run: int(run.path.name)
    )
    points: Curve = []
    spent, best, pruned = 0.0, math.inf, 0
    for run in runs:
        summary = run.read_summary()
        pruned += summary["status"] == "pruned"
        with open(run.path / "metrics.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("eval/fid_classifier") and int(row["step"]) > 0:
                    best = min(best, float(row["eval/fid_classifier"]))
                    points.append((spent + float(row["seconds"]), best))
        spent += float(summary["progress"]["seconds"])
    return [point for point in points if point[0] <= seconds], len(runs), pruned


def best_at(points: Curve, time: float) -> float:
    """The best distance until a time; infinite before the first evaluation."""
    return min((distance for seconds, distance in points if seconds <= time), default=math.inf)


def draw(curves: dict[str, list[Curve]], dataset: str, seconds: float, path: Path) -> None:
    """Thin lines: one search each. Thick line: the median of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    title = f"sweeps=gan_search on {dataset}: thin lines are the seeds {SEEDS}, thick lines their median"
    axes = figure.add_subplot(
        xlabel="seconds of training, all trials together", ylabel="best Fréchet distance so far"
    )
    axes.set_title(title, fontsize=9)
    times = [seconds * i / 400 for i in range(1, 401)]
    for colour, (name, searches) in zip(("#0072B2", "#D55E00"), curves.items(), strict=True):
        values = [[best_at(search, time) for time in times] for search in searches]
        for line in values:
            axes.plot(times, line, color=colour, alpha=0.35, linewidth=1)
        axes.plot(
            times, [statistics.median(column) for column in zip(*values, strict=True)], color=colour, label=name
        )
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path)


def main(dataset: str, seconds: float) -> None:
    for seed in SEEDS:
        for process in [start(dataset, pruner, seed, seconds) for pruner in PRUNERS]:
            process.wait()
    curves: dict[str, list[Curve]] = {}
    print("| search | trials | of these pruned | best distance after a third, two thirds, all of the time |")
    print("|---|---:|---:|---|")
    for pruner, name in PRUNERS.items():
        found = [curve(folder(dataset, pruner, seed), seconds) for seed in SEEDS]
        curves[name] = [points for points, _, _ in found]
        cells = []
        for share in (1 / 3, 2 / 3, 1):
            best = [best_at(points, share * seconds) for points in curves[name]]
            cells.append(f"{statistics.fmean(best):.2f} ± {statistics.stdev(best):.2f}")
        trials, pruned = (" / ".join(str(counts[i]) for counts in found) for i in (1, 2))
        print(f"| {name} | {trials} | {pruned} | {', '.join(cells)} |")
    path = ROOT / "runs" / "sweeps" / f"pruning_{dataset}.png"
    draw(curves, dataset, seconds, path)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
