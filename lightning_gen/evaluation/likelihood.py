"""The test likelihood of a model, by the protocol of `evaluation.nll`."""

from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.words import IMAGES
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.likelihood import annealed, importance_sampled, reverse_annealed
from lightning_gen.metrics.protocol import Numbers, numbers, versions
from lightning_gen.models.base import GenerativeModel
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.discrete_likelihoods import bits_per_dimension
from lightning_gen.progress import progress
from lightning_gen.randomness import StepNoise, Stream, mix

BATCH = 20  # images at a time; part of the protocol, because each batch has a seed


@dataclass(frozen=True)
class LikelihoodEvaluator:
    """-log p(x) of held-out images, in nats, with its standard error over images.

    `method`: `importance` takes `k` draws from q(z|x) for each image; `ais` (annealed importance sampling) takes
    `chains` chains of `temperatures` steps; `bidirectional` is `ais`, and bounds log p(x) of images that are drawn
    from the model from both sides. `images`: the size of a random subset; None: all held-out images. Models without
    densities get no numbers. For a model without latents `importance` needs no draws: the protocol says `exact`.
    """

    name: str
    k: int
    images: int | None
    method: str
    chains: int
    temperatures: int
    seed: int

    def __call__(self, model: GenerativeModel, data: ImageDataModule, **context: Any) -> Numbers:
        """`eval/nll`, `eval/nll_standard_error`, for 8-bit images `eval/nll_bits_per_dim`, and their protocols.

        `bidirectional` also has `eval/nll_simulated_ais`, `eval/nll_simulated_reverse_ais` and their difference,
        `eval/nll_simulated_gap`.
        """
        total = len(data.test)
        count = min(self.images or total, total)
        chosen = seeded_subset(total, count, mix(self.seed, Stream.LIKELIHOOD)).sort().values
        estimates, last = self._log_likelihoods(model, data, chosen)
        if last is None:
            return {}, {}
        discrete = last.discrete
        found = estimates[:, 0]
        std = float(found.std()) if count > 1 else 0.0
        metrics = {"nll": -float(found.mean()), "nll_standard_error": std / count**0.5}
        if discrete is not None:
            bits = bits_per_dimension(found.mean(), data.test.images[0].numel(), density=not discrete)
            metrics["nll_bits_per_dim" + ("" if discrete else "_dequantized")] = float(bits)
        how: dict[str, Any] = {"method": self.method, "k": self.k}
        unit = IMAGES if data.table is None else data.unit  # points are `images` here, as always
        if self.method != "importance":
            how |= {"k": self.chains, "temperatures": self.temperatures}
        elif last.exact:
            how = {"method": "exact"}
        shared = {"n_real": count, "split": "test"}
        shared |= {**how, "seed": self.seed, "evaluation": self.name, "versions": versions(), **context}
        values, protocols = numbers(metrics, images=f"{count} held-out {unit}", **shared)
        if self.method == "bidirectional":
            ais, reverse = (-estimates[:, 1:].mean(dim=0)).tolist()
            bounds = {
                "nll_simulated_ais": ais,
                "nll_simulated_reverse_ais": reverse,
                "nll_simulated_gap": ais - reverse,
            }
            more = numbers(bounds, images=f"{count} {unit} drawn from the model", **shared)
            values, protocols = values | more[0], protocols | more[1]
        return values, protocols

    def _log_likelihoods(
        self, model: GenerativeModel, data: ImageDataModule, chosen: Tensor
    ) -> tuple[Tensor, Densities | None]:
        """The estimates [N, R] of `_estimates`, float64, and the last densities, which are None if there are none.

        Each process computes a share of the images and gets all results.
        """
        rank, world = distributed.rank_and_world()
        result = torch.zeros(len(chosen), 3 if self.method == "bidirectional" else 1, dtype=torch.float64)
        densities = None
        with progress(len(chosen), "evaluation: test likelihood", data.unit) as advance:
            for index, batch in enumerate(data.test_batches(model.device, BATCH, chosen=chosen)):
                if index % world != rank and index > 0:  # every process needs the first batch, for its densities
                    continue
                batch = batch._replace(images=batch.images.to(model.dtype))
                densities = self._densities(model, batch, index)
                if densities is None:
                    return result, None
                if index % world != rank:
                    continue
                found = self._estimates(model, batch, densities, index)
                result[index * BATCH : index * BATCH + len(found)] = found.double().cpu()
                advance(len(found) * world)
        distributed.all_reduce_sum(result)
        return result, densities

    def _densities(self, model: GenerativeModel, batch: Batch, index: int) -> Densities | None:
        noise = StepNoise(mix(self.seed, Stream.LIKELIHOOD_NOISE))
        noise.start(index)
        with torch.no_grad():
            return model.densities(batch, noise)

    def _estimates(self, model: GenerativeModel, batch: Batch, densities: Densities, index: int) -> Tensor:
        """log p(x) of the batch's images, [B, 1].

        With `bidirectional`: [B, 3], the second and third of as many images that are drawn from the model, by
        annealed importance sampling and by its reverse.
        """
        generator = torch.Generator(model.device).manual_seed(mix(self.seed, Stream.LIKELIHOOD_DRAWS, index))
        shared: dict[str, Any] = {"device": model.device, "generator": generator, "dtype": model.dtype}
        if self.method == "importance":
            return importance_sampled(densities, 1 if densities.exact else self.k, **shared).unsqueeze(1)
        shared |= {"chains": self.chains, "temperatures": self.temperatures}
        found = [annealed(densities, **shared)]
        if self.method == "bidirectional":
            noise = StepNoise(mix(self.seed, Stream.LIKELIHOOD_SIMULATION))
            noise.start(index)
            assert densities.simulate is not None
            with torch.no_grad():
                normal = noise.normal(densities.shape, model.device).to(model.dtype)
                uniform = noise.uniform(densities.shape[:1], model.device).to(model.dtype)
                codes = densities.draw_prior(normal, uniform)
                images = densities.simulate(codes, noise).to(model.dtype)
            simulated = self._densities(model, batch._replace(images=images), index)
            assert simulated is not None
            found += [annealed(simulated, **shared), reverse_annealed(simulated, codes, **shared)]
        return torch.stack(found, dim=1)


def build_likelihood(options: DictConfig) -> LikelihoodEvaluator | None:
    """The evaluator of `evaluation.nll`; None if `evaluation.nll.k` is 0."""
    nll = options.get("nll")
    if nll is None or not nll.k:
        return None
    return LikelihoodEvaluator(
        options.name, nll.k, nll.images, nll.method, nll.chains, nll.temperatures, options.seed
    )
