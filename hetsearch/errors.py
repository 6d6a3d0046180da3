"""What can go wrong, as one tree.

HetsearchError                       1   anything that a caller may want to catch at once
├── UsageError                       2   a flag, a value or a combination that cannot work
│   ├── ConfigError                  2   a configuration file or an override is wrong
│   └── DataError                    2   a source is missing, empty, or lacks a column
├── ImageError                       3   one image cannot be read; jobs collect these and go on
├── SpaceMismatch                    4   vectors or encoders of two spaces would be mixed
├── GateNotMet                       4   a compatibility gate was asked for and not met
├── DamagedArtifact                  1   a file is not what its checksum, schema or guard says
├── Diverged                         1   a training's loss is no longer a finite number
└── MissingExtra                     1   an optional dependency is not installed

The number is the exit code of the command line. A message says what happened, what was observed, what was
expected, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class HetsearchError(Exception):
    """Root of every error that hetsearch raises on purpose.

    Args:
        what: what failed, in one clause.
        observed: the value that was met.
        expected: the value, or kind of value, that would have been right.
        hint: what the reader can do about it, as a sentence.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self, what: str, *, observed: object = None, expected: object = None, hint: str | None = None
    ) -> None:
        self.what, self.observed, self.expected, self.hint = what, observed, expected, hint
        parts = []
        if observed is not None:
            parts.append(f"observed {observed}")
        if expected is not None:
            parts.append(f"expected {expected}")
        message = f"{what}: {', '.join(parts)}" if parts else what
        super().__init__(f"{message}. {hint}" if hint else message)

    def __reduce__(self) -> tuple[object, ...]:
        # The keyword arguments would be lost on the way out of a worker process.
        return (_rebuild, (type(self), self.what, self.observed, self.expected, self.hint))


def _rebuild(
    kind: type[HetsearchError], what: str, observed: object, expected: object, hint: str | None
) -> HetsearchError:
    return kind(what, observed=observed, expected=expected, hint=hint)


class UsageError(HetsearchError):
    """A flag, a value or a combination that cannot work."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file, or an override of one of its keys, is wrong."""


class DataError(UsageError):
    """A source of images is missing, empty, or lacks a column."""


class ImageError(HetsearchError):
    """One image cannot be read. Jobs record the key and the reason, and go on."""

    exit_code = 3


class SpaceMismatch(HetsearchError):
    """Vectors or encoders of two spaces would be mixed."""

    exit_code = 4


class GateNotMet(HetsearchError):
    """A compatibility gate was asked for and is not met."""

    exit_code = 4


class DamagedArtifact(HetsearchError):
    """A file is not what its checksum, its schema or a guard says it must be."""


class Diverged(HetsearchError):
    """The loss of a training is no longer a finite number."""


class ServiceError(HetsearchError):
    """A service does not answer, is busy, or answers what it should not. Asking again may help."""


class MissingExtra(HetsearchError):
    """An optional dependency is not installed."""


# What a command may miss at its first import → the extra that brings it.
EXTRA_OF = {
    **dict.fromkeys(("faiss", "pyarrow"), "gallery"),
    **dict.fromkeys(
        ("torch", "torchvision", "timm", "pytorch_metric_learning", "accelerate", "onnx", "onnxscript"), "train"
    ),
    **dict.fromkeys(
        ("fastapi", "starlette", "uvicorn", "httptools", "python_multipart", "prometheus_client", "httpx"), "serve"
    ),
    **dict.fromkeys(("jinja2", "matplotlib"), "report"),
    "resvg_py": "data",
    **dict.fromkeys(("pymilvus", "milvus_lite"), "distributed"),
    "pymoo": "nas",
    "nncf": "int8",
}


def require_extra(module: str, extra: str) -> MissingExtra:
    """The error for a missing optional ``module``, with the command that installs its ``extra``."""
    return MissingExtra(
        f"the package '{module}' is not installed",
        hint=f"Install it with: pip install 'hetsearch[{extra}]' (in its clone: pip install '.[{extra}]')",
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence for an unknown ``name``: the nearest known one if there is one, and all that are known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return (f"Did you mean '{close[0]}'? " if close else "") + f"Known: {', '.join(names) or 'none'}."


def require_least(name: str, value: int | None, least: int) -> None:
    """Refuse a number that is too small; None is no number.

    Raises:
        UsageError: so it is.
    """
    if value is not None and value < least:
        raise UsageError(f"{name} is too small", observed=value, expected=f"{least} or more")
