"""The digits that come with scikit-learn: nothing to download."""

import torch

from lightning_gen.data.imageset import Decoding, ImageSet, Splits


def digits(decoding: Decoding | None = None) -> Splits:
    """The 1,797 digits of 8x8 pixels in scikit-learn (UCI optdigits): 1,437 training and 360 test images.

    There is no official split of these 1,797. This one is stratified and drawn with random_state 0.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    grey = torch.from_numpy(data.images).div(16).mul(255).round().to(torch.uint8).unsqueeze(1)  # 0..16 -> 0..255
    labels = torch.from_numpy(data.target).long()
    train, test = train_test_split(range(len(grey)), test_size=360, stratify=data.target, random_state=0)
    whole = ImageSet(grey, labels, tuple("0123456789"))
    return Splits(whole.subset(torch.tensor(train)), whole.subset(torch.tensor(test)))
