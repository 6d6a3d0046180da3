"""The shared space: what it is, how its id is minted, and the refusal to mix two of them.

A space is what one trained gallery encoder defines. Its id is minted once, from the trained float32 weights, the
classifier ``W``, the dimension, the metric and the gallery encoder's input specification; every artefact carries it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from hetsearch.errors import DamagedArtifact, DataError, SpaceMismatch, UsageError
from hetsearch.files import atomic_folder, checksums, dump_json, read_json, verify_checksums
from hetsearch.preprocess import InputSpec

SCHEMA = 1
NORM_TOLERANCE = 1e-3  # float16 shards keep unit norm to about 5e-4

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddingSpace:
    """One shared space.

    Attributes:
        id: ``sp_`` and 16 hexadecimal digits.
        dim: length of a vector.
        metric: always cosine, on unit vectors.
        fingerprint: SHA-256 of the gallery encoder's trained float32 weights (or of the vectors, if only those
            are known).
        classes: names of the classifier's rows; empty without a classifier.
        classifier: ``W``, unit rows, ``(classes, dim)``; None where only vectors are known.
        scale: the factor on cosines with which ``W`` was trained.
        compatible_with: older spaces whose vectors this one may be searched among, with the measured numbers.
    """

    id: str
    dim: int
    fingerprint: str
    classes: tuple[str, ...] = ()
    classifier: Vectors | None = None
    scale: float | None = None
    metric: Literal["cosine"] = "cosine"
    compatible_with: tuple[dict[str, Any], ...] = field(default=())

    @classmethod
    def mint(
        cls,
        weights: Mapping[str, NDArray[Any]],
        *,
        dim: int,
        input_spec: InputSpec,
        classifier: Vectors | None = None,
        classes: Sequence[str] = (),
        scale: float | None = None,
    ) -> EmbeddingSpace:
        """Define a new space from a trained gallery encoder.

        Args:
            weights: every trained array of the encoder by name, float32 (integer buffers keep their type).
            dim: length of a vector.
            input_spec: what the gallery encoder takes.
            classifier: ``(classes, dim)``, unit rows.
            classes: a name for each row of ``classifier``.
            scale: the factor on cosines with which the classifier was trained.
        """
        fingerprint = fingerprint_of(weights)
        if classifier is not None:
            classifier = np.ascontiguousarray(classifier, dtype=np.float32)
            check_vectors(classifier, dim, what="the classifier")
            if len(classes) != len(classifier):
                raise DataError("the classifier's rows lack names", observed=len(classes), expected=len(classifier))
        digest = hashlib.sha256(fingerprint.encode())
        digest.update(b"" if classifier is None else classifier.tobytes())
        digest.update(f"|{dim}|cosine|{input_spec.model_dump_json()}".encode())
        return cls(f"sp_{digest.hexdigest()[:16]}", dim, fingerprint, tuple(classes), classifier, scale)

    def save(self, folder: Path) -> None:
        """Write ``space.json`` and, where there is a classifier, ``classifier.safetensors``."""
        with atomic_folder(folder) as temporary:
            if self.classifier is not None:
                (temporary / "classifier.safetensors").write_bytes(save({"W": self.classifier}))
            document = {
                "schema": SCHEMA,
                "space": self.id,
                "dim": self.dim,
                "metric": self.metric,
                "gallery_fingerprint": self.fingerprint,
                "scale": self.scale,
                "classes": list(self.classes),
                "compatible_with": list(self.compatible_with),
                "files": checksums(temporary, but="space.json"),
            }
            (temporary / "space.json").write_text(dump_json(document), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> EmbeddingSpace:
        """Read a space folder, or the ``space/`` inside ``folder``, and verify its checksums.

        Raises:
            UsageError: there is no space.
            DamagedArtifact: a file was changed or cannot be read.
        """
        folder = folder / "space" if (folder / "space" / "space.json").is_file() else folder
        document = read_json(folder / "space.json", what="a space", schema=SCHEMA)
        try:
            verify_checksums(folder, document["files"])
            path = folder / "classifier.safetensors"
            classifier = load_file(path)["W"] if "classifier.safetensors" in document["files"] else None
            return cls(
                id=document["space"],
                dim=document["dim"],
                fingerprint=document["gallery_fingerprint"],
                classes=tuple(document["classes"]),
                classifier=classifier,
                scale=document["scale"],
                metric=document["metric"],
                compatible_with=tuple(document["compatible_with"]),
            )
        except (KeyError, TypeError, SafetensorError) as error:
            raise DamagedArtifact(f"'{folder}' is not a whole space", observed=repr(error)) from None


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors that know their space and their keys.

    Attributes:
        vectors: ``(n, dim)``, float32, unit rows.
        space: id of the space they lie in.
        keys: a name for each row.
    """

    vectors: Vectors
    space: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.keys):
            raise DataError(
                "embeddings and keys do not match", observed=f"{self.vectors.shape} and {len(self.keys)} keys"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])


def require_space(observed: str, expected: str, *, what: str) -> None:
    """Refuse to mix two spaces.

    Args:
        observed: the space id of what is brought in.
        expected: the space id of what is there already.
        what: the two things, for the message ("the query encoder and the gallery").

    Raises:
        SpaceMismatch: the ids differ; the message names both.
    """
    if observed != expected:
        raise SpaceMismatch(
            f"{what} belong to different spaces",
            observed=observed,
            expected=expected,
            hint="Their vectors cannot be compared. Use an encoder of the expected space, or train one into it "
            "with 'hetsearch train query --space …'.",
        )


def check_vectors(vectors: NDArray[Any], dim: int, *, what: str) -> None:
    """Refuse vectors that a nearest-neighbour library would take in silence.

    Args:
        vectors: ``(n, dim)``.
        dim: the dimension of the space.
        what: what they are, for the message.

    Raises:
        DataError: wrong shape, NaN or infinity, or a row that is not of unit length.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise DataError(f"{what} have the wrong shape", observed=tuple(vectors.shape), expected=f"(n, {dim})")
    # One pass in float64 without a copy: a search checks its query, and must not cost more for that.
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    if (np.abs(norms - 1) <= NORM_TOLERANCE).all():
        return
    if not np.isfinite(norms).all():
        raise DataError(f"{what} hold NaN or infinity", observed=f"row {int(np.argmin(np.isfinite(norms)))}")
    worst = int(np.abs(norms - 1).argmax())
    raise DataError(
        f"{what} are not of unit length",
        observed=f"norm {norms[worst]:.4f} in row {worst}",
        expected=f"1 ± {NORM_TOLERANCE}",
        hint="Divide each vector by its norm.",
    )


def require_share(share: float) -> None:
    """Refuse a share of a blend that leaves out one of its encoders.

    Raises:
        UsageError: it is not above 0 and below 1.
    """
    if not 0 < share < 1:
        raise UsageError("the share of a blend is wrong", observed=share, expected="more than 0 and less than 1")


def blend_vectors(gallery: Vectors, query: Vectors, share: float) -> Vectors:
    """The unit vectors ``(1 - share) · gallery + share · query``, each divided by its length.

    Args:
        gallery: the gallery encoder's, ``(n, dim)``, unit rows.
        query: the query encoder's of the same images, ``(n, dim)``, unit rows.
        share: of ``query``, above 0 and below 1.

    Raises:
        UsageError: another share.
        DataError: the shapes differ, or two vectors are opposite, so that nothing but rounding would be left.
    """
    require_share(share)
    if gallery.shape != query.shape or gallery.ndim != 2:
        raise DataError("vectors to blend do not match", observed=f"{gallery.shape} and {query.shape}")
    mixed = (1 - share) * gallery.astype(np.float64) + share * query.astype(np.float64)
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True)
    if not (lengths > NORM_TOLERANCE).all():
        row = int(np.argmin(lengths > NORM_TOLERANCE))
        raise DataError(
            "the two encoders' vectors of an image are opposite, and their blend has no direction",
            observed=f"length {lengths[row, 0]:.1e} in row {row} with share {share}",
            expected=f"more than {NORM_TOLERANCE}",
            hint="Take another share; encoders of one space should agree far better.",
        )
    return np.asarray(mixed / lengths, dtype=np.float32)


def fingerprint_of(arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
