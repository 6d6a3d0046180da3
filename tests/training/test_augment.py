import numpy as np
import torch

from hetsearch.training.augment import augment
from hetsearch.training.recipe import AugmentationConfig


def change(pixels: torch.Tensor, seed: int = 0, **config: float) -> tuple[torch.Tensor, torch.Tensor]:
    filled = AugmentationConfig.model_validate({"flip": 0, "shift": 0, "erase": 0, **config})
    return augment(pixels, filled, background=9, generator=torch.Generator().manual_seed(seed))


PIXELS = torch.arange(6 * 2 * 8 * 8).remainder(250).to(torch.uint8).view(6, 2, 8, 8)


def test_nothing_asked_for_changes_nothing() -> None:
    out, mirrored = change(PIXELS)
    assert torch.equal(out, PIXELS)
    assert not mirrored.any()


def test_mirrored_images_are_named() -> None:
    out, mirrored = change(PIXELS, flip=0.5)
    assert 0 < int(mirrored.sum()) < 6
    for image, before, is_mirrored in zip(out, PIXELS, mirrored, strict=True):
        assert torch.equal(image, before.flip(2) if is_mirrored else before)


def test_a_shift_moves_the_image_and_uncovers_background() -> None:
    out, _ = change(PIXELS, shift=2)
    seen = set()
    for image, before in zip(out.numpy(), PIXELS.numpy(), strict=True):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)), constant_values=9)
        places = [
            (i, j) for i in range(5) for j in range(5) if np.array_equal(padded[:, i : i + 8, j : j + 8], image)
        ]
        assert len(places) == 1
        seen.add(places[0])
    assert len(seen) > 1  # each image has a shift of its own


def test_erasing_changes_one_square_of_at_most_half_the_side() -> None:
    out, _ = change(PIXELS, erase=1.0, seed=3)
    for image, before in zip(out, PIXELS, strict=True):
        rows, columns = torch.nonzero((image != before).any(dim=0), as_tuple=True)
        assert len(rows)
        assert int(rows.max() - rows.min()) < 4
        assert int(columns.max() - columns.min()) < 4


def test_the_generator_decides() -> None:
    config = {"flip": 0.5, "shift": 2, "erase": 0.5}
    assert torch.equal(change(PIXELS, 1, **config)[0], change(PIXELS, 1, **config)[0])
    assert not torch.equal(change(PIXELS, 1, **config)[0], change(PIXELS, 2, **config)[0])
