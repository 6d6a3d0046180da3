"""The existing space that a training aims at: its frozen classifier, and its gallery encoder's embeddings."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hetsearch.bundle import CARD
from hetsearch.data.images import ImageSet
from hetsearch.data.manifest import SUFFIXES
from hetsearch.data.named import NAMED
from hetsearch.errors import ConfigError, UsageError
from hetsearch.objectives import MEMORY, TARGETS, Context, Memory, needs_of
from hetsearch.preprocess import InputSpec, Pixels
from hetsearch.runtime import Encoder, load_encoder
from hetsearch.runtime.threads import available_threads
from hetsearch.space import Embeddings, EmbeddingSpace, Vectors, require_space
from hetsearch.training.images import LoadedImages
from hetsearch.training.recipe import Recipe
from hetsearch.training.targets import cached_vectors, training_targets


@dataclass(frozen=True)
class Reference:
    """A space, and whatever knows its gallery encoder's embeddings.

    Attributes:
        space: what is trained into.
        encoder: the space's gallery encoder, if it is there.
        embeddings: its embeddings of the images, by key, if they were given instead of it.
        embedded: the source that those were made from.
    """

    space: EmbeddingSpace
    encoder: Encoder | None = None
    embeddings: Embeddings | None = None
    embedded: str = ""

    @classmethod
    def open(cls, folder: Path, encoder: Path | None = None, vectors: Path | None = None) -> Reference:
        """Load a space and its gallery encoder.

        Args:
            folder: a space, or a folder that holds ``space/``.
            encoder: the gallery encoder's bundle; default ``gallery-encoder`` beside the space, if it is there.
            vectors: a gallery of the space, whose vectors stand in for the gallery encoder.

        Raises:
            UsageError: there is no space, or nothing where the encoder or the gallery is named; or both are named.
            SpaceMismatch: the encoder or the gallery is of another space.
            ConfigError: the encoder is a query encoder; what is learnt from it, or measured in its gallery, would pass
                for the gallery encoder's.
        """
        if encoder is not None and vectors is not None:
            raise UsageError("a gallery encoder and a gallery are two ways to the same vectors", expected="one of them")
        space = EmbeddingSpace.load(folder)
        if vectors is not None:
            # pyarrow belongs to the extra of galleries, which most trainings do without.
            from hetsearch.gallery.card import read_card
            from hetsearch.gallery.embeddings import load_embeddings

            embeddings = load_embeddings(vectors)
            require_space(embeddings.space, space.id, what=f"the gallery '{vectors}' and the space '{folder}'")
            return cls(space, embeddings=embeddings, embedded=read_card(vectors).images)
        beside = [folder / "gallery-encoder", folder.parent / "gallery-encoder"]
        path = encoder or next((place for place in beside if (place / CARD).is_file()), None)
        if path is None:
            return cls(space)
        loaded = load_encoder(path, threads=available_threads())
        require_space(loaded.space, space.id, what=f"the gallery encoder '{path}' and the space '{folder}'")
        if loaded.card.role == "query":
            raise ConfigError(
                f"'{path}' is a query encoder",
                expected=f"the gallery encoder of {space.id}",
                hint="Give --gallery-encoder BUNDLE.",
            )
        return cls(space, encoder=loaded)

    @property
    def knows_embeddings(self) -> bool:
        """Whether there is a gallery encoder, or vectors in its place."""
        return self.encoder is not None or self.embeddings is not None

    def targets(self, recipe: Recipe, train: LoadedImages) -> Tensor | None:
        """Embeddings of the training images and of their mirror images, ``(2, n, dim)``, where the recipe needs them.

        Raises:
            ConfigError: vectors were given, and no training image is among them.
        """
        if not {TARGETS, MEMORY} & needs_of(recipe.objectives).keys():
            return None
        if self.encoder is not None:
            mirrored = recipe.augmentation.flip > 0
            pixels = pixels_for(self.encoder.input, recipe.input, train)
            found = training_targets(self.encoder, pixels, mirrored=mirrored, limit=recipe.data.regress)
        else:
            # Nobody embedded the mirror images: their target is the image's own, which teaches not to see the flip.
            found = np.stack([self._by_key(train)] * 2)
        return torch.from_numpy(found)

    def covers(self, images: LoadedImages) -> bool:
        """Whether the gallery encoder's embedding of every one of these images can be had."""
        if self.embeddings is not None:
            return keys_agree(images.images, self.embedded) and set(images.images.keys) <= set(self.embeddings.keys)
        return self.encoder is not None

    def embed(self, images: LoadedImages, spec: InputSpec) -> Vectors:
        """The gallery encoder's embeddings, ``(n, dim)``, of images that the reference covers.

        Args:
            images: the images.
            spec: the specification that their pixels were read in.
        """
        if self.encoder is None:
            return self._by_key(images)
        return cached_vectors(self.encoder, pixels_for(self.encoder.input, spec, images))

    def context(self, recipe: Recipe, train: LoadedImages, targets: Tensor | None) -> Context:
        """What the objectives may know."""
        classifier = whole = others = None
        if self.space.classifier is not None:
            whole = torch.from_numpy(self.space.classifier)
            rows = {name: row for row, name in enumerate(self.space.classes)}
            classifier = torch.zeros(len(train.classes), self.space.dim)
            for index, name in enumerate(train.classes):
                if name in rows:
                    classifier[index] = whole[rows[name]]
            others = whole[[row for name, row in rows.items() if name not in train.classes]]
        memory = None
        if targets is not None:
            known = targets[0].any(dim=1)
            labels = None if train.labels is None else torch.from_numpy(train.labels)[known]
            memory = Memory(targets[0][known], labels)
        return Context(
            classes=len(train.classes),
            dim=self.space.dim,
            classifier=classifier,
            scale=self.space.scale,
            space_classifier=whole,
            other_rows=others,
            memory=memory,
            seed=recipe.seed,
        )

    def _by_key(self, images: LoadedImages) -> Vectors:
        assert self.embeddings is not None  # needs were checked
        comparable = keys_agree(images.images, self.embedded)
        rows = {key: row for row, key in enumerate(self.embeddings.keys)} if comparable else {}
        found = np.zeros((len(images.pixels), self.space.dim), dtype=np.float32)
        for position, key in enumerate(images.images.keys):
            if key in rows:
                found[position] = self.embeddings.vectors[rows[key]]
        known = int(found.any(axis=1).sum())
        if 0 < known < len(found):
            sys.stderr.write(f"the gallery knows {known:,} of the {len(found):,} images of '{images.images.name}'\n")
        if not known:
            raise ConfigError(
                f"the gallery knows none of the images of '{images.images.name}'",
                observed=f"keys like '{images.images.keys[0]}'",
                expected=f"keys of '{self.embedded}', like '{next(iter(self.embeddings.keys), '')}'",
                hint="Build it with 'hetsearch index build' from the same source.",
            )
        return found


def keys_agree(images: ImageSet, embedded: str) -> bool:
    """Whether a key of ``images`` means the same image in the source that a gallery was built from.

    Named sets number their images, each its own; a path means something within its folder only. The keys that a
    manifest gives itself mean the same in every manifest.

    Args:
        images: the images, as ``open_source`` opened them.
        embedded: name of the other source.
    """
    named = _named_set(images.name)
    if named or _named_set(embedded):
        return named == _named_set(embedded)
    if _manifest(images.name) and not _key_is_path(images):
        return _manifest(embedded) is not None
    here, there = (_folder(name) for name in (images.name, embedded))
    return here.is_dir() and there.is_dir() and here.samefile(there)


def _named_set(name: str) -> str | None:
    known = name.rpartition(":")[0]
    return known if known in NAMED else None


def _manifest(name: str) -> Path | None:
    """The file of ``MANIFEST`` or ``MANIFEST:SPLIT``; None for another kind of source."""
    places = (Path(name), Path(name.rpartition(":")[0]))
    return next((place for place in places if place.suffix.lower() in SUFFIXES and not place.is_dir()), None)


def _folder(name: str) -> Path:
    """The folder within which the paths of a source mean something."""
    manifest = _manifest(name)
    return Path(name) if manifest is None else manifest.parent


def _key_is_path(images: ImageSet) -> bool:
    """Whether the first image is called by its path, as in a manifest without a column 'key'."""
    return images.read(0) == _folder(images.name) / images.keys[0]


def pixels_for(wanted: InputSpec, has: InputSpec, images: LoadedImages) -> Pixels:
    """The images in another encoder's specification; read again only where it is another one."""
    if wanted.form() == has.form():
        return images.pixels
    return images.in_specification(wanted)
