"""Train, evaluate and compare autoencoders, VAEs and GANs: PyTorch Lightning, Hydra, wandb."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("lightning-gen")
except PackageNotFoundError:  # run from a checkout that was not installed
    __version__ = "0+unknown"
