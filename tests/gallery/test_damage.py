from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.errors import ImageError
from hetsearch.gallery import build_gallery
from hetsearch.runtime import OnnxEncoder


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "scripts"))
    import damage_images

    return damage_images


def test_damaged_images_of_twenty_kinds_among_good_ones(
    script: ModuleType, encoder: OnnxEncoder, images: ImageSet, tmp_path: Path
) -> None:
    """A handful of what scripts/damage_images.py does through the command line."""
    damaged = script.make_folder(tmp_path / "images", images, good=120, each=2)
    assert (len(set(damaged.values())), len(damaged)) == (20, 40)
    listed = open_source(str(tmp_path / "images"))
    assert len(listed) == 160  # no folder, no pipe, no socket, no text
    script.vanish(tmp_path / "images")
    out = tmp_path / "g"
    report = build_gallery(encoder, listed, out, workers=1, progress=False)
    assert (report.rows, report.exit_code) == (120, 3)
    assert script.differences(out, tmp_path / "images", damaged, encoder.folder) == []
    first = min(damaged)
    with pytest.raises(ImageError, match=f"the job stopped at an image that cannot be read .'{first}'"):
        build_gallery(encoder, listed, tmp_path / "h", on_error="fail", progress=False)
