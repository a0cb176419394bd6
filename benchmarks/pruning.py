"""The best Fréchet distance over training steps in searches with and without pruning, with equal steps in all.

python benchmarks/pruning.py digits 24     sweeps=gan_search with short trials, as many steps as 24 whole trials have
python benchmarks/pruning.py mnist 24      the same on MNIST

Each seed of the sampler has a search without pruning and one with the median rule; the steps that pruned trials leave
go to further trials. Steps, not seconds, so that the result is the same on any machine. Started again, an interrupted
benchmark goes on. It prints a table and draws runs/sweeps/pruning_DATASET.png.
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
STEPS = {"digits": 600, "mnist": 400}  # of a whole trial
OPTIONS = "sweep.pruner_options={n_startup_trials: 5, n_warmup_steps: 150}"
Curve = list[tuple[int, float]]  # training steps of all trials, best distance so far


def folder(dataset: str, pruner: str, seed: int) -> Path:
    return ROOT / "runs" / "sweeps" / f"pruning_{dataset}_{pruner}_{seed}"


def search(dataset: str, pruner: str, seed: int, trials: int) -> None:
    """Search until there are so many trials; an earlier search of this name goes on."""
    command = [sys.executable, "train.py", "-m", "sweeps=gan_search", f"dataset={dataset}", f"sweep.seed={seed}"]
    command += [f"sweep.name={folder(dataset, pruner, seed).name}", f"sweep.trials={trials}", "sweep.repeat_best=0"]
    command += [f"trainer.max_steps={STEPS[dataset]}", f"sweep.pruner={pruner}", "hardware=cpu", "report=false"]
    command += [*SMALLER, "sweep.pruner_options=null" if pruner == "none" else OPTIONS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)


def spend(dataset: str, pruner: str, seed: int, budget: int) -> tuple[Curve, int, int]:
    """Search until all trials together have this many steps; see `curve`."""
    trials, spent = 0, 0
    while spent < budget:
        trials += math.ceil((budget - spent) / STEPS[dataset])
        search(dataset, pruner, seed, trials)
        spent = sum(run.read_summary()["progress"]["step"] for run in runs_of(folder(dataset, pruner, seed)))
    return curve(folder(dataset, pruner, seed), budget)


def runs_of(directory: Path) -> list[Run]:
    """The trials of a search in the order in which they began."""
    found = (Run.load(path.parent) for path in directory.glob("*/summary.json"))
    return sorted(found, key=lambda run: int(run.path.name))


def curve(directory: Path, budget: int) -> tuple[Curve, int, int]:
    """The best distance over the steps of a search, and how many trials began within the budget and were pruned."""
    points: Curve = []
    spent, best, trials, pruned = 0, math.inf, 0, 0
    for run in runs_of(directory):
        if spent >= budget:
            break
        summary = run.read_summary()
        trials += 1
        pruned += summary["status"] == "pruned"
        with open(run.path / "metrics.csv", newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row.get("eval/fid_classifier") and int(row["step"]) > 0:
                    best = min(best, float(row["eval/fid_classifier"]))
                    points.append((spent + int(row["step"]), best))
        spent += summary["progress"]["step"]
    return [point for point in points if point[0] <= budget], trials, pruned


def best_at(points: Curve, step: float) -> float:
    """The best distance until a step of the search; infinite before the first evaluation."""
    return min((distance for steps, distance in points if steps <= step), default=math.inf)


def draw(curves: dict[str, list[Curve]], dataset: str, budget: int, path: Path) -> None:
    """Thin lines: one search each. Thick line: the median of the seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    title = f"sweeps=gan_search on {dataset}: thin lines are the seeds {SEEDS}, thick lines their median"
    axes = figure.add_subplot(xlabel="training steps, all trials together", ylabel="best Fréchet distance so far")
    axes.set_title(title, fontsize=9)
    times = [budget * i / 400 for i in range(1, 401)]
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


def main(dataset: str, trials: int) -> None:
    budget = trials * STEPS[dataset]
    curves: dict[str, list[Curve]] = {}
    print("| search | trials | of these pruned | best distance after a third, two thirds, all of the steps |")
    print("|---|---:|---:|---|")
    for pruner, name in PRUNERS.items():
        found = [spend(dataset, pruner, seed, budget) for seed in SEEDS]
        curves[name] = [points for points, _, _ in found]
        cells = []
        for share in (1 / 3, 2 / 3, 1):
            best = [best_at(points, share * budget) for points in curves[name]]
            cells.append(f"{statistics.fmean(best):.2f} ± {statistics.stdev(best):.2f}")
        begun, pruned = (" / ".join(str(counts[i]) for counts in found) for i in (1, 2))
        print(f"| {name} | {begun} | {pruned} | {', '.join(cells)} |", flush=True)
    path = ROOT / "runs" / "sweeps" / f"pruning_{dataset}.png"
    draw(curves, dataset, budget, path)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
