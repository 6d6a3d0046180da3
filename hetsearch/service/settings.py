"""How a service runs: one field is a flag of ``hetsearch serve`` and an environment variable, ``HETSEARCH_PORT``."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from hetsearch.config import Config
from hetsearch.errors import UsageError

API_KEY = "HETSEARCH_API_KEY"


class Settings(Config):
    """What a service serves, where, and within which limits."""

    encoder: Path = Field(description="Encoder bundle that embeds what is asked.")
    gallery: str | None = Field(default=None, description="Gallery to search, of the encoder's space.")
    host: str = Field(default="127.0.0.1", description="Address to listen on; 0.0.0.0 is everybody's.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    backend: Literal["onnxruntime", "openvino"] = Field(default="onnxruntime", description="What runs the network.")
    threads: int = Field(default=1, ge=1, description="Threads of the network.")
    decoders: int = Field(default=2, ge=1, description="Threads that decode pictures.")
    api_key_file: Path | None = Field(
        default=None, description=f"File with the key that requests must bring; else ${API_KEY}, else none."
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(),
        description="Host names that requests may use. Default: on a loopback address its names, else all.",
    )
    max_body: int = Field(default=10_000_000, ge=1, description="Bytes of a request; max_batch such requests may wait.")
    max_pixels: int = Field(default=25_000_000, ge=1, description="Pixels of a picture.")
    max_images: int = Field(default=64, ge=1, description="Pictures in a request.")
    max_k: int = Field(default=1000, ge=1, description="Hits that a search may ask for.")
    queue: int = Field(default=512, ge=1, description="Pictures in the house at once; above that, 503.")
    max_batch: int = Field(default=32, ge=1, description="Pictures in one call of the network.")
    batch_wait_ms: float = Field(default=0, ge=0, description="Milliseconds to wait for more of them.")
    body_seconds: float = Field(default=30, gt=0, description="Seconds in which a request must have arrived.")
    drain_seconds: int = Field(default=30, ge=1, description="Seconds to finish what was accepted, at the end.")
    reload_seconds: float = Field(default=2, gt=0, description="Seconds between looks for a new gallery.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least of what is logged, as JSON lines on stderr; requests are 'info'."
    )

    @model_validator(mode="after")
    def _room_for_one(self) -> Self:
        if self.max_images > self.queue:
            expected = f"at most the --queue of {self.queue}"
            raise UsageError("--max-images is more than there is room for", observed=self.max_images, expected=expected)
        return self

    @property
    def loopback(self) -> bool:
        """Whether only this machine can ask."""
        return self.host.lower() == "localhost" or _is_loopback(self.host)

    @property
    def hosts(self) -> frozenset[str] | None:
        """The host names that requests may use; None takes any.

        A page of another site, whose name leads to 127.0.0.1, could otherwise read a private gallery (DNS rebinding).
        """
        if self.allowed_hosts:
            return frozenset(name.lower() for name in self.allowed_hosts)
        return frozenset({"localhost", "127.0.0.1", "[::1]", self.host.lower()}) if self.loopback else None


def read_api_key(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """The key that requests must bring: of the file, else of ``$HETSEARCH_API_KEY``. Never a flag: ``ps`` shows those.

    Raises:
        UsageError: the file cannot be read, or the key is empty or no printable ASCII.
    """
    if settings.api_key_file is None:
        key, source = environment.get(API_KEY), f"${API_KEY}"
    else:
        source = f"the file '{settings.api_key_file}'"
        try:
            key = settings.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{source} cannot be read", observed=error, expected="a file with the key") from None
    if key is not None and not (key and key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(f"{source} holds no key", expected="printable ASCII without spaces")
    return key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
