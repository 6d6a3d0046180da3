"""Files that are whole or absent: written to a temporary name, flushed, renamed; and their checksums.

A killed job leaves either the old state or the new (law 5 of the house).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from hetsearch.errors import DamagedArtifact, UsageError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; after the block it is flushed and takes its name.

    Where the block raises, ``target`` stays as it was and the temporary file is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, target)
        _flush(target.parent)
    except OSError as error:
        if error.filename in (None, str(temporary)):  # a full disk is met by a write, which names no file
            error.filename = str(target)
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; after the block it takes the name, replacing what was there.

    Where the block raises, ``target`` stays as it was.
    """
    target = target.resolve()  # "." has no name, and a link should go on pointing at the folder
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{uuid4().hex[:8]}.tmp")
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):
            _flush(path)
        if not target.exists():
            os.replace(temporary, target)
        elif not _exchange(temporary, target):
            # Two renames, with an instant between them in which there is neither.
            old = target.with_name(f".{target.name}.{uuid4().hex[:8]}.old")
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old, ignore_errors=True)
        _flush(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Let two paths change their names in one step, as Linux can; False where the system or the disk cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    return bool(renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def write_bytes(target: Path, payload: bytes) -> None:
    """Write ``payload`` to ``target``, whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(payload)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target``, whole or not at all."""
    write_bytes(target, text.encode())


def dump_json(document: Any) -> str:
    """JSON as every artefact writes it: indented, keys in their order, floats finite."""
    return json.dumps(_finite(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(target: Path, document: Any) -> None:
    """Write ``document`` as JSON, whole or not at all. NaN becomes null: JSON has no NaN."""
    write_text(target, dump_json(document))


def read_json(path: Path, *, what: str, schema: int | None = None, exact: bool = False) -> dict[str, Any]:
    """Read the JSON object at ``path``.

    Args:
        path: the file.
        what: what the file should be, for the message ("an encoder bundle").
        schema: the number that its ``schema`` must be; None does not look.
        exact: whether it must be written as :func:`write_json` does, to the last blank.

    Raises:
        UsageError: the file does not exist.
        DamagedArtifact: the file is not a JSON object, or of another schema, or not written so.
    """
    try:
        text = path.read_bytes().decode()
        document = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        observed = f"a file, not the folder of {path.name}" if path.parent.is_file() else f"no {path.name}"
        raise UsageError(f"'{path.parent}' is not {what}", observed=observed, expected=path.name) from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # the name is wrong, there is no file
            raise
        raise DamagedArtifact(f"'{path}' cannot be read", observed=error.strerror, expected="a file to read") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DamagedArtifact(
            f"'{path}' cannot be read", observed=str(error), expected="a JSON document", hint="Make it again."
        ) from None
    if not isinstance(document, dict):
        raise DamagedArtifact(f"'{path}' cannot be read", observed=type(document).__name__, expected="a JSON object")
    if not isinstance(document.get("files", {}), dict):
        raise DamagedArtifact(
            f"'{path}' is damaged", observed="files: " + type(document["files"]).__name__, expected="a checksum by name"
        )
    if schema is not None:
        require_schema(document, schema, path)
    if exact and text != dump_json(document):
        raise DamagedArtifact(
            f"'{path}' was changed after it was written",
            observed="other blanks than were written",
            hint="Restore the file, or make it again.",
        )
    return document


def require_schema(document: Mapping[str, Any], schema: int, path: Path) -> None:
    """Refuse a document of another schema; ``path`` is where it was read.

    Raises:
        DamagedArtifact: it is of another.
    """
    if (found := document.get("schema")) != schema:
        older = isinstance(found, int) and found < schema
        hint = "An older hetsearch made it: make it again." if older else "Update hetsearch."
        raise DamagedArtifact(f"'{path}' has another schema", observed=found, expected=schema, hint=hint)


def make_folder(path: Path) -> None:
    """Make the folder of a job's results, before the job's work and not after it.

    Raises:
        UsageError: a file is in the way, or nothing may be written there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        reason = None if os.access(path, os.W_OK | os.X_OK) else "it may not be written to"
    except OSError as error:
        reason = error.strerror
    if reason is not None:
        raise UsageError(
            f"nothing can be written into '{path}'",
            observed=reason,
            expected="a folder, new or writable",
            hint="Choose another --out.",
        )


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def checksums(folder: Path, *, but: str) -> dict[str, str]:
    """SHA-256 of every file under ``folder``, by relative name, without the file called ``but``."""
    return {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != but and not path.name.startswith(".")
    }


def verify_checksums(folder: Path, expected: dict[str, str], *, optional: frozenset[str] = frozenset()) -> None:
    """Compare every named file under ``folder`` with its recorded SHA-256.

    Args:
        folder: the folder of the artefact.
        expected: relative name to hexadecimal SHA-256.
        optional: names that may be absent (never different).

    Raises:
        DamagedArtifact: a file is missing or differs.
    """
    for name, recorded in expected.items():
        path = folder / name
        if not path.is_file():
            if name in optional:
                continue
            raise DamagedArtifact(f"'{folder}' is not whole", observed=f"no {name}", expected=name)
        if (found := sha256_of(path)) != recorded:
            raise DamagedArtifact(
                f"'{path}' was changed after it was written",
                observed=f"sha256 {found[:12]}…",
                expected=f"sha256 {recorded[:12]}…",
                hint="Restore the file, or make the artefact again.",
            )


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a NumPy scalar
        return _finite(value.item())
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return value


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_root() -> Path:
    """``hetsearch`` under ``$XDG_CACHE_HOME`` or ``~/.cache``: what may be deleted and is made again."""
    # The XDG base directory specification: an empty or relative value counts as unset.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "hetsearch"
