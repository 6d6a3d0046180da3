"""1,000 damaged images of 20 kinds among 9,000 good ones: what a gallery job does with them.

    python scripts/damage_images.py                       # a few minutes; exit code 1 if anything does not hold
    python scripts/damage_images.py --good 900 --each 5 --keep DIR

The pictures are those of FashionMNIST's test set, the good ones in six formats and some in odd forms (animated, 16
bits, CMYK, transparent, 1 × 1). Beside them lie things that are no images and must not be listed: a folder called
folder.png, a pipe, a socket, a text. It runs ``hetsearch index build`` and looks whether

- it ends with 3 and without a traceback, ``failures.parquet`` names each damaged image with a reason and no other, and
  the items are all the good ones, with the vectors that the encoder gives for each alone; ``verify`` holds;
- ``--on-error fail`` ends with 3 at the first damaged image and names it;
- a job of which a worker is killed ends with 1, says so, and the same command ends as the first job did.

Nothing may take longer than ``--patience`` seconds.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, PngImagePlugin

from hetsearch.data.images import ImageSet
from hetsearch.data.sources import open_source
from hetsearch.gallery import open_gallery, verify_gallery
from hetsearch.gallery.embeddings import load_embeddings
from hetsearch.preprocess import open_image
from hetsearch.runtime import load_encoder

SOURCE = "fashion-mnist:test"
SIDE = 20_000
SAMPLE = 200  # vectors that are compared with those of single images
LAST = "zz-"  # what the names of those that vanish begin with: they are read last

Make = Callable[[Path, Image.Image], None]


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file, with its right checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG file of 8-bit grey values with these chunks between its header and its end."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"".join([b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *chunks, chunk(b"IEND", b"")])


def cut(kind: str, share: float) -> Make:
    """A file of which only the first ``share`` is there."""

    def make(path: Path, picture: Image.Image) -> None:
        payload = encoded(picture.resize((64, 64)), kind)
        path.write_bytes(payload[: max(1, int(len(payload) * share))])

    return make


def holding(payload: bytes) -> Make:
    """A file that holds just this."""

    def make(path: Path, picture: Image.Image) -> None:
        path.write_bytes(payload)

    return make


def patched(kind: str, find: bytes, at: int, new: bytes) -> Make:
    """A file in which some bytes are others, ``at`` bytes behind the first place of ``find``."""

    def make(path: Path, picture: Image.Image) -> None:
        payload = bytearray(encoded(picture, kind))
        place = payload.index(find) + at
        payload[place : place + len(new)] = new
        path.write_bytes(payload)

    return make


def _text_bomb(path: Path, picture: Image.Image) -> None:
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100 << 20), 9))
    path.write_bytes(png(28, 28, text, chunk(b"IDAT", zlib.compress(bytes(29 * 28)))))


def _tables_gone(path: Path, picture: Image.Image) -> None:
    payload = encoded(picture, "JPEG")
    while (place := payload.find(b"\xff\xdb")) >= 0:
        size = struct.unpack(">H", payload[place + 2 : place + 4])[0]
        payload = payload[:place] + payload[place + 2 + size :]
    path.write_bytes(payload)


BOMB = png(9000, 9000, chunk(b"IDAT", zlib.compress(bytes(9001 * 9000), 9)))
HTML = b"<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="28" height="28"><circle cx="14" cy="14" r="9"/></svg>'
KINDS: dict[str, tuple[str, Make]] = {  # name → suffix, and what makes such a file
    "zero bytes": (".png", holding(b"")),
    "text": (".png", holding(b"This is not a picture.\n" * 20)),
    "web page": (".jpg", holding(HTML)),
    "drawing": (".png", holding(SVG)),
    "jpeg cut in its header": (".jpg", cut("JPEG", 0.05)),
    "jpeg cut in the middle": (".jpg", cut("JPEG", 0.6)),
    "jpeg without its tables": (".jpeg", _tables_gone),
    "png with another signature": (".png", patched("PNG", b"PNG", 0, b"GNP")),
    "png with spoiled pixels": (".png", patched("PNG", b"IDAT", 60, b"\xff" * 40)),
    "png without pixels": (".png", holding(png(28, 28))),
    "png of no width": (".png", holding(png(0, 28, chunk(b"IDAT", zlib.compress(b"\0" * 28))))),
    "png that claims 20,000 x 20,000": (".png", holding(png(SIDE, SIDE, chunk(b"IDAT", zlib.compress(b"\0" * 99))))),
    "png of 9,000 x 9,000 in 80 kB": (".png", holding(BOMB)),
    "png with 100 MB of comment": (".png", _text_bomb),
    "gif cut": (".gif", cut("GIF", 0.4)),
    "webp cut": (".webp", cut("WEBP", 0.5)),
    "tiff with insane offsets": (".tif", holding(b"II*\0" + struct.pack("<I", 0x7FFFFFFF) + bytes(64))),
    "bmp shorter than it says": (".bmp", cut("BMP", 0.7)),
    "link to nothing": (".png", lambda path, picture: path.symlink_to("nowhere.png")),
    "file that vanishes": (".png", lambda path, picture: picture.save(path)),
}
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".bmp": "BMP", ".gif": "GIF", ".tif": "TIFF"}


def make_folder(folder: Path, images: ImageSet, good: int, each: int) -> dict[str, str]:
    """Write good, damaged and foreign files into a new folder, the same ones each time.

    Args:
        folder: is made.
        images: real pictures.
        good: how many good ones.
        each: how many damaged ones of each kind.

    Returns:
        The kind of each damaged one, by key; those that vanish are still there.
    """
    folder.mkdir(parents=True)
    damaged: dict[str, str] = {}
    pictures = (open_image(images.read(row % len(images))) for row in range(good + each * len(KINDS)))
    every = max(1, good // (each * len(KINDS)))
    for row in range(good):
        _good(folder, row, next(pictures))
        kind = list(KINDS)[row // every % len(KINDS)]
        number = row // every // len(KINDS)
        if row % every == 0 and number < each:
            suffix, make = KINDS[kind]
            name = f"{LAST if kind == 'file that vanishes' else ''}{row:05d} {kind}{suffix}"
            make(folder / name, next(pictures))
            damaged[name] = kind
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    with socket.socket(socket.AF_UNIX) as end, _inside(folder):
        end.bind("socket.png")
    (folder / "notes.txt").write_text("no image")
    return damaged


def vanish(folder: Path) -> None:
    """Remove the files that vanish."""
    for path in folder.glob(f"{LAST}*"):
        path.unlink()


def _good(folder: Path, row: int, picture: Image.Image) -> None:
    path = folder / f"{row:05d}"
    match row % 100:
        case 0:
            picture.save(path.with_suffix(".gif"), save_all=True, append_images=[Image.new("L", picture.size)] * 3)
        case 1:
            Image.fromarray(np.asarray(picture).astype(np.uint16) * 257).save(path.with_suffix(".png"))
        case 2:
            picture.convert("CMYK").save(path.with_suffix(".jpg"))
        case 3:
            picture.convert("LA").save(path.with_suffix(".png"))
        case 4:
            picture.resize((1, 1)).save(path.with_suffix(".png"))
        case 5:
            picture.save(path.with_suffix(".png"), pnginfo=_comment())
        case _:
            suffix = list(FORMATS)[row % len(FORMATS)]
            picture.save(path.with_suffix(suffix), FORMATS[suffix])


def _comment() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a picture of a garment", zip=True)
    return info


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    # The address of a socket has no room for a long path.
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def differences(out: Path, folder: Path, damaged: dict[str, str], bundle: Path) -> list[str]:
    """What does not hold of a finished gallery of such a folder."""
    failures = {row["key"]: row["reason"] for row in pq.read_table(out / "embeddings/failures.parquet").to_pylist()}
    wrong = [f"not in failures.parquet: {key}" for key in damaged if not failures.get(key)]
    wrong += [f"in failures.parquet: {key}: {reason}" for key, reason in failures.items() if key not in damaged]
    expected = sorted(path.name for path in folder.iterdir() if path.stem.isdigit())
    keys = open_gallery(out).items["key"].to_pylist()
    if sorted(keys) != expected:
        wrong.append(f"{len(keys)} items for {len(expected)} good images")
    stored, encoder = load_embeddings(out), load_encoder(bundle)
    for row in np.linspace(0, len(stored) - 1, num=min(SAMPLE, len(stored))).astype(int):
        alone = encoder.encode(folder / stored.keys[row]).vectors[0]
        if not np.allclose(alone, stored.vectors[row], atol=1e-5):
            wrong.append(f"another vector: {stored.keys[row]}")
    if verify_gallery(out).failures != len(damaged):
        wrong.append("verify counts other failures")
    return wrong


def main() -> int:
    """Make the files, run the jobs, and print what held."""
    options = _options()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.keep or Path(temporary)
        damaged = make_folder(work / "images", open_source(SOURCE), options.good, options.each)
        sys.stdout.write(f"{options.good:,} good images, {len(damaged):,} damaged of {len(KINDS)} kinds\n")
        trial = Trial(options, work, damaged)
        wrong = [*trial.build(), *trial.stop_at_the_first(), *trial.lose_a_worker()]
    for line in wrong:
        sys.stdout.write(f"WRONG {line}\n")
    sys.stdout.write("all of it holds\n" if not wrong else "")
    return 1 if wrong else 0


class Trial:
    """Jobs on one folder of images.

    Args:
        options: of the command line.
        work: holds the folder, and takes the galleries.
        damaged: kind by key.
    """

    def __init__(self, options: argparse.Namespace, work: Path, damaged: dict[str, str]) -> None:
        self.options, self.work, self.damaged = options, work, damaged

    def build(self) -> list[str]:
        """The whole job; some files vanish as soon as it has listed them."""
        out, begin = self.work / "gallery", time.perf_counter()
        with self._started(out) as job:
            self._wait_for(out / "embeddings" / "manifest.json", job)
            vanish(self.work / "images")
            wrong = self._ended(job, 3)
        self._show(out, time.perf_counter() - begin)
        wrong += differences(out, self.work / "images", self.damaged, self.options.encoder)
        for key in [key for key in self.damaged if key.startswith(LAST)]:  # listed by the jobs to come as well
            (self.work / "images" / key).symlink_to("nowhere.png")
        with self._started(out) as job:
            return wrong + self._ended(job, 3)

    def stop_at_the_first(self) -> list[str]:
        """The job that may not meet any."""
        first = min(self.damaged)
        with self._started(self.work / "stopped", "--on-error", "fail") as job:
            return self._ended(job, 3, f"the job stopped at an image that cannot be read ('{first}')")

    def lose_a_worker(self) -> list[str]:
        """The job of which a worker is killed, and the same job again."""
        out = self.work / "killed"
        with self._started(out) as job:
            self._wait_for(out / "embeddings" / "shard-00001.parquet", job)
            os.kill(_worker_of(job.pid), signal.SIGKILL)
            wrong = self._ended(job, 1, "a worker process died while it read images")
        with self._started(out) as job:
            wrong += self._ended(job, 3, "resumed: ")
        return wrong + differences(out, self.work / "images", self.damaged, self.options.encoder)

    @contextmanager
    def _started(self, out: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
        words = ["index", "build", "--encoder", self.options.encoder, "--images", self.work / "images", "--out", out]
        words += ["--workers", "2", "--threads", "1", "--shard-rows", "512", "--json", *more]
        command = [sys.executable, "-m", "hetsearch", *map(str, words)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
            try:
                yield job
            finally:
                job.kill()

    def _ended(self, job: subprocess.Popen[str], code: int, message: str = "") -> list[str]:
        try:
            _, err = job.communicate(timeout=self.options.patience)
        except subprocess.TimeoutExpired:
            return ["a job hangs"]
        assert isinstance(job.args, list)  # as it was started
        what = " ".join(map(str, job.args[4:]))
        wrong = [] if job.returncode == code else [f"exit code {job.returncode}, not {code}: {what}: {err[-500:]}"]
        wrong += [f"a traceback: {what}: {err[-500:]}"] if "Traceback" in err else []
        return wrong + ([] if message in err else [f"no '{message}': {what}: {err[-500:]}"])

    def _wait_for(self, path: Path, job: subprocess.Popen[str]) -> None:
        end = time.monotonic() + self.options.patience
        while not path.exists() and job.poll() is None and time.monotonic() < end:
            time.sleep(0.01)

    def _show(self, out: Path, seconds: float) -> None:
        rows = pq.read_table(out / "embeddings" / "failures.parquet").to_pylist()
        sys.stdout.write(f"index build: {len(rows):,} failures in {seconds:.0f} s; one of each kind:\n")
        for kind in KINDS:
            reason = next((row["reason"] for row in rows if self.damaged.get(row["key"]) == kind), "NONE")
            sys.stdout.write(f"  {kind}: {reason.replace(str(self.work) + '/images/', '')[:150]}\n")


def _worker_of(pid: int) -> int:
    """A process that decodes for a job; its tracker of semaphores does not."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next(int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--encoder", type=Path, default=Path("zoo/fashion-mnist/query-encoder"), help="bundle")
    parser.add_argument("--good", type=int, default=9000, help="good images")
    parser.add_argument("--each", type=int, default=50, help="damaged images of each kind")
    parser.add_argument("--patience", type=float, default=1800, help="seconds that a job may take")
    parser.add_argument("--keep", type=Path, help="an empty folder to work in that is kept; default: a temporary one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
