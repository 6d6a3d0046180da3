"""The laws of the house that can be read off the code: who may import whom, and what stays free of torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import hetsearch

PACKAGE = Path(hetsearch.__file__).parent

# In the order of the house; a room imports only from rooms that stand before it (or from itself).
ROOMS = (
    "errors", "files", "workers", "config", "preprocess", "space", "bundle", "metrics", "data", "runtime", "gallery",
    "query", "service", "models", "objectives", "training", "export", "nas", "evaluation", "quickstart", "cli",
)  # fmt: skip
MAY_IMPORT_TORCH = {"models", "objectives", "training", "export", "nas"}
HEAVY = ("torch", "timm", "torchvision", "accelerate", "pytorch_metric_learning", "onnxscript")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if room_of(path) not in ("__init__", "__main__")]


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import hides what it imports"
            assert not node.level, f"{path}: a relative import hides what it imports"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_every_room_is_on_the_plan() -> None:
    assert {room_of(path) for path in modules()} <= set(ROOMS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_house(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "hetsearch" and len(parts) > 1 and parts[1] in ROOMS:
            assert ROOMS.index(parts[1]) <= ROOMS.index(room), f"{room} imports {name}"
        if parts[0] in HEAVY:
            assert room in MAY_IMPORT_TORCH, f"{room} imports {name}"


@pytest.mark.parametrize(
    "statement",
    [
        "import hetsearch",
        "import hetsearch.query",
        "import hetsearch.gallery",
        "import hetsearch.service.server, hetsearch.service.client",
        "import hetsearch.evaluation",
        "from hetsearch.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
    ],
)
def test_the_light_side_never_imports_torch(statement: str) -> None:
    heavy = (*HEAVY, "pymilvus")  # it takes a second to import, and most galleries need none
    check = f"{statement}\nimport sys\nsys.exit(any(name in sys.modules for name in {heavy!r}))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_exported_names() -> None:
    assert sorted(hetsearch.__all__) == [
        "EmbeddingSpace", "Embeddings", "Encoder", "Gallery", "__version__", "load_encoder", "open_gallery",
    ]  # fmt: skip
    for name in hetsearch.__all__:
        assert getattr(hetsearch, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'load_encodr'"):
        hetsearch.load_encodr  # noqa: B018
