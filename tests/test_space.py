from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetsearch.errors import DamagedArtifact, DataError, SpaceMismatch, UsageError
from hetsearch.preprocess import InputSpec
from hetsearch.space import (
    Embeddings,
    EmbeddingSpace,
    blend_vectors,
    check_vectors,
    fingerprint_of,
    require_space,
)
from tests.support import OTHER_SPACE, SPACE

RNG = np.random.default_rng(0)
WEIGHTS = {"b": RNG.normal(size=(3, 4)).astype(np.float32), "a": np.arange(3, dtype=np.int64)}
W = np.eye(3, 4, dtype=np.float32)


def mint(**changes: object) -> EmbeddingSpace:
    arguments = {"dim": 4, "input_spec": InputSpec(), "classifier": W, "classes": ["x", "y", "z"], **changes}
    weights = arguments.pop("weights", WEIGHTS)
    return EmbeddingSpace.mint(weights, **arguments)


def test_the_id_is_minted_as_the_contract_says() -> None:
    digest = hashlib.sha256()
    for name in ("a", "b"):
        array = WEIGHTS[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode() + array.tobytes())
    spec = InputSpec()
    whole = hashlib.sha256(digest.hexdigest().encode() + W.tobytes())
    whole.update(f"|4|cosine|{spec.model_dump_json()}".encode())
    space = mint()
    assert space.fingerprint == digest.hexdigest()
    assert space.id == "sp_" + whole.hexdigest()[:16]


def test_the_id_is_the_same_again_and_another_for_any_change() -> None:
    assert mint().id == mint(weights=dict(reversed(WEIGHTS.items()))).id == mint(scale=16.0).id
    turned = {**WEIGHTS, "b": np.nextafter(WEIGHTS["b"], np.float32(9))}
    others = [
        mint(weights=turned),
        mint(weights={"c": WEIGHTS["b"], "a": WEIGHTS["a"]}),
        mint(classifier=W[::-1].copy()),
        mint(classifier=None, classes=()),
        mint(input_spec=InputSpec(size=32)),
        mint(weights={**WEIGHTS, "b": WEIGHTS["b"].reshape(4, 3)}),
    ]
    assert len({space.id for space in [mint(), *others]}) == 7


def test_a_bad_classifier_is_refused() -> None:
    with pytest.raises(DataError, match="the classifier are not of unit length"):
        mint(classifier=2 * W)
    with pytest.raises(DataError, match="rows lack names: observed 2, expected 3"):
        mint(classes=["x", "y"])
    with pytest.raises(DataError, match="wrong shape"):
        mint(dim=5)


@pytest.mark.parametrize("classifier", [W, None])
def test_a_space_comes_back(tmp_path: Path, classifier: np.ndarray | None) -> None:
    classes = ["x", "ü", "z"] if classifier is not None else []
    space = replace(
        mint(classifier=classifier, classes=classes, scale=16.0),
        compatible_with=({"space": OTHER_SPACE, "map": 0.5},),
    )
    space.save(tmp_path / "run" / "space")
    for folder in (tmp_path / "run", tmp_path / "run" / "space"):
        again = EmbeddingSpace.load(folder)
        assert replace(again, classifier=None) == replace(space, classifier=None)
        assert (again.classifier is None) == (classifier is None)
        assert classifier is None or again.classifier.tobytes() == classifier.tobytes()


def test_a_damaged_space(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a space"):
        EmbeddingSpace.load(tmp_path)
    mint().save(tmp_path / "s")
    path = tmp_path / "s" / "space.json"
    document = json.loads(path.read_text())
    del document["classes"]
    path.write_text(json.dumps(document))
    with pytest.raises(DamagedArtifact, match="not a whole space: observed KeyError"):
        EmbeddingSpace.load(tmp_path / "s")
    mint().save(tmp_path / "s")
    weights = tmp_path / "s" / "classifier.safetensors"
    payload = bytearray(weights.read_bytes())
    payload[-1] ^= 1
    weights.write_bytes(payload)
    with pytest.raises(DamagedArtifact, match="was changed"):
        EmbeddingSpace.load(tmp_path / "s")


def test_two_spaces_are_not_mixed() -> None:
    require_space(SPACE, SPACE, what="the two")
    message = f"the two belong.*observed {OTHER_SPACE}, expected {SPACE}"
    with pytest.raises(SpaceMismatch, match=message) as caught:
        require_space(OTHER_SPACE, SPACE, what="the two")
    assert caught.value.exit_code == 4


def test_embeddings_know_their_length() -> None:
    found = Embeddings(np.zeros((2, 3), np.float32), SPACE, ("a", "b"))
    assert (len(found), found.dim) == (2, 3)
    for vectors, keys in ((np.zeros((2, 3)), ("a",)), (np.zeros(3), ("a", "b", "c"))):
        with pytest.raises(DataError, match="do not match"):
            Embeddings(vectors.astype(np.float32), SPACE, keys)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.floats(-2, 2), st.integers(0, 30))
def test_guards_agree_with_the_definition(rows: int, dim: int, change: float, place: int) -> None:
    vectors = np.random.default_rng(rows * 10 + dim).normal(size=(rows, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[place % rows] *= 1 + change
    if abs(abs(1 + change) - 1) > 1.01e-3:
        with pytest.raises(DataError, match=f"not of unit length.*row {place % rows}"):
            check_vectors(vectors, dim, what="they")
    elif abs(abs(1 + change) - 1) < 0.99e-3:
        check_vectors(vectors, dim, what="they")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_by_its_row(value: float) -> None:
    vectors = np.eye(3)
    vectors[1, 2] = value
    with pytest.raises(DataError, match="NaN or infinity: observed row 1"):
        check_vectors(vectors, 3, what="they")


def test_shapes() -> None:
    check_vectors(np.zeros((0, 3)), 3, what="they")
    check_vectors(np.eye(3, dtype=np.float16), 3, what="they")
    for vectors in (np.zeros(3), np.zeros((1, 2)), np.zeros((1, 1, 3))):
        with pytest.raises(DataError, match=r"wrong shape.*expected \(n, 3\)"):
            check_vectors(vectors, 3, what="they")


def test_a_fingerprint_takes_views() -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert fingerprint_of({"a": array.T}) == fingerprint_of({"a": array.T.copy()})
    assert fingerprint_of({"a": array}) != fingerprint_of({"a": array.T})


def test_another_schema(tmp_path: Path) -> None:
    mint().save(tmp_path / "space")
    path = tmp_path / "space" / "space.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 2}))
    with pytest.raises(DamagedArtifact, match="has another schema: observed 2, expected 1"):
        EmbeddingSpace.load(tmp_path)


def test_a_blend_lies_between_two_vectors() -> None:
    g, q = np.array([[1, 0], [0.6, 0.8]], np.float32), np.array([[0, 1], [0.6, 0.8]], np.float32)
    found = blend_vectors(g, q, 0.25)
    assert found.dtype == np.float32
    # 3 parts of the one and 1 of the other; what is the same stays so.
    np.testing.assert_allclose(found, [[3 / np.sqrt(10), 1 / np.sqrt(10)], [0.6, 0.8]], atol=1e-7)
    check_vectors(found, 2, what="the blends")
    assert blend_vectors(g[:0], q[:0], 0.5).shape == (0, 2)


def test_what_has_no_blend() -> None:
    g = np.eye(3, dtype=np.float32)
    q = g * np.array([[1], [-1], [1]], np.float32)
    with pytest.raises(DataError, match=r"are opposite.* length 0\.0e\+00 in row 1 with share 0\.5, .*another share"):
        blend_vectors(g, q, 0.5)
    np.testing.assert_array_equal(blend_vectors(g, q, 0.25), g)  # the longer of the two wins
    with pytest.raises(DataError, match="row 0"):
        blend_vectors(g * np.float32("nan"), q, 0.25)
    with pytest.raises(DataError, match=r"\(3, 3\) and \(2, 3\)"):
        blend_vectors(g, q[:2], 0.5)
    for share in (0.0, 1.0, 2.0, float("nan")):
        with pytest.raises(UsageError, match="more than 0 and less than 1"):
            blend_vectors(g, q, share)
