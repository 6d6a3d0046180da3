"""What Prometheus is told. Base units, after the names that embedding servers use."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

import hetsearch

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The numbers of one service, in a registry of its own.

    Attributes:
        registry: what ``GET /metrics`` writes.
        requests: finished requests by route and status; 499 is a client that went away.
        request_seconds: from the first byte to the last, by route.
        decode_seconds: of one picture, preprocessing included.
        inference_seconds: of one call of the network.
        search_seconds: of one call of the gallery.
        batch_size: pictures in one call of the network.
        queue_depth: pictures in the house.
        gallery_items: of the present gallery.
    """

    def __init__(self, model: str, space: str) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "hetsearch_requests", "Requests by route and status.", ["route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "hetsearch_request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        self.decode_seconds = self._seconds("decode", "Seconds to decode and preprocess a picture.")
        self.inference_seconds = self._seconds("inference", "Seconds of a call of the network.")
        self.search_seconds = self._seconds("search", "Seconds of a call of the gallery.")
        self.batch_size = Histogram(
            "hetsearch_batch_size", "Pictures in a call of the network.", buckets=SIZES, registry=registry
        )
        self.queue_depth = Gauge("hetsearch_queue_depth", "Pictures that were accepted.", registry=registry)
        self.gallery_items = Gauge("hetsearch_gallery_items", "Items of the gallery.", registry=registry)
        info = Gauge(
            "hetsearch_model_info", "What answers.", ["model", "space", "version"], registry=registry
        )
        info.labels(model, space, hetsearch.__version__).set(1)

    def inference(self, seconds: float, pictures: int) -> None:
        """Note one call of the network."""
        self.inference_seconds.observe(seconds)
        self.batch_size.observe(pictures)

    def _seconds(self, name: str, text: str) -> Histogram:
        return Histogram(f"hetsearch_{name}_seconds", text, buckets=SECONDS, registry=self.registry)
