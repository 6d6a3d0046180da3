"""Configurations: strict YAML with overrides; an unknown key is an error that names the nearest known one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hetsearch.errors import ConfigError, nearest


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown keys.

    Not pydantic's strict mode: YAML takes ``1e-3`` for text, so text that spells a number is read as one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


C = TypeVar("C", bound=Config)
_ABSENT = object()  # a key that a document has not


def load_config(kind: type[C], path: Path, overrides: Sequence[str] = ()) -> C:
    """Read a configuration from YAML and apply overrides from the command line.

    Args:
        kind: the class of the configuration.
        path: a YAML file.
        overrides: ``--epochs 3 --optimizer.lr 0.1`` as a list of words; a dot goes one level down.

    Raises:
        ConfigError: no such file, no YAML, an unknown key, or a value of the wrong kind.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration '{path}'") from None
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"'{path}' is not YAML", observed=" ".join(str(error).split())) from None
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError(f"'{path}' is not a mapping", observed=type(document).__name__, expected="key: value")
    for key, value in parse_overrides(overrides):
        _set(document, key, value)
    return validate(kind, document, where=f"'{path}'" + (" with the overrides given" if overrides else ""))


def validate(kind: type[C], document: Mapping[str, Any], *, where: str) -> C:
    """Make a configuration from a mapping, with our own messages.

    Raises:
        ConfigError: names the first wrong key and, for an unknown one, the nearest known.
    """
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        errors = error.errors()
        # A misspelt key that is required is unknown and missing; its nearest known one says more.
        first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
        place = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = nearest(str(first["loc"][-1]), _known_keys(kind, first["loc"][:-1]))
            raise ConfigError(f"unknown key '{place}' in {where}", hint=hint) from None
        subject = f"'{place}' in {where}" if place else where
        if first["type"] == "value_error":  # a check of several keys together says all of it
            raise ConfigError(f"{subject} cannot work", observed=first["ctx"]["error"]) from None
        observed = None if first["type"] == "missing" else repr(first["input"])
        raise ConfigError(f"{subject} is wrong", observed=observed, expected=first["msg"]) from None


def changed(config: C, changes: Mapping[str, Any]) -> C:
    """The same configuration with a few keys changed; a dot goes one level down (``{"schedule.epochs": 3}``).

    Raises:
        ConfigError: an unknown key, or a value of the wrong kind.
    """
    document = config.model_dump(mode="json")
    for key, value in changes.items():
        _set(document, key, value)
    return validate(type(config), document, where="the changed configuration")


def first_difference(known: Any, own: Any, where: str = "") -> tuple[str, str]:
    """The first key in which two documents differ, with its value: as it is known, and as it is now.

    Args:
        known: ``{"reward": {"kind": "R3"}}``, say.
        own: another document, not the same.
        where: the key of both.

    Returns:
        ``reward.kind "R3"`` and ``reward.kind "R1"``; a key that is not there is ``not given``.
    """
    if isinstance(known, dict) and isinstance(own, dict):
        key = next(key for key in (*own, *known) if known.get(key, _ABSENT) != own.get(key, _ABSENT))
        return first_difference(known.get(key, _ABSENT), own.get(key, _ABSENT), f"{where}.{key}" if where else key)
    return _shown(where, known), _shown(where, own)


def parse_overrides(words: Sequence[str]) -> list[tuple[str, Any]]:
    """``["--epochs", "3", "--a.b=x"]`` → ``[("epochs", 3), ("a.b", "x")]``; values are read as YAML.

    Raises:
        ConfigError: a word that is no ``--KEY``, a key without a value, or a value that is not YAML.
    """
    pairs: list[tuple[str, Any]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--") or len(word) == 2:
            raise ConfigError("an override is not understood", observed=f"'{word}'", expected="--KEY VALUE")
        key, sign, value = word[2:].partition("=")
        if not sign:
            if not rest:
                raise ConfigError(f"the override '{word}' has no value", expected="--KEY VALUE")
            value = rest.pop(0)
        pairs.append((key.replace("-", "_"), _value(word, value)))
    return pairs


def _value(word: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"the value of '{word}' is not YAML", observed=f"'{text}'") from None


def _shown(where: str, value: Any) -> str:
    return f"{where} {'not given' if value is _ABSENT else json.dumps(value)}"


def _set(document: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"the override '{key}' goes below '{part}', which is a value")
        document = inner
    document[last] = value


def _known_keys(kind: type[BaseModel], place: Sequence[int | str]) -> list[str]:
    fields = kind
    for part in place:
        inner = fields.model_fields.get(str(part))
        candidates = [] if inner is None else [inner.annotation, *get_args(inner.annotation)]
        models = [item for item in candidates if isinstance(item, type) and issubclass(item, BaseModel)]
        if not models:
            return sorted(fields.model_fields)
        fields = models[0]
    return sorted(fields.model_fields)
