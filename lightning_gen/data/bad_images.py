"""What happens to images that cannot be used: they are named and counted, then refused or left out."""

import os
import sys
from collections.abc import Sequence

from lightning_gen.errors import UserError

SHOWN = 3  # bad images named in a message
POLICIES = ("refuse", "skip")


def settle(bad: Sequence[tuple[str, str]], total: int, where: str, policy: str, advice: str = "") -> None:
    """Refuse bad images or warn about them.

    Args:
        bad: name and reason of each bad image.
        total: number of images, bad ones included.
        where: what the images belong to, for the message.
        policy: "refuse" or "skip".
        advice: a further sentence for the message.

    Raises:
        UserError: the policy is "refuse", or no image is left.
    """
    if not bad:
        return
    listed = ", ".join(f"{name} ({reason})" for name, reason in bad[:SHOWN])
    more = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    text = f"{len(bad):,} of {total:,} images in {where} cannot be used: {listed}{more}."
    advice = f" {advice}" if advice else ""
    if len(bad) == total:
        raise UserError(f"{text}{advice} No image is left.")
    if policy == "refuse":
        raise UserError(f"{text}{advice} Set dataset.on_bad_image=skip to leave them out.")
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"warning: left out {text}", file=sys.stderr)
