from __future__ import annotations

import json
from pathlib import Path

import pytest

from hetsearch.bundle import EncoderCard, model_card, read_card, write_card
from hetsearch.errors import DamagedArtifact, UsageError
from hetsearch.files import sha256_of
from hetsearch.preprocess import InputSpec
from tests.support import SPACE, linear_bundle

CARD = EncoderCard(
    role="gallery", space=SPACE, dim=128, architecture="timm", arguments={"name": "resnetv2_50"},
    input=InputSpec(size=28), params=23_500_352, macs=290_000_000, numbers={"p@1": 0.94},
)


def test_a_card_comes_back(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"graph")
    write_card(tmp_path, CARD)
    assert read_card(tmp_path) == CARD
    document = json.loads((tmp_path / "encoder.json").read_text())
    assert document["schema"] == 1
    assert document["files"] == {name: sha256_of(tmp_path / name) for name in ("README.md", "model.onnx")}


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors", "README.md"])
def test_a_changed_byte_of_any_file(tmp_path: Path, name: str) -> None:
    bundle = linear_bundle(tmp_path / "b", space=SPACE)
    payload = bytearray((bundle / name).read_bytes())
    payload[len(payload) // 2] ^= 1
    (bundle / name).write_bytes(payload)
    with pytest.raises(DamagedArtifact, match=f"{name}' was changed"):
        read_card(bundle)
    assert read_card(bundle, verify=False).space == SPACE


def test_only_the_weights_may_be_left_out(tmp_path: Path) -> None:
    bundle = linear_bundle(tmp_path / "b", space=SPACE)
    (bundle / "model.safetensors").unlink()
    assert read_card(bundle).dim == 16
    (bundle / "model.onnx").unlink()
    with pytest.raises(DamagedArtifact, match=r"observed no model\.onnx"):
        read_card(bundle)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "another schema: observed 2, expected 1"),
        ({"files": None}, "damaged: observed"),
        ({"files": []}, "damaged: observed"),
        ({"dim": "many"}, "damaged: observed dim"),
        ({"extra": 1}, "damaged: observed extra"),
        ({"role": "other"}, "damaged: observed role"),
        ({"input": {"size": 1}}, r"damaged: observed input\.size"),
    ],
)
def test_a_damaged_card(tmp_path: Path, change: dict[str, object], message: str) -> None:
    write_card(tmp_path, CARD)
    document = json.loads((tmp_path / "encoder.json").read_text())
    (tmp_path / "encoder.json").write_text(json.dumps({**document, **change}))
    with pytest.raises(DamagedArtifact, match=message):
        read_card(tmp_path)


def test_a_card_without_checksums_verifies_nothing(tmp_path: Path) -> None:
    write_card(tmp_path, CARD)
    document = json.loads((tmp_path / "encoder.json").read_text())
    del document["files"]
    (tmp_path / "encoder.json").write_text(json.dumps(document))
    with pytest.raises(DamagedArtifact, match="observed no files"):
        read_card(tmp_path)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is not an encoder bundle: observed no encoder\.json"):
        read_card(tmp_path)


def test_the_model_card_says_what_the_json_says() -> None:
    text = model_card(CARD)
    numbers = ("23,500,352", "290,000,000", '"p@1": 0.94')
    for part in (SPACE, "`timm` name = resnetv2_50", "28 × 28, 1 channel(s)", *numbers):
        assert part in text
    assert "## Training" not in text
    assert "hetsearch.load_encoder" in text
