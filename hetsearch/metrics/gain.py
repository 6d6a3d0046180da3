"""Update gain: how much of a new encoder's progress does an old gallery get without being encoded again?

Shen et al.: "Towards Backward-Compatible Representation Learning" (CVPR 2020).
"""

from __future__ import annotations

import math

from hetsearch.errors import DataError


def update_gain(new_old: float, old_old: float, new_new_free: float) -> float | None:
    """(M(new, old) - M(old, old)) / (M(new*, new*) - M(old, old)), never clipped.

    Args:
        new_old: the new query encoder on the old gallery.
        old_old: the old encoder on its own gallery.
        new_new_free: the new encoder trained without regard to the old one, on its own gallery.

    Returns:
        1 where the old gallery gets all of the progress, below 0 where it loses; None where the free encoder
        is no better than the old one, for then there is no progress to share out.

    Raises:
        DataError: a value that is not finite.

    >>> update_gain(0.625, 0.5, 0.75), update_gain(0.625, 0.5, 0.5)
    (0.5, None)
    """
    values = (new_old, old_old, new_new_free)
    if not all(math.isfinite(value) for value in values):
        raise DataError("values of an update gain are wrong", observed=values, expected="finite numbers")
    progress = new_new_free - old_old
    return (new_old - old_old) / progress if progress > 0 else None
