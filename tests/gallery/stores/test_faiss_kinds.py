from __future__ import annotations

import faiss
import pytest

from hetsearch.gallery.stores.faiss_kinds import training_rows


@pytest.mark.parametrize(
    ("factory", "rows"),
    [
        ("SQ8", 65_536),  # and a product quantiser's 256 centroids
        ("PQ8", 65_536),
        ("IVF16,Flat", 65_536),
        ("IVF512,SQ8", 131_072),
        ("PCA16,IVF512,SQ8", 131_072),
        ("IVF4096,Flat", 262_144),  # never more
    ],
)
def test_as_many_vectors_train_an_index_as_it_looks_at(factory: str, rows: int) -> None:
    index = faiss.index_factory(32, factory, faiss.METRIC_INNER_PRODUCT)
    assert training_rows(faiss, index) == rows
    ivf = faiss.try_extract_index_ivf(index)
    if ivf is not None:
        assert rows <= max(256, ivf.nlist) * ivf.cp.max_points_per_centroid
