"""AUROC of every anomaly score on MNIST, for each digit in turn: the tables of docs/anomalies.md.

    python benchmarks/anomalies.py --root DATA one_normal         one digit is normal, the nine others are anomalies
    python benchmarks/anomalies.py --root DATA one_anomaly gan    one digit is the anomaly, the nine others are normal

trains ten models of each kind on a CPU, each for some seconds, and prints a Markdown table. Runs that are there are
neither trained nor scored again. DATA is the folder of the real MNIST.
"""

import argparse
from pathlib import Path
from statistics import mean

from trained_runs import summary_of  # benchmarks/trained_runs.py

from lightning_gen.commands.anomalies import Options, find_anomalies

DIGITS = range(10)
COMMON = (
    *("networks=mlp", "networks.encoder.widths=[256]", "hardware=cpu", "trainer.enable_progress_bar=false"),
    *("evaluation.every_n_steps=100000", "evaluation.nll.k=0", "evaluation.projection=null"),
    *("logger=csv", "report=false"),
)
MODELS = {
    "ae": ("model=ae", "model.latent_dim=32", "trainer.max_steps=1000"),
    "vae": ("model=vae", "model.latent_dim=16", "model/likelihood=bernoulli", "trainer.max_steps=1000"),
    "gan": ("model=gan", "trainer.max_steps=1000"),
    "gmm": ("model=gmm", "model.components=10", "trainer.max_steps=20"),
}
TASKS = {  # the data, and the classes that are normal
    "one_normal": ("dataset=mnist", lambda digit: [digit]),
    "one_anomaly": ("dataset=mnist_small", lambda digit: [other for other in DIGITS if other != digit]),
}


def scored(folder: Path, overrides: list[str]) -> dict[str, float]:
    """AUROC by score of the run in this folder, which is trained and scored unless it has been."""
    wanted = (*COMMON, *overrides)
    if "anomalies" not in summary_of(folder, wanted):
        find_anomalies(folder, Options(checkpoint="last"))
    metrics = summary_of(folder, wanted)["anomalies"][-1]["metrics"]
    return {score: measures["auroc"][0] for score, measures in metrics.items()}


def table(task: str, models: list[str], runs: Path, root: str) -> str:
    """A Markdown table with a row for each model and score, the best mean first."""
    dataset, normal = TASKS[task]
    where = [dataset, f"dataset.root={root}"] if dataset == "dataset=mnist" else [dataset]
    rows: dict[str, dict[int, float]] = {}
    for model in models:
        for digit in DIGITS:
            overrides = [*MODELS[model], *where, f"dataset.classes={normal(digit)}".replace(" ", "")]
            for score, auroc in scored(runs / task / model / str(digit), overrides).items():
                pixels = score == "nearest_pixels"  # the same for each model
                name = "`nearest_pixels`, no model" if pixels else f"{model.upper()}, `{score}`"
                rows.setdefault(name, {})[digit] = auroc
    lines = [f"| score | {' | '.join(map(str, DIGITS))} | mean |", f"|---|{'---|' * (len(DIGITS) + 1)}"]
    for name, found in sorted(rows.items(), key=lambda row: -mean(row[1].values())):
        cells = [*(f"{auroc:.2f}" for auroc in found.values()), f"{mean(found.values()):.3f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("models", nargs="*", help=f"of {', '.join(MODELS)}; ae and vae if none is given")
    parser.add_argument("--root", default="data", help="the folder of the real MNIST")
    parser.add_argument("--runs", type=Path, default=Path("runs/anomalies"))
    arguments = parser.parse_args()
    print(table(arguments.task, arguments.models or ["ae", "vae"], arguments.runs, arguments.root))


if __name__ == "__main__":
    main()
