from __future__ import annotations

import pytest

from hetsearch.errors import DataError
from hetsearch.metrics import update_gain


def test_by_hand():
    assert update_gain(0.65, 0.6, 0.7) == pytest.approx(0.5)
    assert update_gain(0.7, 0.6, 0.7) == pytest.approx(1.0)


def test_it_is_never_clipped():
    assert update_gain(0.5, 0.6, 0.7) == pytest.approx(-1.0)
    assert update_gain(0.9, 0.6, 0.7) == pytest.approx(3.0)


@pytest.mark.parametrize("free", [0.6, 0.5])
def test_without_progress_it_is_undefined(free):
    assert update_gain(0.65, 0.6, free) is None


def test_values_that_were_not_measured_are_refused():
    with pytest.raises(DataError, match=r"values of an update gain are wrong: .*expected finite numbers"):
        update_gain(float("nan"), 0.6, 0.7)
