"""Which image sizes a network can divide."""

from lightning_gen.errors import UserError

ImageShape = tuple[int, int, int]  # channels, height, width

POINTS: ImageShape = (1, 1, 2)  # 2-D points are images of one row and two pixels, x and y


def halvings(image_shape: ImageShape, smallest: int = 4) -> int:
    """How often both sides can be halved until the shorter one lies in [smallest, 2 * smallest).

    28 -> 14 -> 7 is two, 32 -> 16 -> 8 -> 4 is three, 8 -> 4 is one.

    Raises:
        UserError: a side would have to be halved while odd, or is too small to be halved once.
    """
    if tuple(image_shape) == POINTS:
        raise UserError("networks=conv is for images, and these are points of the plane: use networks=mlp.")
    _, height, width = image_shape
    count, h, w = 0, height, width
    while min(h, w) >= 2 * smallest:
        if h % 2 or w % 2:
            step = 2 ** (count + 1)
            raise UserError(
                f"networks=conv cannot divide images of {height}x{width}: both sides must be multiples of {step}. "
                f"Set dataset.size to {max(height // step, 1) * step}, or networks=mlp."
            )
        count, h, w = count + 1, h // 2, w // 2
    if count == 0:
        raise UserError(
            f"networks=conv needs images of at least {2 * smallest}x{2 * smallest}, these are {height}x{width}. "
            f"Set dataset.size to {2 * smallest} or more, or networks=mlp."
        )
    return count
