"""What the scripts that compare speeds share: pictures as files hold them, the machine in words, cells of a table."""

from __future__ import annotations

import io
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hetsearch.preprocess import ImageLike, open_image


def encoded(image: ImageLike, kind: str) -> bytes:
    """A picture as the bytes of a file, ``PNG`` or ``JPEG``."""
    file = io.BytesIO()
    open_image(image).save(file, kind)
    return file.getvalue()


def photograph(width: int = 640, height: int = 480) -> Image.Image:
    """A made picture with as much in it as a photograph: smooth ground, edges, and noise of a sensor."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    ground = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float64)
    noisy = ground + random.normal(0, 6, ground.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def machine() -> str:
    """The processor, how many of its cores there are, and how busy the machine is."""
    names = (line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name"))
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{next(names, platform.processor() or platform.machine())}, {os.cpu_count()} cores{load}"


def cell(values: Sequence[float], places: int) -> str:
    """A median, and smallest and largest in brackets."""
    low, middle, high = np.quantile(values, (0, 0.5, 1))
    return f"{middle:,.{places}f} ({low:,.{places}f} to {high:,.{places}f})"


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
