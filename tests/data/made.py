"""What tests of several files make: programs that stand in for npm and its like, and sets in their real formats."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import struct
import tarfile
from pathlib import Path

import numpy as np

from hetsearch.data.emoji import EmojiSet, Style

COPY = shutil.which("cp")


def tar(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def script(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def cifar_batch(pixels: np.ndarray, labels: list[int], *, by_column: bool = False) -> bytes:
    """A batch of CIFAR-10 as Python 2 pickled it, opcode by opcode: ``pixels`` are ``uint8 (n, 3072)``."""
    content = pixels.tobytes(order="F" if by_column else "C")
    dtype = b"cnumpy\ndtype\n" + _text(b"u1") + b"K\x00K\x01\x87R"
    dtype += b"(K\x03" + _text(b"|") + b"NNN" + 2 * b"J\xff\xff\xff\xff" + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text(b"b") + b"\x87R"
    array += b"(K\x01" + b"".join(b"J" + struct.pack("<i", side) for side in pixels.shape) + b"\x86" + dtype
    array += (b"\x88" if by_column else b"\x89") + b"T" + struct.pack("<I", len(content)) + content + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    batch = _text(b"batch_label") + _text(b"testing batch 1 of 1") + _text(b"labels") + numbers
    return b"\x80\x02}(" + batch + _text(b"data") + array + _text(b"filenames") + b"](" + _text(b"a.png") + b"eu."


def _text(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


STYLES = ("noto", "fluent-emoji-flat", "twemoji", "openmoji")

# Code points as noto lists them → name there. The last one is drawn by the first three styles only.
CONCEPTS = {
    "2764": "red-heart", "1f431": "cat-face", "1f63a": "grinning-cat", "1f9d1-200d-1f33e": "farmer",
    "1f44d": "thumbs-up", "1f514": "bell", "1f335": "cactus", "1fae9": "tired-face",
}  # fmt: skip
ALIKE = ("1f431", "1f63a")  # openmoji draws them alike


def icon_files(style: str) -> dict[str, bytes]:
    """``icons.json``, ``chars.json`` and ``info.json`` of a miniature style, in the real format."""
    place, icons, chars = STYLES.index(style), {}, {}
    for number, (points, name) in enumerate(CONCEPTS.items()):
        if style == "openmoji" and points == "1fae9":
            continue
        shape = 1 if style == "openmoji" and points in ALIKE else number
        width, colour = 2 + 2 * shape, f"#{40 * place + 60:02x}{30 * shape:02x}80"
        icons[name] = {"body": f'<g fill="none"><path fill="{colour}" d="M4 4h{width}v{12 + place}h-{width}z"/></g>'}
        # Some sets list the code point that asks for colour.
        chars[f"{points}-fe0f" if style == "twemoji" and points == "2764" else points] = name
    icons["thumbs-up-dark-skin-tone"] = {"body": "<path d='M0 0h9v9z'/>"}
    chars["1f44d-1f3ff"] = "thumbs-up-dark-skin-tone"
    icons["bell"]["height"] = 24
    chars["1f449"] = "pointing-right"  # an alias: mirrored, not drawn
    document = {"prefix": style, "icons": icons, "width": 32, "height": 32}
    document["aliases"] = {"pointing-right": {"parent": "bell", "hFlip": True}}
    info = {
        "name": style.title(), "author": {"name": f"Who drew {style}", "url": "https://example.org"},
        "license": {"title": "MIT", "spdx": "MIT", "url": "https://example.org/licence"},
    }  # fmt: skip
    return {
        name: json.dumps(part).encode()
        for name, part in (("icons.json", document), ("chars.json", chars), ("info.json", info))
    }


def miniature() -> EmojiSet:
    """The emoji set of the four miniature styles."""
    sums = {style: hashlib.sha256(b"".join(icon_files(style).values())).hexdigest() for style in STYLES}
    return EmojiSet({style: Style(f"@iconify-json/{style}", "1.2.3", sums[style]) for style in STYLES})


def npm_brings(folder: Path, packages: dict[str, dict[str, bytes]]) -> None:
    """``npm pack NAME@1.2.3`` leaves the package's archive in its working folder."""
    cases = ""
    for style, files in packages.items():
        archive = folder / f"{style}.tgz"
        archive.write_bytes(tar({f"package/{name}": content for name, content in files.items()}, "w:gz"))
        cases += f'@iconify-json/{style}@1.2.3) "{COPY}" "{archive}" .;; '
    script(folder, "npm", f'case "$2" in {cases} *) echo "npm error code E404" >&2; echo "a log" >&2; exit 1;; esac')
