from __future__ import annotations

import numpy as np
import pytest

from hetsearch.data.sides import Sides
from hetsearch.errors import DataError


def test_without_roles_every_image_is_query_and_item(make_images):
    sides = Sides.of(make_images(6))
    assert sides.protocol == "leave-one-out"
    assert sides.query_rows.tolist() == sides.gallery_rows.tolist() == [0, 1, 2, 3, 4, 5]
    assert sides.query(np.eye(6)).groups is None


def test_with_roles_queries_against_gallery(make_images):
    roles, groups = ("query", "gallery", "gallery", "query"), tuple("abca")
    sides = Sides.of(make_images(4, roles=roles, groups=groups))
    assert sides.protocol == "roles"
    query, items = sides.query(np.eye(4)), sides.gallery(np.eye(4))
    assert query.keys.tolist() == ["image 000", "image 003"]
    assert items.keys.tolist() == ["image 001", "image 002"]
    assert query.groups.tolist() == ["a", "a"]
    assert items.labels.tolist() == ["class 1", "class 2"]
    np.testing.assert_array_equal(items.vectors, np.eye(4)[[1, 2]])


def test_bad_columns_are_refused(make_images):
    images = make_images(2)
    unlabelled = type(images)(images.name, images.keys, images.read)
    with pytest.raises(DataError, match=r"'fake:test' has no labels.*column 'label'"):
        Sides.of(unlabelled)
    with pytest.raises(DataError, match=r"observed 'querry'\. Did you mean 'query'\?"):
        Sides.of(make_images(2, roles=("querry", "gallery")))
    with pytest.raises(DataError, match="no image of 'fake:test' has the role 'query'"):
        Sides.of(make_images(2, roles=("gallery", "gallery")))


@pytest.mark.parametrize(
    ("labels", "groups", "roles", "expected"),
    [
        ("aab", None, None, True),
        ("abc", None, None, False),  # each of a class of its own
        ("aab", "xxy", None, False),  # the two are of one group
        ("aab", ("", "", "y"), None, True),  # of no group, so not of the same
        ("aab", None, ("query", "query", "gallery"), False),  # the two are on one side
        ("aba", None, ("query", "gallery", "gallery"), True),
    ],
)
def test_whether_any_query_has_an_item_to_find(make_images, labels, groups, roles, expected):
    groups = None if groups is None else tuple(groups)
    sides = Sides.of(make_images(3, labels=tuple(labels), groups=groups, roles=roles))
    assert sides.any_positive() is expected
    if expected:
        sides.require_positives("some")
    else:
        with pytest.raises(DataError, match="no query of 'some' has a relevant item: observed"):
            sides.require_positives("some")
