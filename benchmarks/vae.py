"""How fast a VAE experiment trains on one CPU thread, and how far it gets in its first steps.

    python benchmarks/vae.py iwae5_mnist 1000

prints steps per second of CPU time (other processes do not count), and the test NLL of 100 images by importance
sampling with k = 5000 after this many steps at the schedule's first rate.
"""

import sys
import time
from itertools import islice

import torch

from lightning_gen.config.build import build_data, build_model
from lightning_gen.config.compose import compose
from lightning_gen.evaluation.likelihood import build_likelihood
from lightning_gen.randomness import StepNoise

CPU = torch.device("cpu")


def main(experiment: str, steps: int) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = compose([f"experiment={experiment}", "evaluation.nll.images=100"])
    data = build_data(config)
    model = build_model(config, data.image_shape)
    model.see_data(data, fresh=True)
    optimizer, noise = model.configure_optimizers(), StepNoise(0)
    start = time.process_time()
    for step, batch in enumerate(islice(data.train_loader(CPU), steps)):
        noise.start(step)
        loss = model.objective(model.terms(batch, noise)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seconds = time.process_time() - start
    likelihood = build_likelihood(config.evaluation)
    assert likelihood is not None
    metrics, _ = likelihood(model.eval(), data)
    print(f"{experiment}: {steps / seconds:.1f} steps a second of CPU time, {steps} steps in {seconds:.0f} s")
    print(f"test NLL {metrics['eval/nll']:.2f} +- {metrics['eval/nll_standard_error']:.2f}, loss {loss.item():.2f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
