"""One service over a gallery of real pictures, for every test that changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hetsearch.data.sources import open_source
from hetsearch.gallery import build_gallery
from hetsearch.runtime import OnnxEncoder, load_encoder
from hetsearch.service.settings import Settings
from tests.service.browser import Browser, chromium
from tests.service.serving import Service, serving
from tests.support import SPACE, linear_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return linear_bundle(tmp_path_factory.mktemp("bundle") / "tiny", space=SPACE)


@pytest.fixture(scope="session")
def encoder(bundle: Path) -> OnnxEncoder:
    return load_encoder(bundle)


@pytest.fixture(scope="session")
def gallery(tmp_path_factory: pytest.TempPathFactory, encoder: OnnxEncoder, fashion_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("built") / "gallery"
    build_gallery(encoder, open_source(str(fashion_folder)), out, progress=False)
    return out


@pytest.fixture(scope="session")
def settings(bundle: Path, gallery: Path) -> Settings:
    return Settings(encoder=bundle, gallery=str(gallery), max_images=8, max_body=200_000, max_pixels=250_000, max_k=50)


@pytest.fixture(scope="session")
def service(settings: Settings) -> Iterator[Service]:
    with serving(settings) as started:
        yield started


@pytest.fixture(scope="session")
def pictures(fashion_folder: Path) -> list[Path]:
    """Files of real pictures, two of each class."""
    return [fashion_folder / f"class-{label}" / f"{number:03}.png" for label in range(10) for number in (0, 7)]


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started
