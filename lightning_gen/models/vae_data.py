"""What a VAE computes from its data before training: a check of the likelihood, and the mean image."""

import sys

import torch
from torch import Tensor, nn

from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.objectives.likelihoods import Bernoulli, ContinuousBernoulli, Likelihood

CPU = torch.device("cpu")


def check_likelihood(likelihood: Likelihood, data: ImageDataModule) -> None:
    """Check that the likelihood fits the data; warn about binary colours and a cross entropy that is no likelihood.

    Raises:
        UserError: a likelihood of images for data of points, or of 8-bit values for dequantized images.
    """
    of_images = likelihood.discrete or likelihood.binary or isinstance(likelihood, ContinuousBernoulli)
    if of_images and data.train.images.is_floating_point():
        raise UserError(
            f"{type(likelihood).__name__} is a likelihood of images, but these data are points: use "
            "model/likelihood=gaussian."
        )
    if likelihood.discrete and data.batch_transform.dequantize:
        raise UserError(
            "model/likelihood=categorical and logistic_mixture need images with 8-bit values: set "
            "dataset.dequantize=false."
        )
    if (
        isinstance(likelihood, Bernoulli)
        and likelihood.binarize
        and data.image_shape[0] > 1
        and data.binarize == "none"
    ):
        print(
            "warning: model/likelihood=bernoulli draws every colour of every pixel as 0 or 1. For photographs use "
            "model/likelihood=gaussian or logistic_mixture.",
            file=sys.stderr,
        )
    if isinstance(likelihood, Bernoulli) and not likelihood.binarize:
        floor = grey_entropy(data)
        if floor > 0:
            print(
                "warning: model.likelihood.binarize=false on grey images is a cross entropy, not a likelihood. It "
                f"cannot fall below {floor:.2f} nats here, the entropy of the grey values, and cannot be compared "
                "with likelihoods. Use model.likelihood.binarize=true, dataset.binarize=static or dynamic, or "
                "model/likelihood=continuous_bernoulli.",
                file=sys.stderr,
            )


def grey_entropy(data: ImageDataModule) -> float:
    """The entropy of an image with pixels as probabilities: summed over pixels, mean of held-out images, in nats."""
    total = 0.0
    for batch in data.test_batches(CPU):
        greys = batch.images.double()
        total += float((torch.special.entr(greys) + torch.special.entr(1 - greys)).sum())
    return total / len(data.test)


def mean_image(data: ImageDataModule) -> Tensor:
    """The mean of up to 60,000 training images, [C, H, W]."""
    total, count = torch.zeros(data.image_shape, dtype=torch.float64), 0
    for batch in data.train_batches(CPU, limit=60_000):
        total += batch.images.sum(dim=0, dtype=torch.float64)
        count += len(batch.images)
    return (total / count).float()


def set_output_bias(decoder: nn.Module, output: Tensor) -> None:
    """Set the decoder's last bias to this output [C, H, W], or to its mean in each channel if it has C numbers.

    Raises:
        UserError: the last bias has neither size.
    """
    biased = [module for module in decoder.modules() if isinstance(getattr(module, "bias", None), nn.Parameter)]
    bias = biased[-1].bias if biased else None
    assert bias is None or isinstance(bias, nn.Parameter)
    with torch.no_grad():
        if bias is not None and bias.numel() == output.numel():
            bias.copy_(output.flatten())
        elif bias is not None and bias.numel() == len(output):
            bias.copy_(output.mean(dim=(1, 2)))
        else:
            raise UserError(
                "model.output_bias=data_mean needs a bias in the decoder's last layer, with a number for each pixel "
                "or channel: set model.output_bias=default."
            )
