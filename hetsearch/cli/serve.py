"""``hetsearch serve``: embed and search over HTTP."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from hetsearch.service.settings import Settings


def serve(*, settings: Annotated[Settings, Parameter(name="*")]) -> None:
    """Embed and search over HTTP: OpenAI's embeddings, search, the Open Inference Protocol, a page at /.

    Every flag is also an environment variable: a flag goes before HETSEARCH_NAME, and that before the default. A key
    that requests must bring comes from --api-key-file, else from HETSEARCH_API_KEY. SIGTERM finishes what was accepted.
    """
    from hetsearch.service import server

    server.serve(settings)
