from __future__ import annotations

import os
from pathlib import Path

import pytest

from hetsearch.data.images import ImageSet
from hetsearch.data.reading import Source
from hetsearch.errors import HetsearchError, ImageError, UsageError
from hetsearch.gallery.embedding.pool import in_order
from hetsearch.workers import worker_pool
from tests.gallery.scripted import Deadly, DeadlyOnce

KEYS = tuple("abcdefghijk")
STRETCHES = [range(start, min(start + 2, 11)) for start in range(0, 11, 2)]


def told(sources: list[Source], mark: str) -> list[str]:
    return [mark + (str(source) if isinstance(source, ImageError) else source.decode()) for source in sources]


def results(images: ImageSet, workers: int) -> dict[range, list[str]]:
    return dict(in_order(images, STRETCHES, told, ("=",), workers))


def make(*deadly: int) -> ImageSet:
    return ImageSet("set", KEYS, lambda row: Deadly() if row in deadly else KEYS[row].encode())


def test_in_processes_as_in_this_one() -> None:
    here = results(make(), 0)
    assert list(here) == STRETCHES
    assert [word for words in here.values() for word in words] == [f"={key}" for key in KEYS]
    assert list(results(make(), 2).items()) == list(here.items())
    with pytest.raises(UsageError, match="number of workers is wrong: observed -1"):
        results(make(), -1)


def test_pictures_that_end_their_process_are_named_and_the_others_are_there() -> None:
    found = results(make(0, 3), 1)
    assert list(found) == STRETCHES
    words = [word for words in found.values() for word in words]
    assert [row for row, word in enumerate(words) if word != f"={KEYS[row]}"] == [0, 3]
    assert all("the process that read the image died" in words[row] for row in (0, 3))


def test_a_death_that_no_picture_explains_stops_the_job(tmp_path: Path) -> None:
    def read(row: int) -> object:
        return DeadlyOnce(tmp_path / "flag", b"g") if row == 6 else KEYS[row].encode()

    images = ImageSet("set", KEYS, read)
    message = r"a worker process died.*among the \d+ images '.' to '.', of which none does it alone.*goes on from there"
    with pytest.raises(HetsearchError, match=message) as caught:
        results(images, 1)
    words = str(caught.value.observed).split("'")
    assert words[1] <= "g" <= words[3]
    assert sum(map(len, results(images, 1).values())) == 11


def test_processes_that_cannot_start_are_not_laid_to_the_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    dying = lambda workers: worker_pool(workers, os._exit, (3,))  # noqa: E731
    monkeypatch.setattr("hetsearch.gallery.embedding.pool.worker_pool", dying)
    with pytest.raises(HetsearchError, match=r"ends before it reads anything.*--workers 0"):
        results(make(), 1)
