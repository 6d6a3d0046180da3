from __future__ import annotations

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.evaluation.run import embed, embed_all
from hetsearch.preprocess import preprocess


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batches_of_any_size_give_the_same(make_images, query_encoder, batch_size):
    images = make_images(20)
    pixels = np.stack([preprocess(images.read(i), query_encoder.input) for i in range(20)])
    found = embed(query_encoder, images, batch_size=batch_size)
    np.testing.assert_allclose(found.vectors, query_encoder.encode_pixels(pixels), atol=1e-6)
    assert found.rows.tolist() == list(range(20))
    assert found.failures == ()


def test_unreadable_images_are_left_out_for_every_encoder(make_images, query_encoder, gallery_encoder):
    encoders = {"g": gallery_encoder, "q": query_encoder}
    whole, _, _ = embed_all(encoders, make_images(10))
    vectors, kept, failures = embed_all(encoders, make_images(10, broken=(0, 4)))
    assert [failure.key for failure in failures] == ["image 000", "image 004"]
    assert "0 bytes" in failures[0].reason
    assert kept.keys == tuple(f"image {i:03d}" for i in (1, 2, 3, 5, 6, 7, 8, 9))
    for name in encoders:
        np.testing.assert_allclose(vectors[name], whole[name][[1, 2, 3, 5, 6, 7, 8, 9]], atol=1e-6)


def test_no_readable_image_is_an_error(make_images, query_encoder):
    with pytest.raises(DataError, match="no image of 'fake:test' can be read: observed the image is empty"):
        embed(query_encoder, make_images(2, broken=(0, 1)))
    with pytest.raises(DataError, match="observed it holds none"):
        embed(query_encoder, make_images(0))


def test_an_encoder_whose_vectors_are_not_unit_is_refused(make_images, query_encoder, monkeypatch):
    monkeypatch.setattr(type(query_encoder), "encode_pixels", lambda self, pixels: np.ones((len(pixels), 12)))
    with pytest.raises(DataError, match="the vectors of 'query-encoder' are not of unit length"):
        embed(query_encoder, make_images(3))
