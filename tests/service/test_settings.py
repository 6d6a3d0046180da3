from __future__ import annotations

from pathlib import Path

import pytest
from cyclopts import App
from cyclopts.config import Env
from pydantic import ValidationError

from hetsearch.cli.serve import serve
from hetsearch.errors import UsageError
from hetsearch.service import server
from hetsearch.service.settings import Settings, read_api_key


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch):
    """Call the command line and return the settings that the server would get."""
    seen: list[Settings] = []
    monkeypatch.setattr(server, "serve", seen.append)
    app = App(name="hetsearch")
    app.command(serve, config=Env("HETSEARCH_", command=False))

    def call(*words: str) -> Settings:
        app(["serve", *words], result_action="return_value", exit_on_error=False)
        return seen.pop()

    return call


def test_a_flag_goes_before_the_environment_and_that_before_the_default(given, monkeypatch) -> None:
    assert given("--encoder", "bundle") == Settings(encoder=Path("bundle"))
    monkeypatch.setenv("HETSEARCH_PORT", "9001")
    monkeypatch.setenv("HETSEARCH_MAX_K", "7")
    monkeypatch.setenv("HETSEARCH_DATA", "/somewhere")  # not ours
    settings = given("--encoder", "bundle", "--port", "9002")
    assert (settings.port, settings.max_k, settings.host) == (9002, 7, "127.0.0.1")


def test_every_flag_is_an_environment_variable(given, monkeypatch) -> None:
    values = {
        "encoder": "b", "gallery": "g", "host": "0.0.0.0", "port": "1", "backend": "openvino", "threads": "2",
        "decoders": "3", "api_key_file": "k", "allowed_hosts": "a b", "max_body": "4", "max_pixels": "5",
        "max_images": "6", "max_k": "7", "queue": "8", "max_batch": "9", "batch_wait_ms": "1.5", "body_seconds": "2.5",
        "drain_seconds": "10", "reload_seconds": "3.5", "log_level": "error",
    }  # fmt: skip
    assert set(values) == set(Settings.model_fields)
    for name, value in values.items():
        monkeypatch.setenv(f"HETSEARCH_{name.upper()}", value)
    expected = {**values, "allowed_hosts": ("a", "b")}
    assert given() == Settings.model_validate(expected)


@pytest.mark.parametrize("change", [{"port": 70000}, {"max_k": 0}, {"queue": 0}, {"backend": "torch"}, {"prot": 1}])
def test_settings_that_cannot_be(change: dict) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        Settings.model_validate({"encoder": "b", **change})


def test_a_request_must_fit_into_the_queue() -> None:
    """Else it would be asked to come again, for ever."""
    with pytest.raises(UsageError, match=r"max-images is more .*observed 9, expected at most the --queue of 8"):
        Settings(encoder=Path("b"), max_images=9, queue=8)
    assert Settings(encoder=Path("b"), max_images=8, queue=8).queue == 8


@pytest.mark.parametrize(
    ("host", "allowed", "expected"),
    [
        ("127.0.0.1", (), {"localhost", "127.0.0.1", "[::1]"}),
        ("localhost", (), {"localhost", "127.0.0.1", "[::1]"}),
        ("LOCALHOST", (), {"localhost", "127.0.0.1", "[::1]"}),
        ("::1", (), {"localhost", "127.0.0.1", "[::1]", "::1"}),
        ("127.0.0.2", (), {"localhost", "127.0.0.1", "[::1]", "127.0.0.2"}),
        ("0.0.0.0", (), None),
        ("example.com", (), None),
        ("127.0.0.1", ("Shop.example",), {"shop.example"}),
    ],
)
def test_which_host_names_are_answered(host: str, allowed: tuple[str, ...], expected: set[str] | None) -> None:
    settings = Settings(encoder=Path("b"), host=host, allowed_hosts=allowed)
    assert settings.hosts == (None if expected is None else frozenset(expected))


def test_where_the_key_comes_from(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-file\n")
    plain = Settings(encoder=Path("b"))
    filed = Settings(encoder=Path("b"), api_key_file=tmp_path / "key")
    assert read_api_key(plain, {}) is None
    assert read_api_key(plain, {"HETSEARCH_API_KEY": "from-env"}) == "from-env"
    assert read_api_key(filed, {"HETSEARCH_API_KEY": "from-env"}) == "from-file"


@pytest.mark.parametrize("content", [b"", b" \n", b"two words", "schlüssel".encode(), b"\xff\xfe", b"a\nb"])
def test_a_file_without_a_key(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError, match=r"key' (holds no key|cannot be read)"):
        read_api_key(Settings(encoder=Path("b"), api_key_file=tmp_path / "key"), {})
    with pytest.raises(UsageError, match="cannot be read"):
        read_api_key(Settings(encoder=Path("b"), api_key_file=tmp_path / "none"), {})
    with pytest.raises(UsageError, match="HETSEARCH_API_KEY holds no key"):
        read_api_key(Settings(encoder=Path("b")), {"HETSEARCH_API_KEY": ""})
