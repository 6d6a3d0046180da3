"""Does ``model.onnx`` give what it was made from gives? A report, and a bound for each precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from hetsearch.errors import DataError, HetsearchError
from hetsearch.models.network import EncoderNetwork
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime.encoder import Encoder

BATCHES = (1, 2, 7)
MOST = 256  # images; one by one, a large network takes its time
# Smallest cosine that is let through. float32 differs by the order of sums alone.
SMALLEST_COSINE = {"float32": 0.99999, "float16": 0.999, "int8-weights": 0.98, "int8": 0.95, "int8-nncf": 0.95}

Reference: TypeAlias = "Callable[[Pixels], NDArray[np.floating[Any]]]"  # pixels → (n, dim), unit rows


@dataclass(frozen=True)
class Parity:
    """How far ``model.onnx`` is from its reference: the float32 network, or the two encoders of a blend.

    Attributes:
        precision: of the file.
        largest_difference: of one number of a vector.
        smallest_cosine: between the two vectors of one image.
        images: how many were compared, over all batch sizes.
        batches: the batch sizes.
    """

    precision: str
    largest_difference: float
    smallest_cosine: float
    images: int
    batches: tuple[int, ...] = BATCHES

    def as_dict(self) -> dict[str, Any]:
        """For ``encoder.json``."""
        return asdict(self)

    def sentence(self, reference: str = "torch") -> str:
        """One line for a person."""
        return (
            f"model.onnx ({self.precision}) against {reference} over {self.images} images in batches of "
            f"{', '.join(map(str, self.batches))}: largest difference {self.largest_difference:.1e}, "
            f"smallest cosine {self.smallest_cosine:.7f}"
        )


def measure_parity(
    network: EncoderNetwork, encoder: Encoder, *, precision: str, images: Pixels | None = None
) -> Parity:
    """Compare a network with its exported file.

    Args:
        network: float32, the reference.
        encoder: the exported file.
        precision: of the file.
        images: ``uint8 (n, channels, size, size)``, of which at most 256 are taken; None takes made pictures.

    Raises:
        HetsearchError: a vector is further off than the precision allows, or is NaN.
    """

    def vectors_of(batch: Pixels) -> NDArray[np.floating[Any]]:
        with torch.no_grad():
            return np.asarray(network.cpu().eval()(torch.from_numpy(batch)).double().numpy())

    return compare(vectors_of, encoder, precision=precision, bound=SMALLEST_COSINE[precision], images=images)


def compare(
    reference: Reference,
    encoder: Encoder,
    *,
    precision: str,
    bound: float,
    name: str = "torch",
    images: Pixels | None = None,
) -> Parity:
    """Compare an exported file with anything that gives the vectors it should give.

    Args:
        reference: gives them.
        encoder: the exported file.
        precision: of the file.
        bound: the smallest cosine that is let through.
        name: what a person calls the reference.
        images: see :func:`measure_parity`.

    Raises:
        HetsearchError: a vector is further off than ``bound``, or is NaN.
    """
    pixels = made_pictures(encoder.input) if images is None else _some(images)
    largest, smallest, count = 0.0, 1.0, 0
    for size in BATCHES:
        for start in range(0, len(pixels) - size + 1, size):
            batch = np.ascontiguousarray(pixels[start : start + size])
            expected = reference(batch).astype(np.float64)
            found = encoder.encode_pixels(batch).astype(np.float64)
            # NumPy's maximum and minimum keep a NaN, Python's would lose it.
            largest = float(np.maximum(largest, np.abs(found - expected).max()))
            smallest = float(np.minimum(smallest, (found * expected).sum(axis=1).min()))
            count += size
    parity = Parity(precision, largest, smallest, count)
    if not smallest >= bound:
        raise HetsearchError(
            "the exported file does not give the network's vectors",
            observed=parity.sentence(name),
            expected=f"smallest cosine ≥ {bound}",
        )
    return parity


def _some(images: Pixels) -> Pixels:
    if len(images) < max(BATCHES):
        raise DataError("parity needs more images", observed=len(images), expected=f"at least {max(BATCHES)}")
    chosen = np.linspace(0, len(images) - 1, min(MOST, len(images))).astype(np.int64)
    return images[chosen]


def made_pictures(spec: InputSpec, count: int = 14) -> Pixels:
    """Deterministic pictures from smooth to noisy, ``uint8 (count, channels, size, size)``."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (count, spec.channels, 4, 4))
    side = -(-spec.size // 4)
    smooth = coarse.repeat(side, axis=2).repeat(side, axis=3)[:, :, : spec.size, : spec.size]
    noise = random.integers(0, 256, smooth.shape)
    share = np.linspace(0, 1, count)[:, None, None, None]
    return np.rint(smooth * (1 - share) + noise * share).astype(np.uint8)
