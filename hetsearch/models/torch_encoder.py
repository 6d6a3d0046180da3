"""Run a network as an encoder: for training's own evaluations, and for large jobs on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from hetsearch.models.network import EncoderNetwork
from hetsearch.preprocess import ImageLike, InputSpec, Pixels
from hetsearch.runtime.onnx_encoder import encode_images
from hetsearch.space import Embeddings, Vectors


class TorchEncoder:
    """An encoder (see ``hetsearch.runtime.encoder.Encoder``) that runs on torch, in float32.

    Args:
        network: the trained network; it stays on its device.
        name: what reports call it.
        space: id of its space.
        batch_size: images at once.
    """

    def __init__(self, network: EncoderNetwork, *, name: str, space: str, batch_size: int = 256) -> None:
        self.network, self.name, self.space, self.batch_size = network, name, space, batch_size
        self.dim: int = network.dim
        self.input: InputSpec = network.spec

    def encode(
        self, images: ImageLike | Sequence[ImageLike], keys: Sequence[str] | None = None
    ) -> Embeddings:
        """Preprocess and embed; keys default to a path's text, or "0", "1", …"""
        return encode_images(self, images, keys)

    @torch.no_grad()
    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """``uint8 (n, channels, size, size)`` → ``float32 (n, dim)``, unit rows."""
        device = self.network.embedding.weight.device
        was_training = self.network.training
        self.network.eval()
        try:
            batches = [
                self.network(torch.tensor(pixels[start : start + self.batch_size], device=device)).cpu()
                for start in range(0, len(pixels), self.batch_size)
            ]
        finally:
            self.network.train(was_training)
        return torch.cat([*batches, torch.zeros(0, self.dim)]).numpy()
