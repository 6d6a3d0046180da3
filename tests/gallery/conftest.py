"""One small gallery of real pictures, built once; tests that change it take a copy."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.gallery import build_gallery
from hetsearch.runtime import OnnxEncoder, load_encoder
from tests.pair import Pair, make_pair
from tests.support import SPACE, linear_bundle

Fashion = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> OnnxEncoder:
    return load_encoder(linear_bundle(tmp_path_factory.mktemp("bundle") / "linear", space=SPACE))


@pytest.fixture(scope="session")
def images(fashion_test: Fashion) -> ImageSet:
    pixels, labels = fashion_test[0][:300], fashion_test[1][:300]
    keys = tuple(f"test-{row:05d}" for row in range(len(pixels)))
    return ImageSet("slice", keys, ArrayReader(pixels), tuple(f"class {label}" for label in labels))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, encoder: OnnxEncoder, images: ImageSet) -> Path:
    out = tmp_path_factory.mktemp("built") / "gallery"
    build_gallery(encoder, images, out, shard_rows=128, progress=False)
    return out


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "copy"))


_NUMBERS = itertools.count()


@pytest.fixture
def address(milvus_server: str) -> str:
    """A name that no gallery of the server has."""
    return f"{milvus_server}/test{next(_NUMBERS)}"


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory, fashion_train: Fashion) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), *fashion_train, name="class {}")


@pytest.fixture(scope="session")
def sixty(images: ImageSet) -> ImageSet:
    return images.subset(range(60))
