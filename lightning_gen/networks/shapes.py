"""Which image sizes a network can halve, and how often."""

from lightning_gen.errors import UserError

ImageShape = tuple[int, int, int]  # channels, height, width

POINTS: ImageShape = (1, 1, 2)  # points in the plane are images of one row and two pixels, x and y


def is_vector(image_shape: ImageShape) -> bool:
    """Whether these are points in the plane or rows of a table, [1, 1, D], and not images."""
    return tuple(image_shape[:2]) == (1, 1)


def refuse_points(image_shape: ImageShape, network: str) -> None:
    """Raise a UserError for points in the plane and rows of a table, which `network` cannot process."""
    if is_vector(image_shape):
        what = "points in the plane" if tuple(image_shape) == POINTS else "vectors"
        raise UserError(f"networks={network} is for images, and these are {what}: use networks=mlp.")


def check_images(model: str, image_shape: ImageShape) -> None:
    """Raise a UserError for points in the plane, which this model cannot process with any networks."""
    if tuple(image_shape) == POINTS:
        raise UserError(
            f"model={model} is for images, and these are points in the plane: use model=vae "
            "model/likelihood=gaussian networks=mlp."
        )


def halvings(image_shape: ImageShape, smallest: int = 4, network: str = "conv") -> int:
    """How often both sides are halved until the shorter one is in [smallest, 2 * smallest).

    Twice for 28 -> 14 -> 7, three times for 32 -> 16 -> 8 -> 4, once for 8 -> 4. An odd side below 8 pixels also ends
    it, so 28 is halved twice for any `smallest`.

    Raises:
        UserError: an odd side would have to be halved, or the image is too small to be halved once. The message names
            `network`.
    """
    refuse_points(image_shape, network)
    _, height, width = image_shape
    count, h, w = 0, height, width
    while min(h, w) >= 2 * smallest:
        if h % 2 or w % 2:
            if min(h, w) < 8:
                break
            step = 2 ** (count + 1)
            raise UserError(
                f"networks={network} cannot halve images of {height}x{width}: both sides must be multiples of "
                f"{step}. Set dataset.size to {max(height // step, 1) * step}, or networks=mlp."
            )
        count, h, w = count + 1, h // 2, w // 2
    if count == 0:
        raise UserError(
            f"networks={network} needs images of at least {2 * smallest}x{2 * smallest}, not {height}x{width}. "
            f"Set dataset.size to {2 * smallest} or more, or networks=mlp."
        )
    return count


def halvings_above_seven(image_shape: ImageShape, network: str) -> int:
    """How often a residual discriminator halves: at least once, until the shorter side is below 14 pixels.

    Twice for 32 -> 16 -> 8 and for 28 -> 14 -> 7; blocks that keep the resolution follow (Miyato et al. 2018, app.
    B.4).

    Raises:
        UserError: as in `halvings`, because the generator must halve the same images.
    """
    most = halvings(image_shape, network=network)
    short = min(image_shape[1:])
    return max(1, sum(short >> i >= 14 for i in range(most)))
