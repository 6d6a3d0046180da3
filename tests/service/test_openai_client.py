"""OpenAI's own client, pointed at the service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hetsearch.runtime import OnnxEncoder
from tests.service.serving import Service, data_uri
from tests.support import SPACE


def test_openai_s_client_embeds(service: Service, encoder: OnnxEncoder, pictures: list[Path]) -> None:
    openai = pytest.importorskip("openai", reason="the OpenAI client is not installed")
    uris = [data_uri(path.read_bytes()) for path in pictures[:3]]
    expected = encoder.encode(pictures[:3]).vectors
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        for form in ({}, {"encoding_format": "float"}):  # it asks for base64 unless told otherwise
            answer = client.embeddings.create(model="any-name", input=uris, **form)
            assert (answer.model, answer.model_extra["space"]) == ("tiny", SPACE)
            assert [one.index for one in answer.data] == [0, 1, 2]
            assert np.allclose([one.embedding for one in answer.data], expected, atol=2e-6)
        with pytest.raises(openai.UnprocessableEntityError) as refused:
            client.embeddings.create(model="any-name", input="not a picture")
        assert refused.value.body["code"] == "invalid_request"
