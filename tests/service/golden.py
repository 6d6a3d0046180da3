"""Pictures of every kind that a browser and Pillow both read, made here, so that both must see the same in them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin

Picture = Callable[[], bytes]


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def scene(width: int, height: int) -> Image.Image:
    """Colours that change smoothly, edges, and noise: what shows a wrong filter, order of axes or rounding."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    bands = [128 + 120 * np.sin(9 * x + 3 * y), 255 * (x + y) / 2, 255 * ((x - 0.4) ** 2 + (y - 0.3) ** 2 < 0.04)]
    noise = np.random.default_rng(5).normal(scale=12, size=(height, width, 3))
    return Image.fromarray(np.clip(np.stack(bands, axis=-1) + noise, 0, 255).astype(np.uint8))


def with_alpha(mode: str) -> Image.Image:
    image = scene(90, 70).convert(mode)
    ramp = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
    image.putalpha(Image.fromarray(ramp))
    return image


def palette(transparent: bool) -> bytes:
    image = scene(64, 80).quantize(16)
    return encoded(image, transparency=3) if transparent else encoded(image)


def turned(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return encoded(scene(80, 56), kind, exif=exif, **({"quality": 95} if kind == "JPEG" else {"lossless": True}))


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""


def turned_by_xmp(kind: str) -> bytes:
    """Without an EXIF tag, Pillow takes that of XMP."""
    if kind == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", XMP)
        return encoded(scene(80, 56), kind, pnginfo=text)
    return encoded(scene(80, 56), kind, xmp=XMP.encode(), **({"quality": 95} if kind == "JPEG" else {"lossless": True}))


def turned_by_a_long() -> bytes:
    """The tag as a number of 32 bits, which some programs write."""
    tiff = struct.pack("<2sHI HHHII I", b"II", 42, 8, 1, 274, 4, 1, 8, 0)
    return encoded(scene(80, 56), "JPEG", quality=95, exif=b"Exif\0\0" + tiff)


def png(bits: int, colour: int, rows: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of a kind that Pillow does not write: ``rows`` are its bytes, line by line."""
    height, width = rows.shape[0], rows.shape[1] * 8 // bits // {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    body = b"".join(b"\0" + line.tobytes() for line in rows.astype(np.uint8))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    whole = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(body)), (b"IEND", b"")):
        whole += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return whole


def deep(colour: int) -> bytes:
    """16 bits a channel, with colours and with transparency."""
    bands = {2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    values = np.asarray(with_alpha("L" if bands == "LA" else "RGB").convert(bands))
    low = np.random.default_rng(2).integers(0, 256, values.shape, dtype=np.uint8)
    return png(16, colour, np.stack([values, low], axis=-1).reshape(len(values), -1))


def one_colour_is_clear(colour: int) -> bytes:
    """Transparency by a colour of the picture instead of a channel."""
    values = np.asarray(scene(60, 44).quantize(6).convert("L" if colour == 0 else "RGB"))
    clear = values[5, 5].reshape(-1)
    return png(8, colour, values.reshape(44, -1), (b"tRNS", clear.astype(">u2").tobytes()))


def moving(kind: str) -> bytes:
    """An animation, of which the first picture counts."""
    frames = [scene(60, 40).rotate(turn) for turn in (0, 90, 180)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)


def grey_16() -> bytes:
    y, x = np.mgrid[0:60, 0:60]
    return encoded(Image.fromarray((x * 900 + y * 190).astype(np.uint16)))


def colours_swapped() -> bytes:
    """A profile that takes red for blue: who obeys it sees other colours, and Pillow's reader does not."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")
    return encoded(scene(60, 60), icc_profile=swapped)


def with_gamma() -> bytes:
    """A PNG that says its values are linear."""
    body = b"gAMA" + struct.pack(">I", 100_000)
    chunk = struct.pack(">I", 4) + body + struct.pack(">I", zlib.crc32(body))
    whole = encoded(scene(60, 60))
    return whole[:33] + chunk + whole[33:]  # after the header


GOLDEN: dict[str, Picture] = {
    "grey png of the encoder's size": lambda: encoded(scene(28, 28).convert("L")),
    "grey png": lambda: encoded(scene(120, 100).convert("L")),
    "1-bit png": lambda: encoded(scene(50, 50).convert("1")),
    "16-bit grey png": grey_16,
    "rgb png": lambda: encoded(scene(200, 150)),
    "rgba png": lambda: encoded(with_alpha("RGB")),
    "grey png with alpha": lambda: encoded(with_alpha("L")),
    "palette png": lambda: palette(False),
    "palette png with a transparent colour": lambda: palette(True),
    "interlaced gif": lambda: encoded(scene(70, 70).quantize(64), "GIF", interlace=1),
    "jpeg": lambda: encoded(scene(640, 480), "JPEG", quality=90),
    "grey jpeg": lambda: encoded(scene(100, 160).convert("L"), "JPEG", quality=90),
    "progressive jpeg, colour at half size": lambda: encoded(
        scene(300, 200), "JPEG", quality=75, progressive=True, subsampling="4:2:0"
    ),
    "cmyk jpeg": lambda: encoded(scene(80, 80).convert("CMYK"), "JPEG", quality=95),
    **{f"jpeg turned by tag {tag}": lambda tag=tag: turned(tag, "JPEG") for tag in range(2, 9)},
    "png turned by tag 6": lambda: turned(6, "PNG"),
    "webp turned by tag 6": lambda: turned(6, "WEBP"),
    **{f"{kind} turned by XMP": lambda kind=kind: turned_by_xmp(kind) for kind in ("JPEG", "PNG", "WEBP")},
    "jpeg turned by a tag of 32 bits": turned_by_a_long,
    "16-bit rgb png": lambda: deep(2),
    "16-bit grey png with alpha": lambda: deep(4),
    "16-bit rgba png": lambda: deep(6),
    "2-bit grey png": lambda: png(2, 0, np.random.default_rng(3).integers(0, 256, (40, 12))),
    "grey png with a transparent colour": lambda: one_colour_is_clear(0),
    "rgb png with a transparent colour": lambda: one_colour_is_clear(2),
    "moving gif": lambda: moving("GIF"),
    "moving webp": lambda: moving("WEBP"),
    "moving png": lambda: moving("PNG"),
    "webp": lambda: encoded(scene(120, 90), "WEBP", quality=80),
    "webp with alpha": lambda: encoded(with_alpha("RGB"), "WEBP", lossless=True, exact=True),
    "bmp": lambda: encoded(scene(33, 57), "BMP"),
    "colour profile": colours_swapped,
    "gamma": with_gamma,
    "tall": lambda: encoded(scene(9, 700)),
    "wide": lambda: encoded(scene(900, 3)),
    "tiny": lambda: encoded(scene(1, 1)),
    "two pixels": lambda: encoded(scene(2, 1)),
    "large jpeg": lambda: encoded(scene(1200, 900), "JPEG", quality=85),
}
