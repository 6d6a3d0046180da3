from __future__ import annotations

from pathlib import Path

from hetsearch.runtime import Encoder, load_encoder
from tests.support import SPACE, linear_bundle


def test_a_bundle_in_onnx_runtime_is_an_encoder(tmp_path: Path) -> None:
    encoder: Encoder = load_encoder(linear_bundle(tmp_path / "tiny", space=SPACE, dim=8))
    assert (encoder.name, encoder.space, encoder.dim, encoder.input.size) == ("tiny", SPACE, 8, 28)


def test_the_protocol_has_at_most_three_methods() -> None:
    methods = [name for name, value in vars(Encoder).items() if not name.startswith("_") and callable(value)]
    assert methods == ["encode", "encode_pixels"]
