"""Put a new, backward-compatible gallery encoder in front of a gallery's vectors, go back, or settle it.

"Towards Backward-Compatible Representation Learning" (Shen et al., CVPR 2020): the new encoder's queries may be
searched among the older one's vectors, so that nothing need be embedded before the switch. From then on queries and
new items come from the new space, and :mod:`hetsearch.gallery.jobs.backfill` embeds the older items again when there is
time. Replaced vectors stay in their shards until the upgrade is settled, for the way back.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hetsearch.data.pixels import Failure
from hetsearch.errors import DamagedArtifact, GateNotMet, SpaceMismatch, UsageError
from hetsearch.gallery.card import Former, GalleryCard, read_card
from hetsearch.gallery.embedding.embed import Say, silent
from hetsearch.gallery.embedding.shards import Rows
from hetsearch.gallery.folder import exclusive
from hetsearch.gallery.jobs.change import Change, Live, commit, require_removable
from hetsearch.gallery.jobs.generation import settle
from hetsearch.gallery.jobs.report import UpgradeReport
from hetsearch.gallery.manifest import Manifest, weights_of
from hetsearch.gallery.omitted import read_failures
from hetsearch.runtime.encoder import Encoder
from hetsearch.space import EmbeddingSpace, require_space


def upgrade_gallery(
    gallery: str | Path, encoder: Encoder, space: EmbeddingSpace, *, say: Say = silent
) -> UpgradeReport:
    """Put a new gallery encoder in front of the vectors that are there. No vector is embedded or changed.

    An index file stays as it is; a collection of Milvus, which says of what space it is, is filled anew with the same
    vectors.

    Args:
        gallery: its folder.
        encoder: the new gallery encoder.
        space: the space that it defines; it must declare each space of the gallery's vectors in ``compatible_with``.
        say: takes a line for the person.

    Raises:
        UsageError: no gallery, an upgrade before this one is not settled, or another job is at work.
        SpaceMismatch: the encoder is of another space, or the space does not declare the gallery's, or the vectors
            are of another length.
        GateNotMet: the space declares that by every metric its queries find less among the older vectors.
        DamagedArtifact: a file of the gallery was changed.
    """
    begin, out = time.perf_counter(), Path(gallery)
    require_space(encoder.space, space.id, what=f"the encoder '{encoder.name}' and the space")
    read_card(out)
    with exclusive(out):
        live = Live.read(out)
        if live.card.space == space.id:
            settle(out)
            if weights_of(encoder) != live.shards.manifest.plan.weights:
                warnings.warn(
                    f"'{encoder.name}' is another network of the space that '{out}' has already, so that there is "
                    f"nothing to upgrade by declaration. For its vectors: 'hetsearch index build' into another folder",
                    stacklevel=2,
                )
            return UpgradeReport.of(out, live.card, begin, nothing=True)
        records = declared(live.card.spaces or {live.card.space: live.card.count}, space)
        _require_dimension(live.card, space)
        if live.card.former is not None:
            raise UsageError(
                f"the upgrade of '{out}' from {live.card.former.space} is not settled",
                hint="Settle it first: hetsearch index upgrade GALLERY with --commit, or with --rollback.",
            )
        live.drop_pending(say)
        card = _switch(live, encoder, space.id)
    return UpgradeReport.of(out, card, begin, declared=records)


def rollback_upgrade(gallery: str | Path, *, rebuild: bool = False, say: Say = silent) -> UpgradeReport:
    """Make a gallery again one of the space that it was upgraded from. Nothing is embedded.

    Items that were embedded again take their older vector back, with the description of then. Items that came or whose
    picture changed since the upgrade have none and leave; ``update_gallery`` with the older encoder brings them back.
    What was deleted stays deleted. The new vectors are dropped.

    Args:
        gallery: its folder.
        rebuild: make the index anew from the stored vectors instead of changing it.
        say: takes a line for the person.

    Raises:
        UsageError: no gallery, no upgrade that can be rolled back, an index that cannot remove vectors, another job
            at work, or nothing would be left.
        DamagedArtifact: a file of the gallery was changed.
    """
    begin, out = time.perf_counter(), Path(gallery)
    read_card(out)
    with exclusive(out):
        live, former = _unsettled(out, say)
        known, entries = live.known, live.shards.manifest.shards
        fresh = np.array([entry.space is None for entry in entries])[known.shards]
        if not rebuild:
            require_removable(live, int(fresh.sum()))
        revived = _revived(live, fresh)
        restored = sum(map(len, revived.values()))
        lost = int(fresh.sum()) - restored
        old = {"space": former.space, "spaces": former.spaces, "input": former.input, "former": None}
        head = _head(live, former.space, former.encoder, former.weights)
        change = Change(
            head, gone=known.ids[fresh], revived=revived, failures=_failures(live), rebuild=rebuild,
            listing=None if lost else live.card.listing,
        )  # fmt: skip
        card = commit(replace(live, card=live.card.model_copy(update=old)), change)
    return UpgradeReport.of(out, card, begin, restored=restored, lost=lost)


def commit_upgrade(gallery: str | Path, *, say: Say = silent) -> UpgradeReport:
    """Give up the way back: replaced vectors are no longer kept. Items that are not embedded again keep theirs.

    Shards that held nothing else are removed now, the others shrink when the gallery is compacted.

    Args:
        gallery: its folder.
        say: takes a line for the person.

    Raises:
        UsageError: no gallery, no upgrade to settle, or another job at work.
        DamagedArtifact: a file of the gallery was changed.
    """
    begin, out = time.perf_counter(), Path(gallery)
    read_card(out)
    with exclusive(out):
        live, _ = _unsettled(out, say)
        head = _head(live, live.card.space, live.card.encoder, live.shards.manifest.plan.weights)
        settled = replace(live, card=live.card.model_copy(update={"former": None}))
        card = commit(settled, Change(head, failures=_failures(live), listing=live.card.listing))
    return UpgradeReport.of(out, card, begin)


def declared(held: Iterable[str], space: EmbeddingSpace) -> dict[str, dict[str, Any]]:
    """What a new space says of the spaces of a gallery's vectors.

    Where it was not measured, or is worse by some metric, there is a ``UserWarning``.

    Args:
        held: ids of these spaces.
        space: the new one.

    Raises:
        SpaceMismatch: it says nothing of one of them.
        GateNotMet: by every metric its queries find less among the older vectors than the older queries do.
    """
    records = {str(record.get("space")): record for record in space.compatible_with}
    found = {}
    for older in held:
        if older not in records:
            raise SpaceMismatch(
                f"the space {space.id} does not declare that it is compatible with {older}, the gallery's",
                observed=f"compatible_with: {', '.join(records) or 'none'}",
                expected=older,
                hint="Train the new gallery encoder against the older space: "
                "hetsearch train gallery CONFIG.yaml --compatible-with OLD_SPACE.",
            )
        _judge(space.id, older, records[older])
        found[older] = records[older]
    return found


def _judge(new: str, older: str, record: dict[str, Any]) -> None:
    verdicts = record.get("compatible")
    if not isinstance(verdicts, dict):
        reason = record.get("reason", "it says no more")
        warnings.warn(f"how compatible {new} is with {older} was not measured: {reason}", stacklevel=4)
        return
    worse = [metric for metric, verdict in verdicts.items() if verdict is False]
    if not worse:
        return
    try:
        numbers = ", ".join(f"{metric} {record['differences'][metric]['difference']:+.4f}" for metric in worse)
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedArtifact(f"the space {new} is damaged", observed=f"its record of {older}: {error!r}") from None
    if len(worse) == len(verdicts):
        raise GateNotMet(
            f"the space {new} was measured and is not compatible with {older}",
            observed=f"M(new, old) - M(old, old): {numbers}",
            expected="more than 0 by one metric at least",
            hint="Train it with more weight on the older space, or build a new gallery with it.",
        )
    warnings.warn(
        f"until the back-fill, queries of {new} find less among the vectors of {older} than the older ones did: "
        f"{numbers}",
        stacklevel=4,
    )


def _require_dimension(card: GalleryCard, space: EmbeddingSpace) -> None:
    if space.dim != card.dim:
        raise SpaceMismatch(
            "the new vectors are of another length than the gallery's", observed=space.dim, expected=card.dim
        )


def _switch(live: Live, encoder: Encoder, space: str) -> GalleryCard:
    card = live.card
    former = Former(
        space=card.space, spaces=card.spaces, encoder=card.encoder, input=card.input,
        weights=live.shards.manifest.plan.weights,
    )  # fmt: skip
    held = card.spaces or {card.space: card.count}
    new = {"space": space, "spaces": {space: 0, **held}, "input": encoder.input, "former": former}
    head = _head(live, space, encoder.name, weights_of(encoder))
    change = Change(head, failures=_failures(live), listing=card.listing)
    return commit(replace(live, card=card.model_copy(update=new)), change)


def _unsettled(out: Path, say: Say) -> tuple[Live, Former]:
    live = Live.read(out)
    if live.card.former is None:
        settle(out)
        raise UsageError(
            f"'{out}' has no upgrade that can be rolled back or settled",
            observed=f"a gallery of {live.card.space}, generation {live.card.generation}",
            expected="one that was upgraded, and neither rolled back nor settled since",
        )
    live.drop_pending(say)
    return live, live.card.former


def _head(live: Live, space: str, encoder: str, weights: str) -> Manifest:
    manifest = live.shards.manifest
    plan = manifest.plan.model_copy(update={"weights": weights})
    return manifest.model_copy(
        update={"space": space, "encoder": encoder, "plan": plan, "shards": (), "dead": 0, "files": {}}
    )


def _failures(live: Live) -> tuple[Failure, ...]:
    return read_failures(live.shards.folder, live.card.generation)


def _revived(live: Live, fresh: NDArray[np.bool_]) -> dict[str, Rows]:
    """The latest older vector of the same picture for each item that has a new one: rows by shard."""
    shards, known, left = live.shards, live.known, fresh.copy()
    older = [entry for entry in shards.manifest.shards if entry.space is not None and entry.file in shards.dead]
    revived: dict[str, Rows] = {}
    for entry in reversed(older):
        replaced = replace(shards.of([entry]), dead={entry.file: shards.live(entry)})
        for _, rows, shard in replaced.described():
            places = known.find(shard.ids)
            hit = places >= 0
            hit[hit] = left[places[hit]]
            hit[hit] = (known.contents[places[hit]] == shard.contents[hit]).all(axis=1)
            left[places[hit]] = False
            if hit.any():
                revived[entry.file] = rows[hit]
    return revived
