"""The test likelihood of a model, by the protocol of `evaluation.nll`."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.data.module import ImageDataModule
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.likelihood import annealed, importance_sampled
from lightning_gen.metrics.protocol import Numbers, numbers, versions
from lightning_gen.models.base import GenerativeModel
from lightning_gen.objectives.discrete_likelihoods import bits_per_dimension
from lightning_gen.randomness import StepNoise, Stream, mix

BATCH = 20  # images at a time; part of the protocol, because each batch has a seed


@dataclass(frozen=True)
class LikelihoodEvaluator:
    """-log p(x) of held-out images, in nats, with its standard error over images.

    `method`: `importance` takes `k` draws from q(z|x) for each image; `ais` (annealed importance sampling) takes
    `chains` chains of `temperatures` steps. `images`: the size of a random subset; None: all held-out images. Models
    without densities get no numbers.
    """

    name: str
    k: int
    images: int | None
    method: str
    chains: int
    temperatures: int
    seed: int

    def __call__(self, model: GenerativeModel, data: ImageDataModule, **context: Any) -> Numbers:
        """`eval/nll`, `eval/nll_standard_error`, for 8-bit images `eval/nll_bits_per_dim`, and their protocols."""
        total = len(data.test)
        count = min(self.images or total, total)
        chosen = seeded_subset(total, count, mix(self.seed, Stream.LIKELIHOOD)).sort().values
        found, discrete = self._log_likelihoods(model, data, chosen)
        if found is None:
            return {}, {}
        std = float(found.std()) if count > 1 else 0.0
        metrics = {"nll": -float(found.mean()), "nll_standard_error": std / count**0.5}
        if discrete is not None:
            bits = bits_per_dimension(found.mean(), data.test.images[0].numel(), density=not discrete)
            metrics["nll_bits_per_dim" + ("" if discrete else "_dequantized")] = float(bits)
        how = {"k": self.k} if self.method == "importance" else {"k": self.chains, "temperatures": self.temperatures}
        shared = {"images": f"{count} held-out images", "n_real": count, "split": "test", "method": self.method}
        shared |= {**how, "seed": self.seed, "evaluation": self.name, "versions": versions(), **context}
        return numbers(metrics, **shared)

    def _log_likelihoods(
        self, model: GenerativeModel, data: ImageDataModule, chosen: Tensor
    ) -> tuple[Tensor | None, bool | None]:
        """log p(x) of the images, float64 [N], and whether it is discrete (see `Densities`); None without densities.

        Each process computes a share of the images and gets all results.
        """
        rank, world = distributed.rank_and_world()
        result = torch.zeros(len(chosen), dtype=torch.float64)
        discrete = None
        for index, batch in enumerate(data.test_batches(model.device, BATCH, chosen=chosen)):
            if index % world != rank and index > 0:  # every process needs the first batch, for `discrete`
                continue
            noise = StepNoise(mix(self.seed, Stream.LIKELIHOOD_NOISE))
            noise.start(index)
            with torch.no_grad():
                densities = model.densities(batch._replace(images=batch.images.to(model.dtype)), noise)
            if densities is None:
                return None, None
            discrete = densities.discrete
            if index % world != rank:
                continue
            generator = torch.Generator(model.device).manual_seed(mix(self.seed, Stream.LIKELIHOOD_DRAWS, index))
            estimate = (
                partial(importance_sampled, k=self.k)
                if self.method == "importance"
                else partial(annealed, chains=self.chains, temperatures=self.temperatures)
            )
            found = estimate(densities, device=model.device, generator=generator, dtype=model.dtype)
            result[index * BATCH : index * BATCH + len(found)] = found.double().cpu()
        distributed.all_reduce_sum(result)
        return result, discrete


def build_likelihood(options: DictConfig) -> LikelihoodEvaluator | None:
    """The evaluator of `evaluation.nll`; None if `evaluation.nll.k` is 0."""
    nll = options.get("nll")
    if nll is None or not nll.k:
        return None
    return LikelihoodEvaluator(
        options.name, nll.k, nll.images, nll.method, nll.chains, nll.temperatures, options.seed
    )
