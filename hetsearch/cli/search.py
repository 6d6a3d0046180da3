"""``hetsearch search``: the nearest items of a gallery for pictures or vectors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from hetsearch.cli.console import emit, say, table
from hetsearch.errors import ImageError, UsageError
from hetsearch.files import dump_json

if TYPE_CHECKING:
    from hetsearch.data.pixels import Failure
    from hetsearch.gallery import Gallery, Hit
    from hetsearch.space import Embeddings


def search(
    *images: Annotated[str, Parameter(help="Pictures to search with.")],
    gallery: Annotated[str, Parameter(help="Folder of a gallery, or http://HOST:PORT/NAME on a Milvus server.")],
    encoder: Annotated[Path | None, Parameter(help="Query encoder bundle of the gallery's space.")] = None,
    k: Annotated[int, Parameter(name=["-k", "--k"], help="Hits a query.")] = 10,
    vectors: Annotated[Path | None, Parameter(help="Search with vectors: a .npy file of (n, dim).")] = None,
    space: Annotated[str | None, Parameter(help="Space of those vectors, sp_….")] = None,
    json: Annotated[bool, Parameter(help="The hits as one JSON document.", negative="")] = False,
) -> int:
    """Find the nearest items of a gallery for each picture (or vector).

    An encoder or vectors of another space are refused with exit code 4. Exit code 3 if a picture could not be read; the
    others are searched with.
    """
    from hetsearch.query import open_gallery

    opened = open_gallery(gallery)
    query, failures = _query(opened, images, encoder, vectors, space)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        found = opened.search(query, k)
    for warning in caught:
        say(f"hetsearch: warning: {warning.message}")
    for failure in failures:
        say(f"hetsearch: not read: {failure.key}: {failure.reason}")
    if json:
        queries = [
            {"query": key, "hits": [vars(hit) for hit in hits]}
            for key, hits in zip(query.keys, found, strict=True)
        ]
        document = {"gallery": gallery, "space": query.space, "k": k, "queries": queries}
        emit(dump_json({**document, "failures": [vars(failure) for failure in failures]}).rstrip())
    else:
        emit("\n\n".join(_text(key, hits) for key, hits in zip(query.keys, found, strict=True)))
    return ImageError.exit_code if failures else 0


def _query(
    gallery: Gallery, images: tuple[str, ...], encoder: Path | None, vectors: Path | None, space: str | None
) -> tuple[Embeddings, tuple[Failure, ...]]:
    from hetsearch.query import encode_files, load_encoder, load_vectors

    if bool(images) == (vectors is not None):
        raise UsageError(
            "there is nothing to search with" if not images else "pictures and vectors exclude each other",
            expected="IMAGE... with --encoder BUNDLE, or --vectors FILE.npy with --space ID",
        )
    if vectors is not None and encoder is not None:
        raise UsageError("vectors need no encoder", observed=f"--encoder {encoder}", expected="--space ID alone")
    if vectors is not None:
        if space is None:
            raise UsageError(
                "vectors need their space",
                expected="--space ID",
                hint="A .npy file cannot say which encoder made it; 'hetsearch inspect BUNDLE' shows the id.",
            )
        return load_vectors(vectors, space), ()
    if encoder is None:
        raise UsageError("pictures need an encoder", expected="--encoder BUNDLE")
    loaded = load_encoder(encoder)
    gallery.require_query(loaded.space, what="the query encoder and the gallery")
    return encode_files(loaded, images)


def _text(key: str, hits: Sequence[Hit]) -> str:
    columns = [name for name in ("label", "path") if any(name in hit.item for hit in hits)]
    rows = [
        [hit.key, f"{place}", f"{hit.score:.4f}", *(_cell(hit.item.get(name)) for name in columns)]
        for place, hit in enumerate(hits, start=1)
    ]
    return table(rows, [key, "hit", "score", *columns])


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
