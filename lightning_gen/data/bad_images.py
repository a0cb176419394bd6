"""Images that cannot be used: named, counted, and then refused or left out."""

import os
import sys
from collections.abc import Sequence

from lightning_gen.errors import UserError

SHOWN = 3
POLICIES = ("refuse", "skip")


def settle(bad: Sequence[tuple[str, str]], total: int, where: str, policy: str, advice: str = "") -> None:
    """Refuse or report the bad images, each (name, reason), among `total`.

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
