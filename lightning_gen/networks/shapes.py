"""Which image sizes a network can divide."""

from lightning_gen.errors import UserError

ImageShape = tuple[int, int, int]  # channels, height, width

POINTS: ImageShape = (1, 1, 2)  # 2-D points are images of one row and two pixels, x and y


def halvings(image_shape: ImageShape, smallest: int = 4, network: str = "conv") -> int:
    """How often both sides can be halved until the shorter one lies in [smallest, 2 * smallest).

    28 -> 14 -> 7 is two, 32 -> 16 -> 8 -> 4 is three, 8 -> 4 is one. Below 8 pixels an odd side ends it too, so that
    28 is two for any `smallest`.

    Raises:
        UserError: a side would have to be halved while odd, or is too small to be halved once; the message names
            `network`.
    """
    if tuple(image_shape) == POINTS:
        raise UserError(f"networks={network} is for images, and these are points of the plane: use networks=mlp.")
    _, height, width = image_shape
    count, h, w = 0, height, width
    while min(h, w) >= 2 * smallest:
        if h % 2 or w % 2:
            if min(h, w) < 8:
                break
            step = 2 ** (count + 1)
            raise UserError(
                f"networks={network} cannot divide images of {height}x{width}: both sides must be multiples of "
                f"{step}. Set dataset.size to {max(height // step, 1) * step}, or networks=mlp."
            )
        count, h, w = count + 1, h // 2, w // 2
    if count == 0:
        raise UserError(
            f"networks={network} needs images of at least {2 * smallest}x{2 * smallest}, these are {height}x{width}. "
            f"Set dataset.size to {2 * smallest} or more, or networks=mlp."
        )
    return count


def halvings_above_seven(image_shape: ImageShape, network: str) -> int:
    """How often a discriminator of residual blocks halves: once, then until the shorter side is below 14 pixels.

    32 -> 16 -> 8 is two and 28 -> 14 -> 7 is two, with plain blocks behind (Miyato et al. 2018, app. B.4).

    Raises:
        UserError: as `halvings`, for the generator must divide the same images.
    """
    most = halvings(image_shape, network=network)
    short = min(image_shape[1:])
    return max(1, sum(short >> i >= 14 for i in range(most)))
