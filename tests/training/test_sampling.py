import numpy as np
import pytest

from hetsearch.errors import ConfigError
from hetsearch.training.recipe import BatchConfig
from hetsearch.training.sampling import batches_of_epoch

LABELS = np.repeat(np.arange(5), [10, 20, 5, 8, 7])


def test_shuffled_batches_hold_every_image_once() -> None:
    batches = batches_of_epoch(LABELS, BatchConfig(size=10), seed=0, epoch=0)
    assert [len(batch) for batch in batches] == [10] * 5
    assert sorted(np.concatenate(batches)) == list(range(50))


def test_balanced_batches_hold_as_many_images_of_each_class() -> None:
    batches = batches_of_epoch(LABELS, BatchConfig(size=12, samples_per_class=4), seed=0, epoch=3)
    assert len(batches) == 4
    for batch in batches:
        _, counts = np.unique(LABELS[batch], return_counts=True)
        assert list(counts) == [4, 4, 4]


def test_a_large_class_is_used_up_before_it_repeats() -> None:
    labels = np.zeros(10, dtype=np.int64)
    batches = batches_of_epoch(labels, BatchConfig(size=5, samples_per_class=5), seed=0, epoch=0)
    assert sorted(np.concatenate(batches)) == list(range(10))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return list(np.concatenate(batches_of_epoch(LABELS, BatchConfig(size=10), seed=seed, epoch=epoch)))

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_batches_that_cannot_be_filled_are_refused() -> None:
    with pytest.raises(ConfigError, match="larger than the training set"):
        batches_of_epoch(LABELS, BatchConfig(size=51), seed=0, epoch=0)
    with pytest.raises(ConfigError, match="more classes"):
        batches_of_epoch(LABELS, BatchConfig(size=12, samples_per_class=2), seed=0, epoch=0)
    with pytest.raises(ValueError, match="no multiple"):
        BatchConfig(size=10, samples_per_class=4)
