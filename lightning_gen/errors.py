"""Mistakes of the user, told in one or two lines."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something that the user can put right; the message names the override to change."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`" Did you mean 'x'?"` for the closest of `known`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""
