"""The configuration of a training: one recipe for every encoder."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hetsearch.config import Config
from hetsearch.objectives import check_objectives
from hetsearch.preprocess import InputSpec


class DataConfig(Config):
    """Which images are learnt from, and which decide."""

    train: str  # SRC
    validation: str  # SRC; checkpoints are chosen on it
    classes: Annotated[int, Field(ge=2)] | None = None  # how many of the classes to train on, by name; None is all
    limit: Annotated[int, Field(ge=1)] | None = None  # images of each class to train on; None is all
    regress: Annotated[int, Field(ge=1)] | None = None  # images that the gallery encoder embeds; None is all


class EncoderConfig(Config):
    """Which network."""

    architecture: str = "compact"
    arguments: dict[str, Any] = Field(default_factory=dict)
    dim: Annotated[int, Field(ge=2, le=4096)] = 128
    initial: str | None = None  # an earlier training's folder, or pretrained weights of the backbone, to start from


class BatchConfig(Config):
    """Batches: shuffled, or balanced for metric losses (``classes × samples_per_class``)."""

    size: Annotated[int, Field(ge=2)] = 128
    samples_per_class: Annotated[int, Field(ge=2)] | None = None  # None: shuffled

    @model_validator(mode="after")
    def _divides(self) -> BatchConfig:
        if self.samples_per_class and self.size % self.samples_per_class:
            raise ValueError(f"size {self.size} is no multiple of samples_per_class {self.samples_per_class}")
        return self


class AugmentationConfig(Config):
    """What is done to each training image, by chance."""

    flip: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of images mirrored left to right
    shift: Annotated[int, Field(ge=0)] = 2  # largest shift in pixels, each way; the border is the background
    erase: Annotated[float, Field(ge=0, le=1)] = 0.0  # share of images with a square of noise, side up to half


class OptimizerConfig(Config):
    """SGD with Nesterov momentum, or AdamW."""

    name: Literal["sgd", "adamw"] = "adamw"
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-3  # peak
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.05  # of matrices and kernels alone
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9  # SGD's
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None  # largest norm of the gradient


class ScheduleConfig(Config):
    """Linear warm-up, then cosine to zero."""

    epochs: Annotated[int, Field(ge=1)] = 30
    warmup: Annotated[float, Field(ge=0, le=0.5)] = 0.1  # share of all steps
    evaluate_every: Annotated[int, Field(ge=1)] = 1  # epochs
    checkpoint_every: Annotated[int, Field(ge=1)] = 200  # steps


class Recipe(Config):
    """A whole training, of a gallery encoder or of a query encoder."""

    data: DataConfig
    input: InputSpec
    encoder: EncoderConfig = EncoderConfig()
    objectives: dict[str, dict[str, Any]]
    batches: BatchConfig = BatchConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    role: Literal["gallery", "free"] = "gallery"  # of an encoder that defines a space
    align: Literal["procrustes", "ridge", "prototypes"] | None = None  # of a query encoder: fitted after the training
    precision: Literal["float32", "bf16"] = "float32"  # bf16: where the processor computes in it, else float32
    select_by: Literal["map", "p@1", "cosine"] = "map"  # of the validation split; cosine: to the gallery's vectors
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("objectives", mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {} if terms is None else terms for name, terms in value.items()}

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        check_objectives(value)
        return value
