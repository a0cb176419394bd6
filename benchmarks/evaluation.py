"""CPU seconds of an evaluation on MNIST, and of each metric, for an untrained model.

python benchmarks/evaluation.py --data data                 a VAE with networks=mlp, as in docs/evaluation.md
python benchmarks/evaluation.py --data data model=ae        another model

`cold`: the cache of results of real images is empty; `warm`: a second evaluator, as in a later run; `again`: the same
evaluator once more, as in a run that evaluates every 1,000 steps. One thread for torch. `--share` compares four
evaluations with 3,000 training steps.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from loop import Job, median, take_turns  # benchmarks/loop.py

from lightning_gen.config.build import build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.evaluation.build import build_evaluator
from lightning_gen.evaluation.evaluator import Evaluator
from lightning_gen.metrics.frechet import Moments
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.models.base import GenerativeModel

CPU = torch.device("cpu")


def seconds(call: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    call()
    return time.process_time() - start


def measure(evaluator: Evaluator, model: GenerativeModel) -> None:
    """One evaluation as in training: density, metrics, pictures."""
    model.fit_density(lambda: evaluator.data.train_batches(CPU))
    with torch.no_grad():
        evaluator.draw(model, evaluator(model).codes)


def whole(protocol: str, overrides: list[str]) -> tuple[Evaluator, GenerativeModel, float]:
    """Print the cost of a protocol; returns its evaluator, after an evaluation, the model, and seconds `again`."""
    with tempfile.TemporaryDirectory() as folder:
        config = compose([*overrides, f"evaluation={protocol}", f"evaluation.cache_dir='{folder}'"])
        torch.manual_seed(0)
        data = build_data(config)
        model = build_model(config, data.image_shape)
        model.see_data(data, fresh=True)
        model.eval()
        first, second = (build_evaluator(config, data, CPU) for _ in range(2))
        times = [seconds(partial(measure, evaluator, model)) for evaluator in (first, second, second)]
    print(
        f"evaluation={protocol:<10} cold {times[0]:6.2f}   warm {times[1]:6.2f}   again {times[2]:6.2f}", flush=True
    )
    return second, model, times[2]


def share(overrides: list[str], folder: str, again: float) -> None:
    """Print what four evaluations cost beside 3,000 training steps."""
    job = Job(tuple(overrides), lambda model: lambda images: None)  # the other side does nothing
    turns, _ = take_turns(job, argparse.Namespace(data=folder, steps=50, rounds=5, operations=False, overrides=[]))
    training = 3000 * median(turns, 50).cpu / 1000
    print(f"four evaluations {4 * again:.1f}, 3,000 steps {training:.0f}: {4 * again / training:.1%}", flush=True)


def parts(evaluator: Evaluator, model: GenerativeModel) -> None:
    """Print what each part of one more evaluation costs."""
    samples = evaluator.sample_evaluator
    assert isinstance(samples, SampleEvaluator)
    jobs: dict[str, Callable[[], Any]] = {
        "own metrics": partial(evaluator.held_out, model, {}),
        "of which training images": partial(evaluator.held_out.means_of_training, model),
        "samples": partial(samples, model.sample),
        "pictures": partial(evaluator.draw, model),
    }
    for measured in evaluator.of_encoder if model.can_encode else ():
        jobs["reconstruction"] = partial(measured, model, evaluator.data, samples, {})
    comparison = replace(samples.real, fake=samples.fake)
    jobs |= {f"of samples: {name}": partial(metric.compute, comparison) for name, metric in samples.metrics.items()}
    for name, job in jobs.items():
        print(f"  {name:<24} {seconds(torch.no_grad()(job)):6.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data", help="folder of MNIST")
    parser.add_argument("overrides", nargs="*", help="the model; model=vae networks=mlp if none is given")
    parser.add_argument("--protocols", nargs="+", default=["quick", "standard"])
    parser.add_argument("--share", action="store_true", help="also the share of a run of 3,000 steps")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    chosen = options.overrides or ["model=vae", "model/likelihood=gaussian", "networks=mlp"]
    for protocol in options.protocols:
        evaluator, model, again = whole(protocol, ["dataset=mnist", f"dataset.root='{options.data}'", *chosen])
        if options.share:
            share(chosen, options.data, again)
        else:
            parts(evaluator, model)
    if options.share:
        return
    features = torch.randn(10_000, 2048)
    product = seconds(lambda: features.double().T @ features.double())
    print(f"moments of 10,000 x 2048 features: {seconds(lambda: Moments.of(features)) / product:.2f} of one product")


if __name__ == "__main__":
    main()
