"""What DP-SGD costs and what it prevents: docs/privacy.md.

    python benchmarks/privacy.py --root DATA --runs runs/privacy --out docs/images/privacy.png

trains VAEs on a CPU, about ten minutes on one core: three that an attacker audits, and for the chart one for each
epsilon and seed. Runs that are there already are not trained again. It prints a table of the audits and writes the
chart. DATA is the folder of the real MNIST.
"""

import argparse
import json
from pathlib import Path
from statistics import mean, stdev

from matplotlib.figure import Figure
from trained_runs import summary_of  # benchmarks/trained_runs.py

from lightning_gen.commands.audit import Protocol, audit_run
from lightning_gen.pictures.charts import COLOURS

COMMON = (
    *("model=vae", "model/likelihood=gaussian", "model.optimizer.lr=1e-3", "networks=mlp"),
    *("logger=csv", "report=false", "hardware=cpu", "trainer.enable_progress_bar=false"),
    *("evaluation.every_n_steps=100000", "evaluation.nll.k=0", "evaluation.metrics=[]", "evaluation.projection=null"),
)
AUDITED = {  # another row of the table each
    "200 images": ("dataset.limit=200", "trainer.max_steps=1500"),
    "50,000 images": ("dataset=mnist", "dataset.limit=50000", "trainer.max_steps=1500"),
    "200 images, epsilon 8": ("dataset.limit=200", "trainer.max_steps=300", "privacy=dp_sgd", "privacy.epsilon=8"),
}
WIDTHS = "networks.encoder.widths=[128]"
CHART = ("networks.encoder.widths=[64]", "dataset.batch_size=200", "trainer.max_steps=200", "model.optimizer.lr=3e-3")
EPSILONS = (0.5, 1, 2, 8)
SEEDS = (0, 1, 2)


def trained(folder: Path, *overrides: str) -> Path:
    """The run in this folder, trained with these overrides unless it has been."""
    summary_of(folder, (*COMMON, *overrides))
    return folder


def audits(runs: Path, root: str) -> str:
    """A Markdown table of the audits of `AUDITED`, by the attack with the larger advantage of bound and error."""
    lines = ["| VAE trained on | attack | AUROC | advantage | TPR at 1 % FPR |", "|---|---|---|---|---|"]
    for name, options in AUDITED.items():
        where = (f"dataset.root={root}",) if "dataset=mnist" in options else ()
        run = trained(runs / name.replace(" ", "_").replace(",", ""), WIDTHS, *options, *where)
        for attack, found in audit_run(run, "last", [], Protocol())["attacks"].items():
            cells = [
                "{value:.3f} ({low:.3f} to {high:.3f})".format(**found[key])
                for key in ("auroc", "advantage", "tpr_at_0.01")
            ]
            lines.append(f"| {name} | {attack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def utility(runs: Path) -> dict[str, list[float]]:
    """The ELBO on the held-out images for each seed, by epsilon; `none` is training without privacy."""
    results: dict[str, list[float]] = {}
    for epsilon in (*EPSILONS, None):
        options = (f"privacy.epsilon={epsilon}", "privacy=dp_sgd") if epsilon else ()
        name = str(epsilon or "none")
        for seed in SEEDS:
            run = trained(runs / f"epsilon_{name}_{seed}", *CHART, *options, f"seed={seed}")
            metrics = json.loads((run / "summary.json").read_text())["metrics"]
            results.setdefault(name, []).append(metrics["eval/elbo"])
    return results


def chart(results: dict[str, list[float]]) -> Figure:
    """The held-out ELBO against epsilon, a point for each seed and the mean, beside training without privacy."""
    figure = Figure(figsize=(7, 4), dpi=110)
    axes = figure.add_axes((0.13, 0.14, 0.84, 0.74))
    private = {float(name): values for name, values in results.items() if name != "none"}
    axes.plot(list(private), [mean(values) for values in private.values()], color=COLOURS[0], label="mean of 3 seeds")
    for epsilon, values in private.items():
        axes.scatter([epsilon] * len(values), values, color=COLOURS[0], s=18)
    axes.axhline(mean(results["none"]), color=COLOURS[2], linestyle="--", label="without privacy")
    axes.set(xscale="log", xlabel="epsilon (smaller is more private)", ylabel="ELBO of held-out images, nats")
    axes.set_xticks(list(private), [f"{epsilon:g}" for epsilon in private])
    axes.minorticks_off()
    axes.set_title("What privacy costs: a VAE on 10,000 digits, 200 steps", loc="left", weight="bold", size=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default="data", help="the folder of the real MNIST")
    parser.add_argument("--runs", type=Path, default=Path("runs/privacy"))
    parser.add_argument("--out", type=Path, default=Path("privacy.png"))
    arguments = parser.parse_args()
    print(audits(arguments.runs, arguments.root))
    results = utility(arguments.runs)
    print("| epsilon | ELBO, mean and deviation of 3 seeds |\n|---|---|")
    for name, values in results.items():
        print(f"| {name} | {mean(values):.1f} ± {stdev(values):.1f} |")
    chart(results).savefig(arguments.out)


if __name__ == "__main__":
    main()
