"""The main job, whole, in one file: read it from top to bottom.

    hetsearch quickstart                  the released gallery encoder; everything else is made now
    hetsearch quickstart --from-scratch   the gallery encoder is trained too: hours on a CPU, minutes on a GPU

A gallery is embedded by ResNet50V2; a query network of 0.1 M parameters is trained into its space on this machine;
the light vectors are searched among the heavy ones; and a report says whether the two are compatible, whether that is
useful, and what it costs. Every step is a function that the other commands use as well.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hetsearch.bundle import CARD, read_card
from hetsearch.config import changed, validate
from hetsearch.data.fetch import fetch
from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import UsageError, require_extra
from hetsearch.evaluation import Evaluation, evaluate, write_evaluation
from hetsearch.files import make_folder
from hetsearch.gallery import Gallery, Hit, build_gallery, open_gallery
from hetsearch.query import search
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.runtime.threads import available_threads

DATA = "fashion-mnist"
EPOCHS = 10  # of the free encoder: about two minutes on two cores
TAUGHT = 2_000  # images of each class that the gallery encoder embeds for the query encoder; all 5,500 take long
TAUGHT_EPOCHS = 27  # of the query encoder: as many steps as the free encoder, which learns from all images
SHOWN = (11, 42, 197)  # test images that are searched with, for the eye


@dataclass(frozen=True)
class Quickstart:
    """What the main job made.

    Attributes:
        out: folder of everything.
        evaluation: the numbers.
        hits: for each shown test image, its key and its first hits.
        label_of: label of each test image by key.
        seconds: by step.
    """

    out: Path
    evaluation: Evaluation
    hits: dict[str, list[Hit]]
    label_of: dict[str, str]
    seconds: dict[str, float]


def quickstart(out: Path, zoo: Path, *, from_scratch: bool = False) -> Quickstart:
    """Run the main job on FashionMNIST.

    Args:
        out: folder of the run; an interrupted run resumes there.
        zoo: the released example: ``space``, ``gallery-encoder``, ``query-encoder``, ``free-encoder``.
        from_scratch: train the gallery encoder too. It has a space of its own, so all goes to ``out/from-scratch``.

    Raises:
        UsageError: ``zoo`` is not the released example, or nothing can be written into ``out``.
        DataError: FashionMNIST is not there and cannot be fetched.
        MissingExtra: a package of the train or gallery extra is not installed.
    """
    clock = _Clock()
    _check(zoo)
    make_folder(out)
    clock.step("FashionMNIST")
    fetch(DATA, tell=_tell)
    images = open_source(f"{DATA}:test")

    home = zoo
    if from_scratch:
        clock.step("training the gallery encoder, ResNet50V2")
        # Another space: what an earlier run made of the released one must not be taken for it.
        home = out = _train("gallery", zoo / "gallery-encoder", out / "from-scratch", {"encoder.initial": None})
    heavy = load_encoder(home / "gallery-encoder", threads=available_threads())

    clock.step("training the query encoder into its space")
    query = _train("query", zoo / "query-encoder", out / "query", _short(TAUGHT_EPOCHS, TAUGHT), home)
    light = load_encoder(query / "query-encoder")

    clock.step("training the free encoder with the same budget, for comparison")
    free = load_encoder(_train("free", zoo / "free-encoder", out / "free", _short(EPOCHS)) / "free-encoder")

    clock.step("building the gallery of the test images")
    build_gallery(heavy, images, out / "gallery")

    clock.step("searching it with the light encoder")
    hits = _search(light, open_gallery(out / "gallery"), images)

    clock.step("evaluating")
    released = [("released-free-encoder", load_encoder(zoo / "free-encoder"))]
    evaluation = evaluate([light], heavy, images, [("free-encoder", free), *released], command="hetsearch quickstart")
    write_evaluation(evaluation, out / "report", images)
    labels = dict(zip(images.keys, images.labels or (), strict=True))
    return Quickstart(out, evaluation, hits, labels, clock.stop())


def _check(zoo: Path) -> None:
    encoders = ("gallery-encoder", "query-encoder", "free-encoder")
    for name in ("space/space.json", *(f"{encoder}/{CARD}" for encoder in encoders)):
        if not (zoo / name).is_file():
            raise UsageError(
                f"'{zoo}' is not the released example",
                observed=f"no {name}",
                hint="Run this in a clone of the repository, or name its zoo with --zoo zoo/fashion-mnist.",
            )


def _short(epochs: int, limit: int | None = None) -> dict[str, Any]:
    """Changes of a released recipe; without mirror images, which the gallery encoder would have to embed as well."""
    schedule = {"schedule.epochs": epochs, "schedule.evaluate_every": epochs}
    return {**schedule, "augmentation.flip": 0.0, "data.limit": limit}


def _train(role: str, released: Path, out: Path, changes: dict[str, Any], home: Path | None = None) -> Path:
    """Train an encoder by the released one's own recipe, changed in a few keys; its bundle lies in the result."""
    try:
        from hetsearch.export import export_bundle
        from hetsearch.training.gallery import train_gallery
        from hetsearch.training.query import train_query
        from hetsearch.training.recipe import Recipe
    except ModuleNotFoundError as error:
        raise require_extra(error.name or "torch", "train") from None
    recorded = read_card(released).training.get("recipe", {})
    recipe = changed(validate(Recipe, recorded, where=f"the recipe of '{released}'"), changes)
    if role == "query":
        assert home is not None
        trained = train_query(recipe, home, out, gallery_encoder=home / "gallery-encoder")
    else:
        trained = train_gallery(recipe, out)
    export_bundle(trained.bundle)
    return out


def _search(light: OnnxEncoder, gallery: Gallery, images: ImageSet) -> dict[str, list[Hit]]:
    chosen = images.subset(SHOWN)
    queries = light.encode([chosen.read(index) for index in range(len(chosen))], keys=chosen.keys)
    found = search(light, gallery, queries, k=6)
    # Each of these images is in the gallery too; finding itself would show nothing.
    return {
        key: [hit for hit in hits if hit.key != key][:5] for key, hits in zip(chosen.keys, found, strict=True)
    }


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


class _Clock:
    """Says what is being done, and how long each step took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.name, self.began = "", time.perf_counter()

    def step(self, name: str) -> None:
        self._note()
        self.name = name
        _tell(f"\n→ {name}")

    def stop(self) -> dict[str, float]:
        self._note()
        return self.seconds

    def _note(self) -> None:
        now = time.perf_counter()
        if self.name:
            self.seconds[self.name] = round(now - self.began, 1)
        self.began = now

