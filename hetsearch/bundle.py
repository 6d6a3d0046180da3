"""The folder of an encoder: ``encoder.json``, ``model.onnx``, ``model.safetensors``, ``README.md``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hetsearch.errors import DamagedArtifact
from hetsearch.files import checksums, dump_json, read_json, verify_checksums, write_text
from hetsearch.preprocess import InputSpec

SCHEMA = 1
CARD = "encoder.json"
ONNX = "model.onnx"
WEIGHTS = "model.safetensors"
MODEL_CARD = "README.md"
BLEND = "blend"  # the architecture of an encoder that holds two, see hetsearch.export.blend

Role = Literal["gallery", "query", "free"]
Precision = Literal["float32", "float16", "int8-weights", "int8", "int8-nncf"]


class EncoderCard(BaseModel):
    """What ``encoder.json`` says. Everything but the checksums of the other files, which writing adds."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    role: Role
    space: str
    dim: int
    architecture: str  # a name in the registry of networks, or BLEND
    arguments: dict[str, Any] = Field(default_factory=dict)
    prototypes: int = 0  # class means that a vector is drawn towards, see hetsearch.models.prototypes
    input: InputSpec
    params: int  # of what is deployed: without the training heads
    macs: int  # of one image: convolutions, linear layers, involutions
    precision: Precision = "float32"
    training: dict[str, Any] = Field(default_factory=dict)  # recipe, data, seed, seconds, versions, command
    numbers: dict[str, Any] = Field(default_factory=dict)  # paragon's or compatibility numbers
    parity: dict[str, Any] = Field(default_factory=dict)  # of model.onnx against the float32 network


def write_card(folder: Path, card: EncoderCard) -> None:
    """Write ``README.md`` and then ``encoder.json``, last, with a checksum of every other file in ``folder``."""
    write_text(folder / MODEL_CARD, model_card(card))
    document = {"schema": SCHEMA, **card.model_dump(mode="json"), "files": checksums(folder, but=CARD)}
    write_text(folder / CARD, dump_json(document))


def read_card(folder: Path, *, verify: bool = True, but: frozenset[str] = frozenset()) -> EncoderCard:
    """Read ``encoder.json``.

    Args:
        folder: the encoder bundle.
        verify: compare every file with its checksum. A released bundle may lack ``model.safetensors``.
        but: files that are not looked at, because the caller writes them anew.

    Raises:
        UsageError: ``folder`` is no encoder bundle.
        DamagedArtifact: a file was changed, is missing, or the schema is another.
    """
    document = read_json(folder / CARD, what="an encoder bundle", schema=SCHEMA)
    del document["schema"]
    if (files := document.pop("files", None)) is None:
        raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed="no files", expected="a checksum of each file")
    try:
        card = EncoderCard.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedArtifact(f"'{folder / CARD}' is damaged", observed=f"{where}: {first['msg']}") from None
    if verify:
        files = {name: recorded for name, recorded in files.items() if name not in but}
        verify_checksums(folder, files, optional=frozenset({WEIGHTS}))
    return card


def model_card(card: EncoderCard) -> str:
    """The model card, as Markdown, from nothing but ``encoder.json``."""
    rows = {
        "role": card.role,
        "space": f"`{card.space}`",
        "architecture": f"`{card.architecture}` {_inline(card.arguments)}",
        "input": f"{card.input.size} × {card.input.size}, {card.input.channels} channel(s), uint8",
        "output": f"{card.dim} numbers of unit length",
        "parameters": f"{card.params:,}",
        "MACs an image": f"{card.macs:,}",
        "precision": card.precision,
    }
    lines = [f"# {card.role} encoder of `{card.space}`", ""]
    lines += ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items()), ""]
    for title, content in (("Numbers", card.numbers), ("Parity", card.parity), ("Training", card.training)):
        if content:
            lines += [f"## {title}", "", "```json", dump_json(content).rstrip(), "```", ""]
    lines += [
        "## Use",
        "",
        "```python",
        "import hetsearch",
        "",
        'encoder = hetsearch.load_encoder("path/of/this/folder")',
        'vectors = encoder.encode(["picture.png"]).vectors',
        "```",
        "",
        "Its vectors may be compared with vectors of the same space only; hetsearch refuses anything else.",
    ]
    return "\n".join(lines) + "\n"


def _inline(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in arguments.items())
