from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, model_validator

from hetsearch.config import Config, changed, load_config, parse_overrides
from hetsearch.errors import ConfigError


class Inner(Config):
    rate: Annotated[float, Field(gt=0)] = 1.0
    low: int = 0
    high: int = 9

    @model_validator(mode="after")
    def _in_order(self) -> Inner:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Outer(Config):
    name: str
    inner: Inner = Inner()
    several: tuple[Inner, ...] = ()


def read(tmp_path: Path, text: str, *overrides: str) -> Outer:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    return load_config(Outer, path, overrides)


def test_yaml_with_overrides(tmp_path: Path) -> None:
    found = read(tmp_path, "name: a\ninner: {rate: 1e-3}", "--inner.low", "-2", "--name=b c")
    assert found == Outer(name="b c", inner=Inner(rate=0.001, low=-2))
    assert changed(found, {"inner.high": 4}).inner == Inner(rate=0.001, low=-2, high=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nam: a", r"^unknown key 'nam' in .*Did you mean 'name'\?"),
        ("name: a\ninner: {rat: 1}", r"^unknown key 'inner\.rat' in .*Did you mean 'rate'\? Known: high, low, rate\.$"),
        ("name: a\nseveral: [{hgh: 1}]", r"^unknown key 'several\.0\.hgh' in .*Did you mean 'high'\?"),
        ("name: a\ninner: {rate: fast}", r"^'inner\.rate' in .* is wrong: observed 'fast', expected .*number"),
        ("name: a\ninner: {rate: -1}", r"observed -1, expected .*greater than 0$"),
        ("name: a\ninner: {low: 10}", r"^'inner' in .* cannot work: observed low 10 is above high 9$"),
        ("name: a\ninner: 3", r"^'inner' in .* is wrong: observed 3"),
        ("inner: {}", r"^'name' in .* is wrong: expected Field required$"),
        ("- a", "is not a mapping: observed list"),
        ("name: [", "is not YAML"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["name", "a"], "observed 'name', expected --KEY VALUE"),
        (["--"], "not understood"),
        (["--name"], "'--name' has no value"),
        (["--name", "[1,"], r"the value of '--name' is not YAML: observed '\[1,'"),
        (["--name=@x"], "is not YAML"),
        (["--name.first", "a"], "goes below 'name', which is a value"),
    ],
)
def test_a_wrong_override(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, "name: a", *words)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no configuration '.*c\.yaml'"):
        load_config(Outer, tmp_path / "c.yaml")


def test_overrides_are_read_as_yaml() -> None:
    pairs: list[tuple[str, Any]] = [("a.b_c", 3), ("d", None), ("e", [1, 2]), ("f", "x=y")]
    assert parse_overrides(["--a.b-c", "3", "--d", "null", "--e", "[1, 2]", "--f=x=y"]) == pairs


def test_a_wrong_key_may_stand_in_an_override(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^unknown key 'inner\.rat' in .* with the overrides given\. Did you"):
        read(tmp_path, "name: a", "--inner.rat", "1")
