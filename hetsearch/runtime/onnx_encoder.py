"""An encoder bundle, run on the CPU by ONNX Runtime, or from the same file by OpenVINO.

One thread and no spinning by default: the tiny network is faster so than with a pool, and it leaves the other
cores alone.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image
from pydantic import ValidationError

from hetsearch.bundle import ONNX, EncoderCard, read_card
from hetsearch.errors import DamagedArtifact, DataError, ImageError, UsageError, nearest
from hetsearch.preprocess import ImageLike, InputSpec, Pixels, preprocess
from hetsearch.runtime.backends import BACKENDS, INPUT, OUTPUT, Run
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import Embeddings, Vectors

BATCH = 64  # images in one call: more gains nothing on a CPU and costs memory


class OnnxEncoder:
    """An encoder bundle by its ONNX file; see :func:`load_encoder`.

    Attributes:
        card: what ``encoder.json`` says.
    """

    def __init__(self, folder: Path, card: EncoderCard, run: Run) -> None:
        self.card = card
        self._folder = folder
        self._name = folder.resolve().name  # asks the disk; a server says it with every answer
        self._run = run

    @property
    def name(self) -> str:
        """Name of the bundle's folder."""
        return self._name

    @property
    def folder(self) -> Path:
        """The bundle's folder."""
        return self._folder

    @property
    def space(self) -> str:
        """Id of the space that the vectors lie in."""
        return self.card.space

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.card.dim

    @property
    def input(self) -> InputSpec:
        """What the encoder takes."""
        return self.card.input

    def __repr__(self) -> str:
        return f"OnnxEncoder({self.name!r}, role={self.card.role!r}, space={self.space!r}, dim={self.dim})"

    def encode(
        self, images: ImageLike | Sequence[ImageLike], keys: Sequence[str] | None = None
    ) -> Embeddings:
        """Embed one picture or many.

        Args:
            images: paths, encoded bytes, Pillow images, or ``uint8`` arrays ``(height, width)`` or
                ``(height, width, 3)``; one, a sequence, or an array with a leading axis.
            keys: a name for each picture; else a path's text, or ``"0"``, ``"1"``, …

        Returns:
            ``(n, dim)``; ``(0, dim)`` for an empty sequence.

        Raises:
            ImageError: a picture cannot be read.
            DataError: there are not as many keys as pictures.
            UsageError: these are no pictures.
        """
        return encode_images(self, images, keys)

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed pictures that are preprocessed.

        Args:
            pixels: ``uint8 (n, channels, size, size)``, as ``hetsearch.preprocess`` gives them.

        Returns:
            ``float32 (n, dim)``, unit rows.

        Raises:
            DataError: another type or shape.
        """
        expected = (self.input.channels, self.input.size, self.input.size)
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != expected:
            raise DataError(
                "the pixels do not fit the encoder",
                observed=f"{pixels.dtype} {pixels.shape}",
                expected=f"uint8 (n, {', '.join(map(str, expected))})",
                hint="Use hetsearch.preprocess.preprocess with the encoder's input specification.",
            )
        vectors = np.empty((len(pixels), self.dim), dtype=np.float32)
        for start in range(0, len(pixels), BATCH):
            batch = np.ascontiguousarray(pixels[start : start + BATCH])
            vectors[start : start + len(batch)] = self._run(batch)
        return vectors


def load_encoder(
    path: str | Path, *, threads: int = 1, verify: bool = True, backend: str = "onnxruntime"
) -> OnnxEncoder:
    """Load an encoder bundle.

    Args:
        path: the folder that holds ``encoder.json`` and ``model.onnx``.
        threads: threads that the back-end may use within an operator.
        verify: compare every file with its checksum first.
        backend: what runs the network: ``onnxruntime``, or ``openvino`` from the same file.

    Raises:
        UsageError: no encoder bundle, no ``model.onnx`` in it, ``threads`` below 1, or an unknown back-end.
        DamagedArtifact: a file was changed, or ``model.onnx`` is not the network of ``encoder.json``.
        MissingExtra: the back-end is not installed.
    """
    folder = Path(path)
    if backend not in BACKENDS:
        raise UsageError(f"there is no back-end '{backend}'", hint=nearest(backend, BACKENDS))
    if threads < 1:
        raise UsageError("an encoder needs a thread", observed=f"threads={threads}", expected="1 or more")
    card = read_card(folder, verify=False)
    if not (folder / ONNX).is_file():
        raise UsageError(
            f"'{folder}' has no {ONNX}",
            hint=f"Make it with: hetsearch export '{folder}' (needs hetsearch[train]).",
        )
    if verify:
        card = read_card(folder)
    session = open_session(folder / ONNX, threads)
    _check_graph(folder / ONNX, session, card)
    return OnnxEncoder(folder, card, BACKENDS[backend](session, folder / ONNX, threads))


def encode_images(
    encoder: Encoder, images: ImageLike | Sequence[ImageLike], keys: Sequence[str] | None = None
) -> Embeddings:
    """What every encoder's ``encode`` does around its ``encode_pixels``: read, preprocess, embed in batches, name."""
    many = named_images(images, keys)
    vectors = np.empty((len(many), encoder.dim), dtype=np.float32)
    for start in range(0, len(many), BATCH):
        batch = [pixels_of(name, image, encoder.input) for name, image in many[start : start + BATCH]]
        vectors[start : start + len(batch)] = encoder.encode_pixels(np.stack(batch))
    return Embeddings(vectors, encoder.space, tuple(name for name, _ in many))


def named_images(
    images: ImageLike | Sequence[ImageLike], keys: Sequence[str] | None = None
) -> list[tuple[str, ImageLike]]:
    """One picture or many, as many, each with its name.

    Raises:
        UsageError: see :func:`as_images`.
        DataError: there are not as many keys as pictures.
    """
    many = list(as_images(images))
    if keys is None:
        return [(key_of(place, image), image) for place, image in enumerate(many)]
    if len(keys) != len(many):
        raise DataError("pictures and keys do not match", observed=f"{len(many)} and {len(keys)} keys")
    return list(zip(keys, many, strict=True))


def as_images(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """One picture or many, as many. An array is many where it has an axis more than one picture of up to four bands.

    Raises:
        UsageError: neither a picture nor something that gives pictures.
    """
    if isinstance(images, np.ndarray):
        return [images] if images.ndim < 3 or (images.ndim == 3 and images.shape[2] <= 4) else images
    if isinstance(images, (str, Path, bytes, Image.Image)):
        return [images]
    if isinstance(images, (io.IOBase, bytearray, memoryview)) or not isinstance(images, Iterable):
        raise UsageError(
            "there is nothing to embed in this",
            observed=type(images).__name__,
            expected="a path, bytes, a Pillow image, a uint8 array, or a sequence of these",
        )
    return images


def pixels_of(name: str, image: ImageLike, spec: InputSpec) -> Pixels:
    """A picture preprocessed: ``uint8 (channels, size, size)``.

    Raises:
        ImageError: it cannot be read; the message names it, whatever it is.
    """
    try:
        return preprocess(image, spec)
    except ImageError as error:
        if isinstance(image, (str, Path)):
            raise
        what = f"picture '{name}': {error.what}"
        raise ImageError(what, observed=error.observed, expected=error.expected, hint=error.hint) from None


def key_of(place: int, image: ImageLike) -> str:
    """What a picture is called that was given no key: the text of its path, else its place."""
    return str(image) if isinstance(image, (str, Path)) else str(place)


def open_session(model: Path | bytes, threads: int) -> ort.InferenceSession:
    """An ONNX file, or the bytes of one, in ONNX Runtime, as encoders are run.

    Raises:
        DamagedArtifact: ONNX Runtime refuses it.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 4  # what fails is raised as well; its warnings are not for the user
    try:
        given = model if isinstance(model, bytes) else str(model)
        return ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  ONNX Runtime has an exception class of its own for each status
        name = "a graph" if isinstance(model, bytes) else f"'{model}'"
        raise DamagedArtifact(
            f"{name} is refused by ONNX Runtime",
            observed=" ".join(str(error).split())[:200],
            hint="Export the bundle again.",
        ) from None


def _check_graph(path: Path, session: ort.InferenceSession, card: EncoderCard) -> None:
    """Refuse an ONNX file that is not the network of ``encoder.json``: a copied file, or an edited card."""
    metadata: dict[str, str] = session.get_modelmeta().custom_metadata_map
    inputs = [(value.name, value.type) for value in session.get_inputs()]
    outputs = [(value.name, value.type) for value in session.get_outputs()]
    found: dict[str, Any] = {
        "space": metadata.get("hetsearch.space"),
        "dim": metadata.get("hetsearch.dim"),
        "input": _input_of(metadata.get("hetsearch.input")),
        "inputs": inputs,
        "outputs": outputs,
    }
    expected = {
        "space": card.space,
        "dim": str(card.dim),
        "input": card.input,
        "inputs": [(INPUT, "tensor(uint8)")],
        "outputs": [(OUTPUT, "tensor(float)")],
    }
    for name, value in expected.items():
        if found[name] != value:
            raise DamagedArtifact(
                f"'{path}' and encoder.json disagree about '{name}'",
                observed=found[name],
                expected=value,
                hint="The file is another bundle's, or encoder.json was edited. Export the bundle again.",
            )


def _input_of(text: str | None) -> InputSpec | str | None:
    try:
        return InputSpec.model_validate(json.loads(text)) if text is not None else None
    except (json.JSONDecodeError, ValidationError):
        return text
