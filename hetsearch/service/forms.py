"""Multipart forms, in memory and whole: nothing of a request is ever written to disk, and half a form is none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from hetsearch.service.errors import Refusal

PIECE = 65_536  # bytes parsed before others have their turn in the event loop


@dataclass
class Part:
    """One part of a form.

    Attributes:
        name: of its field.
        is_file: whether it names a file.
        content: its bytes.
    """

    name: str = ""
    is_file: bool = False
    content: bytearray = field(default_factory=bytearray)


class _Reader:
    """What the parser calls."""

    def __init__(self, most: int) -> None:
        self.parts: list[Part] = []
        self.ended = False
        self._most = most
        self._header, self._value = bytearray(), bytearray()

    def on_part_begin(self) -> None:
        if len(self.parts) == self._most:
            raise _malformed(f"more than {self._most} parts")
        self.parts.append(Part())

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self.parts[-1].name = options.get(b"name", b"").decode(errors="replace")
            self.parts[-1].is_file = b"filename" in options
        self._header, self._value = bytearray(), bytearray()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def on_end(self) -> None:
        self.ended = True


async def read_form(content_type: str, body: bytes, *, most: int) -> list[Part]:
    """The parts of a form, in order.

    Args:
        content_type: the request's, with the boundary.
        body: the form.
        most: parts that it may have.

    Raises:
        Refusal: 400, it is no whole form, or has too many parts.
    """
    _, options = parse_options_header(content_type)
    reader = _Reader(most)
    names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "end")
    calls = {f"on_{name}": getattr(reader, f"on_{name}") for name in names}
    try:
        parser = MultipartParser(options.get(b"boundary", b""), calls)  # type: ignore[arg-type]
        for start in range(0, len(body), PIECE):
            parser.write(body[start : start + PIECE])
            await asyncio.sleep(0)
    except (FormParserError, ValueError) as error:
        raise _malformed(str(error)) from None
    if not reader.ended:
        raise _malformed("its end is missing")
    return reader.parts


def _malformed(reason: str) -> Refusal:
    return Refusal(400, "malformed_body", f"the form cannot be read: {reason[:200]}")
