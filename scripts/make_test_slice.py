"""Make the small slice of FashionMNIST that the tests use, from the full idx files.

    python scripts/make_test_slice.py /usr/share/datasets/fashion-mnist tests/fixtures/fashion-mnist

The first 100 images of each class of the training set and the first 50 of each class of the test set, in file
order. The same input gives the same bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from hetsearch.data.idx import read_idx, to_idx_gz
from hetsearch.files import write_bytes

PER_CLASS = {"train": 100, "t10k": 50}


def main() -> None:
    """Read the four full files, keep the first images of each class, write the four small files."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("full", type=Path, help="folder with the four full files")
    parser.add_argument("out", type=Path, help="folder for the four small files")
    arguments = parser.parse_args()
    for prefix, count in PER_CLASS.items():
        images_name, labels_name = f"{prefix}-images-idx3-ubyte.gz", f"{prefix}-labels-idx1-ubyte.gz"
        images, labels = read_idx(arguments.full / images_name), read_idx(arguments.full / labels_name)
        kept = np.sort(np.concatenate([np.flatnonzero(labels == label)[:count] for label in range(10)]))
        write_bytes(arguments.out / images_name, to_idx_gz(images[kept]))
        write_bytes(arguments.out / labels_name, to_idx_gz(labels[kept]))
        print(f"{prefix}: {len(kept)} images, {np.bincount(labels[kept]).tolist()} a class")


if __name__ == "__main__":
    main()
