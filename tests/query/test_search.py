from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hetsearch.data.images import ArrayReader, ImageSet
from hetsearch.errors import ImageError, MissingExtra, SpaceMismatch, UsageError
from hetsearch.gallery import Gallery, build_gallery
from hetsearch.query import load_encoder, open_gallery, search
from hetsearch.runtime import OnnxEncoder
from hetsearch.space import Embeddings
from tests.support import OTHER_SPACE, SPACE, linear_bundle

Fashion = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def encoder(tmp_path: Path) -> OnnxEncoder:
    return load_encoder(linear_bundle(tmp_path / "query", space=SPACE))


@pytest.fixture
def gallery(encoder: OnnxEncoder, tmp_path: Path, fashion_test: Fashion) -> Gallery:
    keys = tuple(f"{row:03d}" for row in range(100))
    images = ImageSet("slice", keys, ArrayReader(fashion_test[0][:100]))
    build_gallery(encoder, images, tmp_path / "gallery", progress=False)
    return open_gallery(tmp_path / "gallery")


def test_pictures_and_their_vectors_find_the_same(
    encoder: OnnxEncoder, gallery: Gallery, fashion_test: Fashion
) -> None:
    pictures = list(fashion_test[0][:5])
    hits = search(encoder, gallery, pictures, k=3)
    assert [row[0].key for row in hits] == ["000", "001", "002", "003", "004"]
    assert [len(row) for row in hits] == [3] * 5
    assert search(encoder, gallery, encoder.encode(pictures), k=3) == hits
    assert search(encoder, gallery, pictures[2], k=3) == [hits[2]]


def test_another_space_is_refused_before_a_picture_is_read(gallery: Gallery, tmp_path: Path) -> None:
    other = load_encoder(linear_bundle(tmp_path / "other", space=OTHER_SPACE))
    with pytest.raises(SpaceMismatch, match=f"observed {OTHER_SPACE}, expected {SPACE}"):
        search(other, gallery, tmp_path / "no such picture.png")


def test_vectors_of_another_space_are_refused(encoder: OnnxEncoder, gallery: Gallery) -> None:
    vectors = encoder.encode(np.zeros((5, 5), np.uint8)).vectors
    with pytest.raises(SpaceMismatch, match=f"observed {OTHER_SPACE}, expected {SPACE}"):
        search(encoder, gallery, Embeddings(vectors, OTHER_SPACE, ("q",)))


def test_a_search_imports_neither_torch_nor_pandas(encoder: OnnxEncoder, gallery: Gallery, tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np\n"
        "from hetsearch.query import load_encoder, open_gallery, search\n"
        f"encoder = load_encoder({str(tmp_path / 'query')!r})\n"
        f"gallery = open_gallery({str(tmp_path / 'gallery')!r})\n"
        "assert len(search(encoder, gallery, np.zeros((5, 5), np.uint8), k=7)[0]) == 7\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'pandas'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_without_the_extra_only_the_gallery_is_missing(
    gallery: Gallery, encoder: OnnxEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("faiss", "pyarrow"):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtra, match=r"pip install 'hetsearch\[gallery\]'"):
            open_gallery(tmp_path / "gallery")
    assert encoder.encode(np.zeros((5, 5), np.uint8)).vectors.shape == (1, 16)


def test_an_unreadable_query(encoder: OnnxEncoder, gallery: Gallery, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        search(encoder, gallery, tmp_path / "no such picture.png")
    with pytest.raises(UsageError, match="k is too small"):
        search(encoder, gallery, np.zeros((5, 5), np.uint8), k=0)
