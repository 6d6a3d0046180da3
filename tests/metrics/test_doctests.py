"""The examples in the docstrings of metrics and evaluation are true."""

from __future__ import annotations

import doctest
import importlib
import sys

import pytest

MODULES = [
    "hetsearch.metrics.bootstrap",
    "hetsearch.metrics.compatibility",
    "hetsearch.metrics.discounted_gain",
    "hetsearch.metrics.flips",
    "hetsearch.metrics.found",
    "hetsearch.metrics.gain",
    "hetsearch.metrics.identification",
    "hetsearch.metrics.judged",
    "hetsearch.metrics.map",
    "hetsearch.metrics.map_at_k",
    "hetsearch.metrics.map_at_r",
    "hetsearch.metrics.packing",
    "hetsearch.metrics.precision",
    "hetsearch.metrics.precision_at_r",
    "hetsearch.metrics.ranking",
    "hetsearch.metrics.recall",
    "hetsearch.metrics.recall_curve",
    "hetsearch.metrics.threshold",
    "hetsearch.metrics.trapezoid",
    "hetsearch.metrics.verification",
    "hetsearch.evaluation.embeddings",
    "hetsearch.evaluation.evaluate",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    importlib.import_module(name)
    found = doctest.testmod(sys.modules[name])
    assert found.attempted > 0
    assert found.failed == 0
