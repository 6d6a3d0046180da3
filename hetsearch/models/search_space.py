"""A search space: stages of blocks with choices, and the architectures in it as short strings.

One definition gives SPOS's twenty blocks for ImageNet and small spaces for 28 to 64 pixels. An architecture is one gene
a block, joined by ``-``: the code of a choice and, where its middle channels are elastic, their width in percent of
half the stage's channels, ``s3w50``; a width of 100 is left out. The compact hybrid is
``i3-c3-skip-c3-skip-c3-skip-skip-c3-skip`` of the default space.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, field_validator

from hetsearch.config import Config
from hetsearch.errors import ConfigError, nearest
from hetsearch.models.choice_blocks import CHOICES, BlockShape

FULL = 100  # percent: the width that is not written
Width = Annotated[int, Field(ge=5, le=400)]
Channels = Annotated[int, Field(ge=2, le=4096)]


def _known_choices(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise ValueError("no choice is given")
    for name in value:
        if name not in CHOICES:
            raise ValueError(f"unknown choice '{name}'. {nearest(name, CHOICES)}")
    if len(set(value)) < len(value):
        raise ValueError(f"a choice is given twice: {', '.join(value)}")
    return value


class Stem(Config):
    """A 3 × 3 convolution in front of the blocks."""

    width: Channels = 16
    stride: Literal[1, 2] = 2


class Stage(Config):
    """Blocks of one width; the first changes the channels and the map, the others keep both."""

    width: Channels | None = None  # channels out; None: as many as come in
    repeats: Annotated[int, Field(ge=1, le=32)] = 1
    stride: Literal[1, 2] = 1  # of the first block
    choices: tuple[str, ...] | None = None  # None: those of the space

    @field_validator("choices")
    @classmethod
    def _are_known(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else _known_choices(value)


SMALL = (  # the default: 28 to 64 pixels, the compact hybrid among its architectures
    Stage(choices=("skip", "involution3")),
    Stage(width=16, choices=("conv3",)),
    Stage(width=16),
    Stage(width=32, stride=2, repeats=2),
    Stage(width=64, stride=2, repeats=3),
    Stage(width=128, stride=2, repeats=2),
)


class SearchSpace(Config):
    """The definition; what a stage's choices cannot do at a block (skip a stride, say) is left out there."""

    stem: Stem | None = None
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = SMALL
    choices: tuple[str, ...] = ("skip", "conv3", "shuffle3", "shuffle5", "xception", "shuffle_involution3")
    widths: Annotated[tuple[Width, ...], Field(min_length=1)] = (50, 100, 200)  # percent of half the stage's channels
    head: Channels | None = None  # channels of a 1 × 1 convolution behind the blocks
    activation: Literal["gelu", "relu"] = "gelu"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0  # before the embedding layer

    @field_validator("choices")
    @classmethod
    def _are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known_choices(value)

    @field_validator("widths")
    @classmethod
    def _distinct(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"a width is given twice: {value}")
        return tuple(sorted(value))


@dataclass(frozen=True)
class Gene:
    """What was chosen for one block: the name of a choice, and its width in percent if it is elastic."""

    choice: str
    width: int | None = None

    def __str__(self) -> str:
        suffix = "" if self.width in (None, FULL) else f"w{self.width}"
        return f"{CHOICES[self.choice].code}{suffix}"


Architecture = tuple[Gene, ...]


@dataclass(frozen=True)
class Position:
    """One block of a space, with what may be chosen there.

    Attributes:
        inside: channels in.
        outside: channels out.
        stride: of the block.
        genes: what may be chosen.
    """

    inside: int
    outside: int
    stride: int
    genes: tuple[Gene, ...]

    def shape(self, gene: Gene) -> BlockShape:
        """The channels of a block with this gene."""
        middle = max(1, self.outside // 2 * (gene.width or FULL) // 100)
        return BlockShape(self.inside, self.outside, middle, self.stride)


def positions_of(space: SearchSpace, channels: int) -> tuple[Position, ...]:
    """The blocks of a space, in order.

    Args:
        space: the definition.
        channels: of the images.

    Raises:
        ConfigError: nothing can stand at some block.
    """
    found: list[Position] = []
    inside = channels if space.stem is None else space.stem.width
    for number, stage in enumerate(space.stages, start=1):
        outside = stage.width or inside
        for block in range(stage.repeats):
            position = Position(inside, outside, stage.stride if block == 0 else 1, ())
            genes = tuple(_genes(position, space.choices if stage.choices is None else stage.choices, space.widths))
            if not genes:
                raise ConfigError(
                    f"stage {number} of the search space has a block for which there is no choice",
                    observed=f"{inside} channels in, {outside} out, stride {position.stride}",
                    hint="Shuffle units need an even number of channels or more channels out than in, and skip changes "
                    "nothing; give the stage other choices.",
                )
            found.append(Position(inside, outside, position.stride, genes))
            inside = outside
    return tuple(found)


def _genes(position: Position, choices: Iterable[str], widths: tuple[int, ...]) -> Iterable[Gene]:
    for name in choices:
        choice = CHOICES[name]
        if choice.fits(position.shape(Gene(name))):
            yield from (Gene(name, width) for width in widths) if choice.elastic else (Gene(name),)


def spell(architecture: Iterable[Gene]) -> str:
    """The string of an architecture, in its one form."""
    return "-".join(map(str, architecture))


def parse(text: str, positions: tuple[Position, ...]) -> Architecture:
    """Read the string of an architecture.

    Args:
        text: as :func:`spell` writes it; ``w100`` may be written out, and case does not matter.
        positions: the blocks of its search space.

    Raises:
        ConfigError: another number of genes, or a gene that its block cannot have; with its place.
    """
    words = text.strip().lower().split("-")
    if len(words) != len(positions):
        raise ConfigError(
            f"the architecture '{text}' does not fit the search space",
            observed=f"{len(words)} genes",
            expected=f"{len(positions)}, one a block, joined by '-'",
        )
    genes = []
    for number, (word, position) in enumerate(zip(words, positions, strict=True), start=1):
        known = {str(gene): gene for gene in position.genes}
        gene = known.get(word.removesuffix(f"w{FULL}"))
        if gene is None or (word.endswith(f"w{FULL}") and gene.width is None):
            raise ConfigError(
                f"gene {number} of the architecture '{text}' is not in the search space",
                observed=f"'{word}'",
                expected=f"one of {', '.join(known)}",
            )
        genes.append(gene)
    return tuple(genes)
