from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hetsearch.data.images import ArrayReader, ImageSet, PathReader
from hetsearch.data.reading import content_of
from hetsearch.data.sources import open_source
from hetsearch.errors import ImageError
from hetsearch.gallery.embedding import decode
from hetsearch.gallery.embedding.decode import default_workers, iter_contents, iter_decoded
from hetsearch.preprocess import InputSpec, preprocess

SPEC = InputSpec()


@pytest.fixture
def pictures(fashion_folder: Path, tmp_path: Path) -> ImageSet:
    """Ten good pictures and one that cannot be read, the fourth."""
    for number, path in enumerate(sorted(fashion_folder.rglob("*.png"))[:10]):
        (tmp_path / f"{number}.png").write_bytes(path.read_bytes())
    (tmp_path / "2x.png").write_bytes(b"no picture")
    return open_source(str(tmp_path))


def stretches(images: ImageSet, size: int = 4) -> list[range]:
    return [range(start, min(start + size, len(images))) for start in range(0, len(images), size)]


def test_in_processes_as_in_this_one(pictures: ImageSet) -> None:
    here = list(iter_decoded(pictures, SPEC, stretches(pictures), 0))
    away = list(iter_decoded(pictures, SPEC, stretches(pictures), 2))
    assert [batch.rows for batch in away] == [range(4), range(4, 8), range(8, 11)]
    assert [batch.kept for batch in away] == [(0, 1, 2), (4, 5, 6, 7), (8, 9, 10)]
    for first, second in zip(here, away, strict=True):
        assert (first.rows, first.kept, first.failures) == (second.rows, second.kept, second.failures)
        assert np.array_equal(first.pixels, second.pixels)
        assert np.array_equal(first.contents, second.contents)
    rows = [row for batch in away for row in batch.kept]
    assert np.array_equal(np.concatenate([batch.pixels for batch in away]),
                          np.stack([preprocess(pictures.read(row), SPEC) for row in rows]))  # fmt: skip
    digests = [hashlib.sha256(Path(str(pictures.read(row))).read_bytes()).digest() for row in rows]
    assert np.concatenate([batch.contents for batch in away]).tobytes() == b"".join(digests)
    (failure,) = away[0].failures
    assert failure.key == "2x.png"
    assert "2x.png' cannot be read as an image" in failure.reason
    hashes = list(iter_contents(pictures, stretches(pictures), 2))
    assert b"".join(contents.tobytes() for _, contents, _ in hashes).startswith(b"".join(digests[:3]))
    assert all(all(known) for _, _, known in hashes)


def test_images_that_cannot_even_be_asked_for(pictures: ImageSet) -> None:
    def read(row: int) -> object:
        if row == 1:
            raise ImageError("the archive lacks it")
        return pictures.read(row)

    images = ImageSet("lazy", pictures.keys, read)
    (batch,) = iter_decoded(images.subset(range(3)), SPEC, [range(3)], 0)
    assert batch.kept == (0, 2)
    assert batch.failures[0].reason == "the archive lacks it"
    ((_, contents, known),) = iter_contents(images.subset(range(3)), [range(3)], 0)
    assert known == (True, False, True)
    assert not contents[1].any()


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    payload = b"any bytes"
    (tmp_path / "a.png").write_bytes(payload)
    assert content_of(tmp_path / "a.png") == content_of(payload) == hashlib.sha256(payload).digest()
    assert content_of(str(tmp_path / "a.png")) == content_of(payload)
    array = np.zeros((4, 4), np.uint8)
    assert content_of(array) == content_of(array.copy()) != content_of(array.reshape(2, 8))
    image = Image.fromarray(array)
    assert content_of(image) == content_of(image.copy()) != content_of(image.convert("RGB"))
    with pytest.raises(ImageError, match="does not exist"):
        content_of(tmp_path / "b.png")
    with pytest.raises(ImageError, match="is not a file: observed a folder"):
        content_of(tmp_path)
    os.mkfifo(tmp_path / "c.png")
    with pytest.raises(ImageError, match="is not a file: observed a pipe"):  # and does not wait for a writer
        content_of(tmp_path / "c.png")


def test_workers_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = tuple(map(str, range(600)))
    paths = ImageSet("paths", keys, PathReader(tuple(Path(key) for key in keys)))
    monkeypatch.setattr(decode, "available_threads", lambda: 2)
    assert default_workers(paths) == 1
    assert default_workers(paths.subset(range(500))) == 0
    assert default_workers(ImageSet("pixels", keys, ArrayReader(np.zeros((600, 2, 2), np.uint8)))) == 0
    monkeypatch.setattr(decode, "available_threads", lambda: 1)
    assert default_workers(paths) == 1
    monkeypatch.setattr(decode, "available_threads", lambda: 64)
    assert default_workers(paths) == 32


def test_workers_end_with_a_job_that_is_killed(pictures: ImageSet, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(SCRIPT)
    folder = Path(str(pictures.read(0))).parent
    read, write = os.pipe()
    # The workers hold the pipe's end as well: it is at its end when the last of them is gone.
    child = os.posix_spawn(sys.executable, [sys.executable, str(script), str(folder)], os.environ,
                           file_actions=[(os.POSIX_SPAWN_DUP2, write, 2)])  # fmt: skip
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert said.startswith(b"killed now")  # Python's own tracker of semaphores may add a line


SCRIPT = """
import os, signal, sys
from hetsearch.data.sources import open_source
from hetsearch.gallery.embedding.decode import iter_decoded
from hetsearch.preprocess import InputSpec

if __name__ == "__main__":
    images = open_source(sys.argv[1])
    batches = iter_decoded(images, InputSpec(), (range(row, row + 1) for row in range(len(images))), 2)
    next(batches)
    os.write(2, b"killed now")
    os.kill(os.getpid(), signal.SIGKILL)
"""
