"""The examples in the docstrings of metrics and evaluation are true."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest

MODULES = [
    "hetsearch.metrics.bootstrap",
    "hetsearch.metrics.flips",
    "hetsearch.metrics.found",
    "hetsearch.metrics.map",
    "hetsearch.metrics.map_at_r",
    "hetsearch.metrics.precision",
    "hetsearch.metrics.ranking",
    "hetsearch.metrics.recall",
    "hetsearch.metrics.recall_curve",
    "hetsearch.evaluation.embeddings",
    "hetsearch.evaluation.evaluate",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    importlib.import_module(name)
    found = doctest.testmod(sys.modules[name])
    assert found.attempted > 0
    assert found.failed == 0
