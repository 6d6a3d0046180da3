from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hetsearch.errors import DataError
from hetsearch.evaluation.run import embed, embed_all
from hetsearch.preprocess import InputSpec, preprocess
from hetsearch.runtime import load_encoder
from tests.support import SPACE, linear_bundle


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


def test_a_picture_is_read_once_for_encoders_that_take_the_same_form(
    make_images, query_encoder, gallery_encoder, tmp_path
):
    images, reads = make_images(6), []
    counted = replace(images, read=lambda row: reads.append(row) or images.read(row))
    large = load_encoder(linear_bundle(tmp_path / "large", space=SPACE, spec=InputSpec(size=40)))
    forms = {query_encoder.input, gallery_encoder.input}
    vectors, _, _ = embed_all({"q": query_encoder, "large": large, "g": gallery_encoder}, counted)
    assert list(vectors) == ["q", "large", "g"]
    assert len(reads) == 6 * (1 + len(forms))
    for name, encoder in (("q", query_encoder), ("large", large), ("g", gallery_encoder)):
        np.testing.assert_allclose(vectors[name], embed(encoder, images).vectors, atol=1e-6)


def test_no_readable_image_is_an_error(make_images, query_encoder):
    with pytest.raises(DataError, match="no image of 'fake:test' can be read: observed the image is empty"):
        embed(query_encoder, make_images(2, broken=(0, 1)))
    with pytest.raises(DataError, match="observed it holds none"):
        embed(query_encoder, make_images(0))


def test_an_encoder_whose_vectors_are_not_unit_is_refused(make_images, query_encoder, monkeypatch):
    monkeypatch.setattr(type(query_encoder), "encode_pixels", lambda self, pixels: np.ones((len(pixels), 12)))
    with pytest.raises(DataError, match="the vectors of 'query-encoder' are not of unit length"):
        embed(query_encoder, make_images(3))
