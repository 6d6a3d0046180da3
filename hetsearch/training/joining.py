"""A training into an existing space: what it is made of, checked before minutes of embedding and hours of training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from hetsearch.errors import ConfigError
from hetsearch.models.network import EncoderNetwork
from hetsearch.models.prototypes import MOST
from hetsearch.objectives import ObjectiveSum
from hetsearch.training.checkpoint import identity_of, require_same_training
from hetsearch.training.images import LoadedImages, as_training_set, load_splits
from hetsearch.training.loop import BeforeStep, Evaluate, Fitted, fit
from hetsearch.training.needs import check_needs
from hetsearch.training.recipe import Recipe
from hetsearch.training.reference import Reference
from hetsearch.training.task import Task


@dataclass(frozen=True)
class Joining:
    """A training into an existing space, once all that can be told before it was found right.

    Attributes:
        recipe: the configuration.
        reference: the space, and what knows its gallery encoder's embeddings.
        train: the training images.
        validation: the images that decide.
    """

    recipe: Recipe
    reference: Reference
    train: LoadedImages
    validation: LoadedImages

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        space_folder: Path,
        *,
        gallery_encoder: Path | None = None,
        gallery_vectors: Path | None = None,
    ) -> Joining:
        """Load the space and the images, and check the recipe against them; arguments and errors as of ``train_query``.
        """
        reference = Reference.open(space_folder, gallery_encoder, gallery_vectors)
        _check_dim(recipe, reference)
        joining = cls(recipe, reference, *load_splits(recipe))
        joining.check(recipe)
        return joining

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe that cannot be trained into this space on these images.

        Raises:
            ConfigError: the recipe does not fit the space, or an objective lacks what it needs.
        """
        _check_dim(recipe, self.reference)
        check_needs(recipe, self.train, self.reference)
        _check_validation(recipe, self.validation, self.reference)
        _check_prototypes(recipe, self.train, self.reference)

    @cached_property
    def targets(self) -> Tensor | None:
        """The gallery encoder's embeddings of the training images, ``(2, n, dim)``, where the recipe needs them."""
        return self.reference.targets(self.recipe, self.train)

    def fit(
        self,
        network: EncoderNetwork,
        out: Path,
        *,
        evaluate: Evaluate,
        accelerator: Accelerator,
        before_step: BeforeStep | None = None,
    ) -> Fitted:
        """Train a network, as :func:`hetsearch.training.loop.fit` does; afterwards it has the best weights.

        Args:
            network: untrained. A mistake in the recipe should not wait for minutes of embedding, so whatever can go
                wrong in making it has not.
            out: folder of checkpoint and log.
            evaluate: metrics on the validation split.
            accelerator: of the training.
            before_step: see :func:`hetsearch.training.loop.fit`.

        Raises:
            SpaceMismatch, ConfigError: ``out`` holds another training, into another space or with another recipe.
        """
        require_same_training(out, identity_of(self.recipe, self.reference.space.id))
        context = self.reference.context(self.recipe, self.train, self.targets)
        objectives = ObjectiveSum(self.recipe.objectives, context)
        return fit(
            Task(network, objectives),
            as_training_set(self.train, self.targets),
            self.recipe,
            out=out,
            evaluate=evaluate,
            accelerator=accelerator,
            space=self.reference.space.id,
            before_step=before_step,
        )


def _check_dim(recipe: Recipe, reference: Reference) -> None:
    if recipe.encoder.dim != reference.space.dim:
        raise ConfigError("'encoder.dim' is not the space's", observed=recipe.encoder.dim, expected=reference.space.dim)


def _check_prototypes(recipe: Recipe, train: LoadedImages, reference: Reference) -> None:
    if recipe.align != "prototypes":
        return
    if train.labels is None:
        raise ConfigError("'align: prototypes' needs labels", observed=f"'{train.images.name}' has none")
    if len(train.classes) > MOST:
        raise ConfigError(
            "'align: prototypes' keeps a mean of every class, and there are too many",
            observed=f"{len(train.classes):,} classes",
            expected=f"at most {MOST}",
            hint="Use 'align: procrustes' or 'align: ridge', or leave it out.",
        )
    if reference.embeddings is not None:
        reference.embed(train, recipe.input)  # looks the keys up, and refuses vectors of none of these images


def _check_validation(recipe: Recipe, validation: LoadedImages, reference: Reference) -> None:
    """Refuse what could be told only at the first evaluation, or after the training."""
    compares = "align" if recipe.align else "select_by: cosine" if recipe.select_by == "cosine" else None
    if compares and not reference.covers(validation):
        raise ConfigError(
            f"'{compares}' needs the gallery encoder, or its vectors of every validation image",
            hint="Give --gallery-encoder BUNDLE, or --gallery-vectors GALLERY that holds the validation images.",
        )
    if recipe.align in ("procrustes", "ridge") and len(validation.pixels) < reference.space.dim:
        raise ConfigError(
            f"'align: {recipe.align}' needs a validation image for each dimension of the space",
            observed=f"{len(validation.pixels)} images of '{validation.images.name}'",
            expected=f"at least {reference.space.dim}",
        )
