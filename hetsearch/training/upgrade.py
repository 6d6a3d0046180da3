"""What a new space says of an older one that it shall be compatible with."""

from __future__ import annotations

from typing import Any

from hetsearch.data.sides import Sides
from hetsearch.metrics import difference_interval
from hetsearch.metrics.bootstrap import FEWEST
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.torch_encoder import TorchEncoder
from hetsearch.training.images import LoadedImages, per_query_metrics
from hetsearch.training.reference import Reference


def compatibility_record(network: EncoderNetwork, old: Reference, validation: LoadedImages) -> dict[str, Any]:
    """M(new, old) against M(old, old) on the validation split, by metric: the empirical criterion of backward
    compatibility (Shen et al., CVPR 2020).

    Args:
        network: the new gallery encoder's, trained.
        old: the older space.
        validation: the images.

    Returns:
        An entry of a space's ``compatible_with``. ``compatible`` is true, false, or null where the 95 % interval of the
        paired difference holds 0 or where there are fewer than ten queries; it is null whole, with the ``reason``,
        where the older encoder is not at hand.
    """
    record: dict[str, Any] = {"space": old.space.id, "data": validation.images.name}
    if not old.covers(validation):
        return {**record, "metrics": None, "compatible": None, "reason": "the older gallery encoder was not there"}
    sides = Sides.of(validation.images)
    new = TorchEncoder(network, name="", space="").encode_pixels(validation.pixels)
    before = old.embed(validation, network.spec)
    cells = {"M(new,new)": (new, new), "M(new,old)": (new, before), "M(old,old)": (before, before)}
    values = {name: per_query_metrics(query, gallery, sides) for name, (query, gallery) in cells.items()}
    differences, compatible = {}, {}
    for metric, first in values["M(new,old)"].items():
        second = values["M(old,old)"][metric]
        low, high = difference_interval(first, second)
        difference = float(first.mean() - second.mean())
        differences[metric] = {"difference": difference, "ci": [low, high]}
        compatible[metric] = None if low <= 0 <= high or len(first) < FEWEST else difference > 0
    return {
        **record,
        "metrics": {name: {metric: float(row.mean()) for metric, row in rows.items()} for name, rows in values.items()},
        "differences": differences,
        "compatible": compatible,
    }
