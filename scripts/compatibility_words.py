"""The words of scripts/table_compatibility.py: results/compatibility.md from the rows that are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compatibility_methods import (
    ANCHOR,
    BASELINE,
    COMMAND,
    CONTROL,
    LARGER,
    METHODS,
    PARAGON,
    PIXELS,
    RATE,
    SEEDS,
    VALIDATION,
)
from tables import HALF, Row, Table, judge, kendall, markdown, mean_of, over_seeds

from hetsearch.files import write_text

VERDICTS = {"confirmed": "better", "refuted": "worse", "undecided": "no difference shown"}
INTRODUCTION = f"""# Compatibility: ways into a large network's space for a 0.1 M network

Made by `{COMMAND}` from `results/compatibility.json`. {HALF} The larger networks are trained in float32, which is
faster for their depthwise convolutions. Test images unless it says otherwise; mean over seeds (smallest to largest).
The gallery encoders are the released ones, with int8 weights; retention and gain are measured against their float32
originals, whose M(g,g) on the test images their cards record: retention is M(q,g) / M(g,g) by mAP, gain is
(M(q,g) − M(q*,q*)) / (M(g,g) − M(q*,q*)) by mAP, q* being the same network trained freely, which the larger networks
lack here. NFR@1 is the share of queries that the gallery encoder's own query answers rightly and the light one does
not.

The methods are in the order of their mAP on the validation images, by which a default recipe is chosen: the simplest
that is not worse than the first row there. Comparisons are made query by query; a difference counts if its 95 %
interval is on one side of 0 for each of {len(SEEDS)} seeds. The anchor is "{ANCHOR}", and an addition to it stands
beside the weights that were chosen for that one.

Of each method three settings were tried in short trainings, by the learning rate where an objective stands alone and
its weight means nothing, else by a weight, a margin or a temperature at the data set's learning rate; "setting" is
what was chosen. The larger networks have the setting of the anchor and were not tuned. Every checkpoint is chosen by
labelled validation images, and emoji's batches hold four pictures of a concept, also where the loss of a method reads
no label.
"""


def write_words(table: Table, trials: Table, names: Sequence[str], path: Path) -> None:
    """The table for people, the best first."""
    lines = [INTRODUCTION]
    for data in names:
        rows = {name: table.of(name, f"{data}:test") for name in dict.fromkeys(row["name"] for row in table.rows)}
        rows = {name: found for name, found in rows.items() if found}
        if rows:
            lines += [f"## {data}", "", *_references(rows), *_methods(table, trials, data, rows)]
            lines += _others(table, data, rows)
            lines += _blended(table, data, [name for name in rows if "of" in rows[name][0]])
    write_text(path, "\n".join(lines).rstrip() + "\n")


def _references(rows: dict[str, list[Row]]) -> list[str]:
    names = [name for name in (PARAGON, BASELINE, CONTROL, PIXELS) if name in rows]
    cells = [[name, *(mean_of(rows[name], "metrics", metric) for metric in ("p@1", "map", "r@10"))] for name in names]
    recorded = [row["paragon"] for row in rows.get(PARAGON, []) if "paragon" in row]
    cells += [
        [f"{PARAGON}, {one['source']}", *(f"{one['metrics'][metric]:.4f}" for metric in ("p@1", "map", "r@10"))]
        for one in recorded
    ]
    return [*markdown(["", "P@1", "mAP", "R@10"], cells), ""]


def _methods(table: Table, trials: Table, data: str, rows: dict[str, list[Row]]) -> list[str]:
    """The methods by their mAP on the validation images, and what the trials were worth."""
    order = by_validation(table, data, [name for name in METHODS if name in rows])
    if not order:
        return []
    cells = [
        [
            *_own(name, rows[name]),
            mean_of(table.of(name, f"{data}:{VALIDATION}"), "metrics", "map"),
            *(_against(table, name, f"{data}:{split}", order[0]) for split in (VALIDATION, "test")),
            _against(table, name, f"{data}:test", ANCHOR),
        ]
        for name in order
    ]
    head = [*OWN, "M(q,g) mAP, validation", "first row, validation", "first row, test", "anchor, test"]
    tries = {name: trials.of(name, data) for name in order}
    tried = {name: [row["validation"]["map"] for row in rows_of] for name, rows_of in tries.items()}
    full = {name: row for name in order for row in table.of(name, f"{data}:{VALIDATION}") if row["seed"] == SEEDS[0]}
    both = [name for name in order if tried[name] and name in full]
    float32 = any("gallery" not in row for rows_of in tries.values() for row in rows_of)  # before it was noted
    before = " The settings were chosen by trials with the gallery encoder's float32 weights." if float32 else ""
    lines = [f"Trained for {_epochs(rows[order[0]])}.{before}", "", *markdown(head, cells), ""]
    if len(both) > 2:
        tau = kendall([max(tried[n]) for n in both], [full[n]["metrics"]["map"] for n in both])
        lines += [
            f"How far the short trials may be trusted: Kendall's τ between the methods' mAP after their best trial and "
            f"after the whole training, both on the validation images with seed {SEEDS[0]}, is {tau:.2f} over "
            f"{len(both)} methods.",
            "",
        ]
    return lines


def _others(table: Table, data: str, rows: dict[str, list[Row]]) -> list[str]:
    """Closed-form maps after the best method, and other networks."""
    source = f"{data}:test"
    fitted = [name for name in rows if "after" in rows[name][0]]
    names = [*fitted, *(name for name in LARGER if name in rows)]
    if not names:
        return []
    others = {name: rows[name][0].get("after", ANCHOR) for name in names}
    cells = [[*_own(name, rows[name]), others[name], _against(table, name, source, others[name])] for name in names]
    lines = [
        "Maps in closed form after the method that is first on the validation images with seed "
        f"{SEEDS[0]}, where they are fitted, and other networks:",
        "",
        *markdown([*OWN, "beside", "difference, test"], cells),
        "",
    ]
    for name in fitted:
        found = [table.compare(name, others[name], source, row["seed"], "map") for row in rows[name]]
        if all(one["difference"] == 0 and one["ci"] == [0, 0] for one in found):
            lines += [f'"{name}" changes nothing: the training kept none.', ""]
    return lines


def _blended(table: Table, data: str, names: list[str]) -> list[str]:
    """The same query encoders in blended galleries; nothing where there are none."""
    if not names:
        return []
    on = {split: {name: table.of(name, f"{data}:{split}") for name in names} for split in (VALIDATION, "test")}
    order = by_validation(table, data, names)
    cells = [
        [
            on["test"][name][0]["of"],
            over_seeds([row["share"] for row in on["test"][name]]),
            str(len(on["test"][name])),
            *(mean_of(on[split][name], "metrics", metric) for split in on for metric in ("p@1", "map")),
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


def by_validation(table: Table, data: str, names: Sequence[str]) -> list[str]:
    """Names by their mean mAP on the validation images, the best first."""

    def mean(name: str) -> float:
        rows = table.of(name, f"{data}:{VALIDATION}")
        return sum(float(row["metrics"]["map"]) for row in rows) / len(rows)

    return sorted(names, key=mean, reverse=True)


OWN = ["method", "setting", "parameters", "seeds"]
OWN += ["M(q,g) P@1", "M(q,g) mAP", "M(q,q) mAP", "retention", "gain", "NFR@1"]


def _own(name: str, rows: list[Row]) -> list[str]:
    return [
        name,
        _setting(rows[0]),
        f"{rows[0]['cost']['params']:,}",
        str(len(rows)),
        mean_of(rows, "metrics", "p@1"),
        mean_of(rows, "metrics", "map"),
        mean_of(rows, "homogeneous", "map"),
        mean_of(rows, "retention", "map"),
        "–" if name in LARGER else mean_of(rows, "gain", "map"),
        mean_of(rows, "flips", "nfr@1"),
    ]


def _epochs(rows: list[Row]) -> str:
    counts = sorted({int(row["epochs"]) for row in rows})
    return f"{' or '.join(map(str, counts))} epochs"


def _setting(row: Row) -> str:
    """What was chosen: the weights, other values by their name, and the learning rate where it is a multiple."""
    chosen = [
        f"{name} {value:g}" if key == "weight" else f"{name} {key} {value:g}"
        for name, terms in row["settings"]["objectives"].items()
        for key, value in terms.items()
    ]
    times = row["settings"].get(RATE, 1.0)
    return ", ".join(chosen if times == 1 else [*chosen, f"{times:g} × the learning rate"])


def _against(table: Table, name: str, source: str, other: str) -> str:
    seeds = [row["seed"] for row in table.of(name, source) if table.has(other, source, row["seed"])]
    if name == other or not seeds:
        return "–"
    found = [table.compare(name, other, source, seed, "map") for seed in seeds]
    each = ", ".join(f"{one['difference']:+.4f}" for one in found)
    verdict = judge(found, seeds=len(SEEDS))
    return f"{VERDICTS.get(verdict, verdict)} ({each})"
