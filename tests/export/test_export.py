from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from hetsearch.bundle import ONNX, EncoderCard, read_card, write_card
from hetsearch.cli import main
from hetsearch.errors import DamagedArtifact, DataError, GateNotMet, HetsearchError, UsageError
from hetsearch.evaluation import quantised
from hetsearch.evaluation.result import METRICS
from hetsearch.export import export_bundle, parity
from hetsearch.models.cost import count_macs, count_params
from hetsearch.models.network import build_network
from hetsearch.models.weights import load_network, save_weights
from hetsearch.preprocess import InputSpec
from hetsearch.runtime import load_encoder
from hetsearch.runtime.timing import Times
from tests.support import linear_bundle

SCORES = {metric: np.ones(4) for metric in METRICS}
SPEC = InputSpec(background=0, mean=(0.286,), std=(0.353,))


def bundle(folder: Path, architecture: str = "compact", **arguments: object) -> Path:
    torch.manual_seed(0)
    network = build_network(architecture, arguments, dim=16, spec=SPEC)
    for _ in range(3):  # running statistics that are not their initial values
        network.train()(torch.randint(0, 256, (8, 1, 28, 28), dtype=torch.uint8))
    folder.mkdir()
    save_weights(network, folder)
    card = EncoderCard(
        role="query", space="sp_1", dim=16, architecture=architecture, arguments=arguments, input=SPEC,
        params=count_params(network), macs=count_macs(network),
    )  # fmt: skip
    write_card(folder, card)
    return folder


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("compact", {}),
        ("compact", {"involutions": 3, "residual": True, "kernel_size": 5}),
        ("compact", {"involutions": 2, "widths": []}),
        ("timm", {"name": "resnetv2_18", "stem": "small"}),
    ],
)
def test_onnx_gives_what_torch_gives_at_every_batch_size(
    tmp_path: Path, architecture: str, arguments: dict[str, object], fashion_test: tuple[np.ndarray, np.ndarray]
) -> None:
    folder = bundle(tmp_path / "b", architecture, **arguments)
    report = export_bundle(folder)
    assert report.largest_difference < 1e-5
    assert report.smallest_cosine > 0.99999
    assert report.batches == (1, 2, 7)
    pixels = np.ascontiguousarray(fashion_test[0][:9, None])
    with torch.no_grad():
        expected = load_network(folder, read_card(folder))(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(load_encoder(folder).encode_pixels(pixels), expected, atol=1e-5)


def test_the_file_says_what_it_is_and_names_no_machine(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    model = onnx.load(str(folder / ONNX))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert metadata["hetsearch.space"] == "sp_1"
    assert metadata["hetsearch.dim"] == "16"
    assert InputSpec.model_validate(json.loads(metadata["hetsearch.input"])) == SPEC
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert str(Path(torch.__file__).parent).encode() not in (folder / ONNX).read_bytes()
    assert b"hetsearch/models" not in (folder / ONNX).read_bytes()


@pytest.mark.parametrize(("precision", "most"), [("float16", 0.56), ("int8-weights", 0.35)])
def test_fewer_bits_make_a_smaller_file_that_still_agrees(tmp_path: Path, precision: str, most: float) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    whole = (folder / ONNX).stat().st_size
    report = export_bundle(folder, precision=precision)  # type: ignore[arg-type]
    assert (folder / ONNX).stat().st_size < most * whole
    assert report.smallest_cosine > parity.SMALLEST_COSINE[precision]
    card = read_card(folder)
    assert card.precision == precision
    assert card.parity["smallest_cosine"] == report.smallest_cosine


def test_int8_rounds_each_row_to_its_own_scale(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder, precision="int8-weights")
    model = onnx.load(str(folder / ONNX))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = load_network(folder, read_card(folder)).state_dict()
    name = next(n for n in stored if n.endswith("_int8") and "convolutions.3.0" in n)
    scale = stored[name.replace("_int8", "_scale")]
    restored = stored[name].astype(np.float32) * scale[:, None, None, None]
    found = weights["backbone.convolutions.3.0.weight"].numpy()
    # The exporter may have folded the norm's factor of each row into the weights.
    factor = np.abs(restored).max(axis=(1, 2, 3)) / np.abs(found).max(axis=(1, 2, 3))
    assert np.abs(restored - found * factor[:, None, None, None]).max() <= 0.51 * scale.max()


def test_int8_computes_the_large_convolutions_alone_in_8_bits(
    tmp_path: Path, fashion_train: tuple[np.ndarray, np.ndarray], fashion_test: tuple[np.ndarray, np.ndarray]
) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    whole = load_encoder(folder).encode_pixels(fashion_test[0][:100, None])
    kept: list[Path] = []

    def gate(new: Path) -> dict[str, object]:
        kept.append(new)
        assert load_encoder(new).card.precision == "int8"  # it looks at the new one while the old one stands
        assert read_card(folder).precision == "float32"
        return {"told": 7}

    export_bundle(folder, precision="int8", calibration=fashion_train[0][:200, None], gate=gate)
    card = read_card(folder)
    assert (card.precision, card.numbers["int8"], len(kept)) == ("int8", {"told": 7}, 1)
    model = onnx.load(str(folder / ONNX))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    eighths = {node.output[0]: node.input for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node in model.graph.node:
        if node.op_type == "Conv":
            weights = eighths.get(node.input[1])
            shape = stored[node.input[1] if weights is None else weights[0]].shape
            assert (weights is None) == (shape[1] < 8), shape
            if weights is not None:
                assert stored[weights[0]].dtype == np.int8
                assert stored[weights[1]].shape == shape[:1]  # a scale a channel
    found = load_encoder(folder).encode_pixels(fashion_test[0][:100, None])
    cosines = (found * whole).sum(axis=1)
    assert 0.98 < cosines.min() < 0.999999  # near, and not the same
    metadata = {entry.key for entry in model.metadata_props}
    assert metadata == {"hetsearch.space", "hetsearch.dim", "hetsearch.input"}


def test_int8_by_nncf(tmp_path: Path, fashion_train: tuple[np.ndarray, np.ndarray]) -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed")
    folder = bundle(tmp_path / "b")
    report = export_bundle(folder, precision="int8-nncf", calibration=fashion_train[0][:50, None])
    assert report.smallest_cosine > 0.98
    assert read_card(folder).precision == "int8-nncf"
    nodes = onnx.load(str(folder / ONNX)).graph.node
    eighths = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    assert [node.input[1] in eighths for node in nodes if node.op_type == "Conv"] == [False] * 3 + [True] * 3


def test_int8_that_cannot_be_made(tmp_path: Path, fashion_train: tuple[np.ndarray, np.ndarray]) -> None:
    folder = bundle(tmp_path / "b")
    with pytest.raises(UsageError, match=r"int8 needs pictures .* training images"):
        export_bundle(folder, precision="int8")
    small = bundle(tmp_path / "s", involutions=2, widths=[])
    with pytest.raises(UsageError, match="int8 is not for this network"):
        export_bundle(small, precision="int8", calibration=fashion_train[0][:8, None])


def test_a_gate_that_is_not_met_leaves_the_bundle_as_it_was(
    tmp_path: Path, fashion_train: tuple[np.ndarray, np.ndarray]
) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def gate(new: Path) -> dict[str, object]:
        raise GateNotMet("slower")

    with pytest.raises(GateNotMet, match="slower"):
        export_bundle(folder, precision="int8", calibration=fashion_train[0][:20, None], gate=gate)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


@pytest.mark.parametrize(("after", "code"), [(0.9, 0), (1.1, 4)])
def test_the_command_keeps_int8_only_where_it_is_faster(
    tmp_path: Path,
    fashion_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    after: float,
    code: int,
) -> None:
    """The clock is made; M(q,g) is that of a network that nobody trained, which int8 changes one way or the other."""

    def in_turns(works: dict[str, object], *, rounds: int, seconds: float) -> dict[str, Times]:
        assert set(works) == {"before", "after"}
        clock = {"before": np.ones((rounds, 2)), "after": np.full((rounds, 2), after)}
        return {name: Times(values, values[:, 0]) for name, values in clock.items()}

    monkeypatch.setattr(quantised, "in_turns", in_turns)
    monkeypatch.setattr(quantised, "difference_interval", lambda first, second: [float((first - second).mean())] * 2)
    monkeypatch.setattr(quantised, "score", lambda query, gallery: SimpleNamespace(values=SCORES, n_queries=4))
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    heavy = linear_bundle(tmp_path / "heavy", space="sp_1", spec=SPEC, role="gallery")
    words = ["--calibrate", fashion_folder, "--gate", fashion_folder, "--gallery-encoder", heavy, "--json"]
    with pytest.raises(SystemExit) as left:
        main(["export", str(folder), "--precision", "int8", *map(str, words)])
    assert left.value.code == code
    out, err = capsys.readouterr()
    card = read_card(folder)
    if code:
        assert "int8 is not better than float32 in onnxruntime" in err
        assert "one image is not faster: the difference is [+0.1000, +0.1000] ms" in err
        assert (card.precision, out) == ("float32", "")
    else:
        assert json.loads(out)["precision"] == card.precision == "int8"
        assert card.numbers["int8"]["kept"] == {"onnxruntime": True}


def test_what_the_command_must_be_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("--precision", "int8", "--calibrate", "x"), "int8 needs --calibrate, --gate and --gallery-encoder"),
        (("--calibrate", "x"), "are for int8 and int8-nncf"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["export", str(tmp_path), *words])
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_a_file_that_disagrees_leaves_the_bundle_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setitem(parity.SMALLEST_COSINE, "int8-weights", 1.1)
    with pytest.raises(HetsearchError, match="does not give the network's vectors"):
        export_bundle(folder, precision="int8-weights")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_parity_on_given_images(tmp_path: Path, fashion_test: tuple[np.ndarray, np.ndarray]) -> None:
    folder = bundle(tmp_path / "b")
    assert export_bundle(folder, images=fashion_test[0][:30, None]).images == 30 + 30 + 28
    assert export_bundle(folder, images=fashion_test[0][:, None]).images == 256 + 256 + 252
    with pytest.raises(DataError, match="at least 7"):
        export_bundle(folder, images=fashion_test[0][:6, None])


def test_a_file_that_gives_nan_is_not_left_behind(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    network = load_network(folder, read_card(folder))
    with torch.no_grad():
        network.embedding.bias[0] = float("nan")
    save_weights(network, folder)
    write_card(folder, read_card(folder, verify=False))
    with pytest.raises(HetsearchError, match="does not give the network's vectors"):
        export_bundle(folder)
    assert not (folder / ONNX).exists()


def test_exporting_again_mends_a_changed_file_but_not_changed_weights(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    export_bundle(folder)
    (folder / ONNX).write_bytes(b"half a file")
    export_bundle(folder)
    assert load_encoder(folder).dim == 16
    payload = bytearray((folder / "model.safetensors").read_bytes())
    payload[-1] ^= 1
    (folder / "model.safetensors").write_bytes(payload)
    with pytest.raises(DamagedArtifact, match=r"model\.safetensors' was changed"):
        export_bundle(folder)


def test_a_bundle_without_weights_cannot_be_exported(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "b")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="no float32 weights"):
        export_bundle(folder)
