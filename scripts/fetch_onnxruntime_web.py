"""Get ONNX Runtime for browsers, the part of it that the page of `hetsearch serve` needs, into the package.

    python scripts/fetch_onnxruntime_web.py                    # the version that is there, checked against its sums
    python scripts/fetch_onnxruntime_web.py --version 1.31.0   # another one, whose sums are recorded anew

`npm pack` downloads the package onnxruntime-web (MIT) and compares it with the registry's sum; nothing of it is run.
Three files of it go, gzipped, into hetsearch/service/onnxruntime_web/, with their sums in index.json. The package lacks
the text of its licence; that and the notices of what it contains come from the installed Python package of the project.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import onnxruntime

import hetsearch.service
from hetsearch.files import make_folder, write_bytes, write_json

PACKAGE = "onnxruntime-web"
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
LICENCE, NOTICES = "LICENSE", "ThirdPartyNotices.txt"
FOLDER = Path(hetsearch.service.__file__).parent / "onnxruntime_web"
INDEX = FOLDER / "index.json"


def main() -> None:
    """Download, compare, compress, write."""
    known: dict[str, Any] = {"version": "1.30.0", "files": {}}
    if INDEX.exists():
        known = json.loads(INDEX.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default=known["version"])
    version = parser.parse_args().version
    integrity, contents = download(version)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name, found in sums.items():
        if version == known["version"] and found != known["files"].get(name, {}).get("sha256", found):
            raise SystemExit(f"{name} of {PACKAGE} {version} is not the file that was recorded: {found}")
    licence = Path(onnxruntime.__file__).parent
    make_folder(FOLDER)
    write_bytes(FOLDER / LICENCE, (licence / LICENCE).read_bytes())
    write_bytes(FOLDER / f"{NOTICES}.gz", packed((licence / NOTICES).read_bytes()))
    files: dict[str, dict[str, Any]] = {}
    for name, content in contents.items():
        small = packed(content)
        write_bytes(FOLDER / f"{name}.gz", small)
        record = {"bytes": len(content), "sha256": sums[name]}
        files[name] = record | {"gzip_bytes": len(small), "gzip_sha256": hashlib.sha256(small).hexdigest()}
    words = {"name": PACKAGE, "version": version, "license": "MIT", "integrity": integrity}
    write_json(INDEX, {**words, "files": files})
    sys.stdout.write(f"wrote {PACKAGE} {version}: {sum(file['gzip_bytes'] for file in files.values()):,} bytes\n")


def download(version: str) -> tuple[str, dict[str, bytes]]:
    """The registry's sum of the package, which npm has compared, and the files that are wanted."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--json", f"{PACKAGE}@{version}"]
        done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
        (told,) = json.loads(done.stdout)
        with tarfile.open(Path(folder) / told["filename"]) as archive:
            found = {name: archive.extractfile(f"package/dist/{name}") for name in FILES}
            contents = {name: file.read() for name, file in found.items() if file is not None}
    return told["integrity"], contents


def packed(content: bytes) -> bytes:
    """Gzipped, the same bytes each time."""
    return gzip.compress(content, compresslevel=9, mtime=0)


if __name__ == "__main__":
    main()
