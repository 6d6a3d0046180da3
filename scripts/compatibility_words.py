"""The words of scripts/table_compatibility.py: results/compatibility.md from the rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compatibility_methods import ANCHOR, BASELINE, COMMAND, CONTROL, LARGER, PARAGON, PIXELS, RATE, SEEDS
from tables import TRAINED, Table, judge, markdown, over_seeds

from hetsearch.files import write_text


def write_words(table: Table, names: Sequence[str], path: Path) -> None:
    """The table for people, the best first."""
    lines = [
        "# Compatibility: ways into a large network's space for a 0.1 M network",
        "",
        f"Made by `{COMMAND}` from `results/compatibility.json`. {TRAINED} Test images; mean over seeds "
        "(smallest to largest). Retention is M(q,g)/M(g,g) by mAP; NFR@1 is the share of queries that the gallery "
        "encoder's own query answers rightly and the light one does not; gain is (M(q,g) − M(q*,q*)) / (M(g,g) − "
        "M(q*,q*)) by mAP, q* being the same network trained freely, which the larger networks lack here. "
        f'An addition to "{ANCHOR}" stands beside the weights that were chosen for that one. The '
        f'last columns compare with "{ANCHOR}" query by query: an advantage counts if its 95 % interval is above 0 '
        "for each of 3 seeds. What becomes the default is decided by the column of the validation split, which cannot "
        "judge the closed-form maps, because they are fitted there.",
        "",
        "Of each method three settings were tried, by the learning rate or by a weight, a margin or a temperature; "
        '"setting" is what was chosen, at the data set\'s learning rate where it names no other. Where two settings '
        "differ in the learning rate, that is a part of what is compared. The larger networks have the setting of "
        f'"{ANCHOR}" and were not tuned. Every checkpoint is chosen by labelled validation images, and emoji\'s '
        "batches hold four pictures of a concept, also where the loss of a method reads no label.",
        "",
    ]
    for data in names:
        source = f"{data}:test"
        rows = {name: table.of(name, source) for name in dict.fromkeys(row["name"] for row in table.rows)}
        rows = {name: found for name, found in rows.items() if found}
        if not rows:
            continue
        lines += [f"## {data}", ""]
        plain = [name for name in (PARAGON, BASELINE, CONTROL, PIXELS) if name in rows]
        cells = [[name, *(_mean(rows[name], "metrics", metric) for metric in ("p@1", "map", "r@10"))] for name in plain]
        lines += [*markdown(["", "P@1", "mAP", "R@10"], cells), ""]
        blended = [name for name in rows if "of" in rows[name][0]]
        methods = [name for name in rows if name not in (*plain, *blended)]
        methods.sort(key=lambda name: -sum(row["metrics"]["map"] for row in rows[name]) / len(rows[name]))
        cells = [_cells(table, name, data, rows[name]) for name in methods]
        numbers = ["M(q,g) P@1", "M(q,g) mAP", "M(q,q) mAP", "retention", "gain", "NFR@1"]
        header = ["method", "setting", "parameters", "seeds", *numbers, "anchor, validation", "anchor, test"]
        lines += [*markdown(header, cells), ""]
        for name in methods:
            if "after" in (row := rows[name][0]):
                found = _against(table, name, source, row["after"])
                lines += [f'- "{name}" follows "{row["after"]}"; against that one on the test images: {found}.']
        lines += ["", *_blended(table, data, blended)]
    write_text(path, "\n".join(lines).rstrip() + "\n")


def _blended(table: Table, data: str, names: list[str]) -> list[str]:
    """The same query encoders in blended galleries; nothing where there are none."""
    if not names:
        return []
    on = {split: {name: table.of(name, f"{data}:{split}") for name in names} for split in ("validation", "test")}

    def mean(name: str) -> float:
        rows = on["validation"][name]
        return sum(float(row["metrics"]["map"]) for row in rows) / len(rows)

    order = sorted(names, key=mean, reverse=True)
    cells = [
        [
            on["test"][name][0]["of"],
            over_seeds(on["test"][name], lambda row: float(row["share"])),
            str(len(on["test"][name])),
            *(_mean(on[split][name], "metrics", metric) for split in on for metric in ("p@1", "map")),
            *(_against(table, name, f"{data}:{split}", order[0]) for split in on),
        ]
        for name in order
    ]
    head = ["query encoder", "share", "seeds"]
    head += [f"M(q,b) {metric}, {split}" for split in on for metric in ("P@1", "mAP")]
    head += [f"first row, {split}" for split in on]
    return [
        "In a blended gallery, each item's vector being in part the query encoder's own (`hetsearch blend`). The share "
        "is the best of nine on the validation images; the order is that of their mAP, and each row is compared with "
        "the first one.",
        "",
        *markdown(head, cells),
        "",
    ]


def _cells(table: Table, name: str, data: str, rows: list[dict[str, Any]]) -> list[str]:
    fitted = "after" in rows[0]
    return [
        name,
        _setting(rows[0]),
        f"{rows[0]['cost']['params']:,}",
        str(len(rows)),
        _mean(rows, "metrics", "p@1"),
        _mean(rows, "metrics", "map"),
        _mean(rows, "homogeneous", "map"),
        _mean(rows, "retention", "map"),
        "–" if name in LARGER else _mean(rows, "gain", "map"),
        _mean(rows, "flips", "nfr@1"),
        "fitted there" if fitted else _against(table, name, f"{data}:validation"),
        _against(table, name, f"{data}:test"),
    ]


def _setting(row: dict[str, Any]) -> str:
    """What was chosen: the weights, other values by their name, and the learning rate where it is a multiple."""
    chosen = [
        f"{name} {value:g}" if key == "weight" else f"{name} {key} {value:g}"
        for name, terms in row["settings"]["objectives"].items()
        for key, value in terms.items()
    ]
    times = row["settings"].get(RATE, 1.0)
    return ", ".join(chosen if times == 1 else [*chosen, f"{times:g} × the learning rate"])


def _mean(rows: list[dict[str, Any]], part: str, metric: str) -> str:
    if any(row[part][metric] is None for row in rows):
        return "undefined"
    return over_seeds(rows, lambda row: float(row[part][metric]))


def _against(table: Table, name: str, source: str, other: str = ANCHOR) -> str:
    seeds = [row["seed"] for row in table.of(name, source) if table.has(other, source, row["seed"])]
    if name == other or not seeds:
        return "–"
    found = [table.compare(name, other, source, seed, "map") for seed in seeds]
    words = {"confirmed": "better", "refuted": "worse", "undecided": "no difference shown"}
    each = ", ".join(f"{one['difference']:+.4f}" for one in found)
    verdict = judge(found, seeds=len(SEEDS))
    return f"{words.get(verdict, verdict)} ({each})"
