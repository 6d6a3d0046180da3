"""The methods of scripts/table_compatibility.py, each with three settings that are tried on the validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANCHOR = "frozen + cosine"  # what the additions are added to, and compared with
BASELINE = "M(q*,q*)"  # the free encoder, which is tuned as well
PARAGON, CONTROL, PIXELS = "M(g,g)", "M(q*,g)", "raw pixels"
SEEDS = (0, 1, 2)
VALIDATION = "validation"  # the split that a default recipe is chosen by
COMMAND = "python scripts/table_compatibility.py"

RATE = "rate"  # in settings: a multiple of the data set's learning rate

Settings = Mapping[str, Any]  # overrides of a recipe, and RATE
RATES = (0.5, 1.0, 2.0)  # times the data set's learning rate, which all methods share


def _objectives(**terms: Any) -> Settings:
    configs = {name: value if isinstance(value, dict) else {"weight": value} for name, value in terms.items()}
    return {"objectives": configs}


def _alone(name: str) -> tuple[Settings, ...]:
    # The optimiser takes no notice of one objective's weight, so the learning rate is tried instead.
    return tuple({**_objectives(**{name: 1.0}), RATE: rate} for rate in RATES)


def _added(name: str, *tried: Any) -> tuple[Settings, ...]:
    return tuple(_objectives(**{name: value}) for value in tried)


METHODS: dict[str, tuple[Settings, ...]] = {  # each with three settings; "anchor + …": added to the anchor's best one
    "frozen classifier": tuple(_objectives(frozen_classifier={"margin": margin}) for margin in (0.0, 0.15, 0.3)),
    "cosine regression": _alone("cosine_regression"),
    "L2 regression": _alone("l2_regression"),
    "soft labels": _alone("soft_labels"),
    "soft labels + cosine (no labels)": tuple(
        _objectives(soft_labels=1.0, cosine_regression=weight) for weight in (4.0, 16.0, 64.0)
    ),
    "cross-contrastive": tuple(_objectives(cross_contrastive={"tau": tau}) for tau in (0.05, 0.1, 0.2)),
    "cross-contrastive + MS": tuple(
        _objectives(cross_contrastive=1.0, multi_similarity=weight) for weight in (0.5, 1.0, 4.0)
    ),
    "L2 + cross-contrastive + MS": tuple(
        _objectives(l2_regression=weight, cross_contrastive=1.0, multi_similarity=1.0) for weight in (1.0, 4.0, 16.0)
    ),
    ANCHOR: tuple(_objectives(frozen_classifier=1.0, cosine_regression=weight) for weight in (4.0, 16.0, 64.0)),
    f"{ANCHOR} + own head + MS": tuple(
        _objectives(classification=0.5, multi_similarity=weight) for weight in (0.1, 0.25, 1.0)
    ),
    f"{ANCHOR} + soft labels": _added("soft_labels", 0.5, 2.0, 8.0),
    f"{ANCHOR} + similarity": _added("similarity", 0.5, 2.0, 8.0),
    f"{ANCHOR} + contextual": _added("contextual", *({"tau_q": tau} for tau in (0.05, 0.1, 1.0))),
    f"{ANCHOR} + d3still": _added("d3still", 0.003, 0.01, 0.03),
    f"{ANCHOR} + codebook": _added("codebook", 0.5, 2.0, 8.0),
    f"{ANCHOR} + class boundary": _added("class_boundary", 0.5, 2.0, 8.0),
    f"{ANCHOR} + cross-contrastive": _added("cross_contrastive", 0.1, 0.5, 2.0),
}
BLENDED = ", blended"  # after a method's name: in a gallery that its query encoder has a share in
FITTED = ("procrustes", "ridge", "prototypes")  # closed-form maps after the best method
_DEPTHWISE = {"precision": "float32"}  # bfloat16 takes two to three times as long for depthwise convolutions on a CPU
LARGER: dict[str, Settings] = {  # other query networks, with the anchor's settings
    "MobileNetV3-Small": {
        "encoder": {"architecture": "timm", "arguments": {"name": "mobilenetv3_small_100"}, "dim": 128}, **_DEPTHWISE
    },
    "ShuffleNetV2 x0.5": {
        "encoder": {"architecture": "torchvision", "arguments": {"name": "shufflenet_v2_x0_5"}, "dim": 128},
        **_DEPTHWISE,
    },
}
FREE: tuple[Settings, ...] = tuple({RATE: rate} for rate in RATES)  # of the free encoder
