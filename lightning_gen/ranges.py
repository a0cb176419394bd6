"""The ranges that arguments may have, for their annotations: `latent_dim: Count`.

A config is checked against the annotations of what it builds (lightning_gen/config/schema.py), so an argument that
states its range needs no separate check.
"""

from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

Natural = Annotated[int, Ge(0)]
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
PositiveFraction = Annotated[float, Gt(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]  # of a moving average
