from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
from sklearn.decomposition import PCA

from hetsearch.evaluation.report.plane import fit_plane, plane_pictures
from tests.evaluation.made import CLASSES, vectors


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter("text")]


def test_the_plane_is_scikit_learns() -> None:
    heavy, light, _ = vectors()
    reference = PCA(n_components=2, svd_solver="full").fit(heavy.astype(np.float64))
    plane = fit_plane(heavy, light)
    assert plane.rows.tolist() == list(range(300))
    np.testing.assert_allclose(plane.shares, reference.explained_variance_ratio_, rtol=1e-9)
    signs = np.sign((plane.gallery * reference.transform(heavy)).sum(axis=0))
    np.testing.assert_allclose(plane.gallery, reference.transform(heavy) * signs, atol=1e-9)
    np.testing.assert_allclose(plane.query, reference.transform(light) * signs, atol=1e-9)


def test_the_query_encoders_share_is_of_its_own_variance() -> None:
    heavy, light, _ = vectors()
    plane = fit_plane(heavy, light)
    total = light.astype(np.float64).var(axis=0).sum()
    np.testing.assert_allclose(plane.query_shares, plane.query.var(axis=0) / total, rtol=1e-9)
    np.testing.assert_allclose(fit_plane(heavy, heavy).query_shares, plane.shares, rtol=1e-9)


def test_at_most_so_many_images_evenly_spread() -> None:
    heavy, light, _ = vectors()
    rows = fit_plane(heavy, light, limit=50).rows
    assert len(rows) == 50
    assert rows[0] == 0
    assert rows[-1] == 299
    assert set(np.diff(rows)) <= {6, 7}


def test_equal_vectors_have_no_variance_and_no_crash() -> None:
    heavy = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (5, 1))
    plane = fit_plane(heavy, heavy)
    assert plane.shares == (0.0, 0.0)
    assert len(plane_pictures(plane, ["a"] * 5)[0]) == 3


def test_three_panels_with_every_image_and_every_class() -> None:
    heavy, light, kinds = vectors()
    plane = fit_plane(heavy, light)
    pictures, classes = plane_pictures(plane, [CLASSES[kind] for kind in kinds])
    assert [picture.title for picture in pictures] == [
        "The gallery encoder's vectors", "The query encoder's vectors", "Both, class means joined",
    ]  # fmt: skip
    assert classes == tuple(sorted(CLASSES))
    assert [picture.svg.count("h0") for picture in pictures] == [300, 300, 600]
    for picture in pictures:
        assert set(CLASSES) <= set(texts(picture.svg))
        assert f"PC 1: {100 * plane.shares[0]:.1f} % of the variance of g" in texts(picture.svg)
    assert all(f"var(--class-{index})" in pictures[0].svg for index in range(10))


def test_more_classes_than_colours_leaves_the_rare_ones_grey() -> None:
    heavy, light, _ = vectors()
    labels = [f"class {min(row % 15, 12)}" for row in range(300)]
    pictures, classes = plane_pictures(fit_plane(heavy, light), labels)
    assert len(classes) == 10
    assert "class 12" in classes  # three times as frequent as any other
    assert pictures[0].svg.count("h0") == 300


def test_without_labels_the_roles_have_the_colours() -> None:
    heavy, light, _ = vectors()
    pictures, classes = plane_pictures(fit_plane(heavy, light), [])
    assert classes == ()
    assert pictures[2].title == "Both"
    assert "var(--gallery)" in pictures[0].svg
    assert "var(--query)" in pictures[1].svg
    assert "var(--class-0)" not in pictures[0].svg


def test_labels_are_text_and_nothing_else() -> None:
    heavy, light, _ = vectors()
    strange = ["<script>alert(1)</script>", "$\\frac", "服装", "a very long name of a class"]
    pictures, _ = plane_pictures(fit_plane(heavy, light), [strange[row % 4] for row in range(300)])
    found = texts(pictures[0].svg)
    assert {"$\\frac", "服装", "a very long name …"} <= set(found)
    assert "<script" not in pictures[0].svg
