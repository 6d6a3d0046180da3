"""What goes over the wire: the bodies of requests and answers, with examples for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, WithJsonSchema

from hetsearch.preprocess import InputSpec

# A grey picture of 8 × 8 pixels, so that every example can be sent as it stands.
EXAMPLE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAAAAADhZOFXAAAAG0lEQVR42mNgQAeMDAwnGBgYLBiYYC"
    "KYDEwAADN2AQj2T4HwAAAAAElFTkSuQmCC"
)

# A data URI in JSON; the bytes of a file in a form.
Picture: TypeAlias = Annotated[
    str | bytes, WithJsonSchema({"type": "string", "description": "data:image/png;base64,…", "examples": [EXAMPLE]})
]
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
FilterField: TypeAlias = Literal["label", "group", "domain", "key"]


class ProblemDetail(BaseModel):
    """What went wrong."""

    code: str = Field(examples=["space_mismatch"])
    message: str
    hint: str | None


class Problem(BaseModel):
    """The one shape of every error."""

    error: ProblemDetail


class EmbeddingsRequest(BaseModel):
    """OpenAI's shape. ``model`` may be any name; what it does not know is ignored."""

    model_config = ConfigDict(
        extra="ignore", json_schema_extra={"examples": [{"input": EXAMPLE, "encoding_format": "float"}]}
    )

    input: Picture | list[Picture]
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, description="Refused unless it is the encoder's own.")


class Embedding(BaseModel):
    """One vector: numbers, or the base64 form of little-endian float32."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(BaseModel):
    """OpenAI's counts; pictures have no tokens."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingsAnswer(BaseModel):
    """Unit vectors, and the space they lie in."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    space: str
    usage: Usage = Usage()


class SearchRequest(BaseModel):
    """A picture, or a vector with its space."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"image": EXAMPLE, "k": 5},
                {"image": EXAMPLE, "k": 5, "filter": {"label": ["Shirt", "Coat"]}},
                {"vector": [0.6, 0.8], "space": "sp_00112233445566aa", "k": 5},
            ]
        },
    )

    image: Picture | None = None
    vector: list[Number] | None = Field(default=None, description="Unit length; needs its space.")
    space: str | None = Field(default=None, max_length=100)
    k: int = Field(default=10, ge=1)
    filter: dict[FilterField, str | list[str]] | None = Field(
        default=None, description="Only items of which each field has the value, or one of the values."
    )


class SearchHit(BaseModel):
    """One item found; ``image`` is where its picture is, if there is one."""

    key: str
    score: float
    item: dict[str, str | None]
    image: str | None


class SearchAnswer(BaseModel):
    """Hits, best first. ``Server-Timing`` has the milliseconds of each step."""

    object: Literal["list"] = "list"
    hits: list[SearchHit]
    k: int
    model: str
    space: str
    generation: int


class Model(BaseModel):
    """An encoder that answers, with OpenAI's fields first."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "hetsearch"
    space: str
    dim: int
    role: str
    input: InputSpec
    params: int
    macs: int
    precision: str
    onnx: str = Field(description="Where the network's ONNX file is.")


class ModelList(BaseModel):
    """The encoders that answer: one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """How the service is."""

    status: Literal["ready", "not ready"]
    version: str
    model: str
    space: str
    items: int | None = Field(description="Of the gallery; null without one.")
    generation: int | None


class ServerMetadata(BaseModel):
    """Open Inference Protocol: the server."""

    name: str
    version: str
    extensions: list[str] = []


class TensorMetadata(BaseModel):
    """Open Inference Protocol: a tensor; -1 is any length."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """Open Inference Protocol: a model."""

    name: str
    versions: list[str] = ["1"]
    platform: str = "onnx_onnxruntime"
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, Any]


class ModelReady(BaseModel):
    """Open Inference Protocol: whether a model answers."""

    name: str
    ready: bool


class TensorParameters(BaseModel):
    """Open Inference Protocol, binary tensors: that the bytes of a tensor lie after the JSON, and how many."""

    binary_data_size: StrictInt | None = Field(default=None, ge=0, description="Bytes after the JSON.")


class OutputParameters(BaseModel):
    """Open Inference Protocol, binary tensors: how one output is wanted."""

    binary_data: StrictBool | None = Field(default=None, description="As bytes after the JSON.")


class InferParameters(BaseModel):
    """Open Inference Protocol, binary tensors: how outputs are wanted that do not say it themselves."""

    binary_data_output: StrictBool = Field(default=False, description="As bytes after the JSON.")


class InputTensor(BaseModel):
    """Open Inference Protocol: numbers that come in, flat or nested, or as bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int] = Field(max_length=8)
    data: list[Any] | None = None
    parameters: TensorParameters | None = None


class OutputTensor(BaseModel):
    """Open Inference Protocol: numbers that go out, flat, or as bytes after the JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float] | None = None
    parameters: TensorParameters | None = None


class RequestedOutput(BaseModel):
    """Open Inference Protocol: a tensor that is asked for."""

    name: str
    parameters: OutputParameters | None = None


class InferRequest(BaseModel):
    """Open Inference Protocol: one tensor of preprocessed pictures, ``uint8 (n, C, S, S)``."""

    id: str | None = None
    inputs: list[InputTensor]
    outputs: list[RequestedOutput] | None = None
    parameters: InferParameters | None = None


class InferAnswer(BaseModel):
    """Open Inference Protocol: their unit vectors. What is not known is left out."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str = "1"
    id: str | None = None
    parameters: dict[str, Any]
    outputs: list[OutputTensor]
