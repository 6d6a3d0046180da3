from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hetsearch.errors import DataError, UsageError
from hetsearch.query import load_vectors
from hetsearch.space import check_vectors
from tests.support import SPACE


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_vector_or_many(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "many.npy", np.eye(3, 4).astype(dtype))
    many = load_vectors(tmp_path / "many.npy", SPACE)
    assert (many.vectors.dtype, many.keys, many.space) == (np.float32, ("0", "1", "2"), SPACE)
    assert np.array_equal(many.vectors, np.eye(3, 4))
    np.save(tmp_path / "one.npy", np.eye(3, 4)[1].astype(dtype))
    assert np.array_equal(load_vectors(str(tmp_path / "one.npy"), SPACE).vectors, np.eye(3, 4)[1:2])


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3, 4)), np.zeros((2, 3), int), np.float32(1), np.array(["a"])]
)
def test_arrays_that_are_no_vectors(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(DataError, match=r"holds no vectors.*expected floating point \(n, dim\)"):
        load_vectors(tmp_path / "v.npy", SPACE)


@pytest.mark.parametrize("payload", [b"", b"\x93NUMPY", b"PK\x03\x04 a zip", b"1 2 3"])
def test_files_that_are_no_npy(tmp_path: Path, payload: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(payload)
    with pytest.raises(DataError, match=r"expected a \.npy file"):
        load_vectors(tmp_path / "v.npy", SPACE)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fort",
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999, 128), }",
        b"{'descr': 'zz', 'fortran_order': False, 'shape': (2, 3), }",
    ],
)
def test_a_damaged_header(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "v.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + header.ljust(117) + b"\n")
    with pytest.raises(DataError, match=r"expected a \.npy file"):
        load_vectors(tmp_path / "v.npy", SPACE)


def test_what_float32_cannot_hold_is_refused_where_it_is_searched_with(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.full((1, 4), 1e300))
    found = load_vectors(tmp_path / "v.npy", SPACE)
    with pytest.raises(DataError, match="hold NaN or infinity"):
        check_vectors(found.vectors, 4, what="the vectors")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="holds no vectors"):
        load_vectors(tmp_path / "v.npy", SPACE)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_vectors(tmp_path / "v.npy", SPACE)
    with pytest.raises(UsageError, match="Is a directory"):
        load_vectors(tmp_path, SPACE)
