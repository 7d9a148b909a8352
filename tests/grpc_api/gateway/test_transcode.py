from __future__ import annotations

import json
import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError
from grpc_api.gateway.transcode import to_json, to_payload
from grpc_api.rpcs import UNARY
from protos.larder.v1 import scoring_pb2 as pb

PREDICT, SIMILAR = UNARY["Predict"], UNARY["Similar"]


@pytest.mark.parametrize("name", ["content_ids", "contentIds"])
def test_both_spellings_are_read(name: str) -> None:
    body = json.dumps({"predictors": ["popularity"], name: ["c01", "ü"], "userId": None}).encode()
    assert pb.PredictRequest.FromString(to_payload(PREDICT, body)) == pb.PredictRequest(
        predictors=["popularity"], content_ids=["c01", "ü"]
    )


def test_no_body_is_a_request_without_fields() -> None:
    assert to_payload(PREDICT, b"") == b""


BROKEN = {
    b"nix": "request: is no JSON object",
    b"null": "request: is no JSON object",
    b"[]": "request: is no JSON object",
    b'"predictors"': "request: is no JSON object",
    b"\xff{}": "request: is no JSON",
    b"{": "request: Failed to load JSON",
    b'{"a":' * 200_000: "request: Failed to load JSON",
    b'{"userId": "a", "userId": "b"}': "request: Failed to load JSON: Failed to load JSON: duplicate key userId",
    b'{"wind": 1}': "wind: there is no such field",
    b'{"predictors": 3}': "predictors: repeated field predictors must be in []",
    b'{"predictors": ["a", 3]}': "predictors: expected string",
    b'{"userId": {"a": 1}}': "user_id: ",
    b'{"userId": "\\ud800"}': "user_id: Unpaired surrogate",
    b'{"rawContents": [{"publishedAt": "noon"}]}': "raw_contents[0].published_at: ",
    b'{"rawContents": [{"tags": [], "wind": 1}]}': "raw_contents[0].wind: there is no such field",
    b'{"rawContents": [3]}': "raw_contents: ",
    b'{"' + b"x" * 10_000 + b'": 1}': "xxxx",
}


@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_body_names_the_field(body: bytes) -> None:
    with pytest.raises(InputError) as refused:
        to_payload(PREDICT, body)
    assert str(refused.value).startswith(BROKEN[body])
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("body", "starts"),
    [
        (b'{"k": -1}', "k: "),
        (b'{"k": 1.5}', "k: "),
        (b'{"k": ' + b"9" * 5000 + b"}", "request: Failed to load JSON"),
        (b'{"vector": {"values": [1, 1e400]}}', "vector.values[1]: "),
        (b'{"embeddings": [{"weight": "much"}]}', "embeddings[0].weight: "),
        (b'{"text": "a", "contentId": "b"}', "request: "),
    ],
)
def test_values_that_a_field_cannot_hold(body: bytes, starts: str) -> None:
    with pytest.raises(InputError) as refused:
        to_payload(SIMILAR, body)
    assert str(refused.value).startswith(starts)


def test_a_browser_can_read_what_is_not_a_number() -> None:
    scores = pb.PredictorScores(
        scores=[1.5, math.nan, -math.inf],
        classes=[1, -1, 0],
        statuses=["STATUS_OK", "STATUS_UNKNOWN_CONTENT", "STATUS_OK"],
    )
    answer = pb.PredictResponse(release="r", results=[scores])
    said = json.loads(to_json(PREDICT, answer.SerializeToString()), parse_constant=pytest.fail)
    assert said["results"][0]["scores"] == [1.5, "NaN", "-Infinity"]
    assert said["results"][0]["statuses"] == ["STATUS_OK", "STATUS_UNKNOWN_CONTENT", "STATUS_OK"]
    assert (said["variant"], said["content_ids"]) == ("", []), "what is empty is said too"


KEYS = st.sampled_from([field.name for rpc in UNARY.values() for field in rpc.request.DESCRIPTOR.fields]) | st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=5).map(json.dumps).map(str.encode)


@given(st.sampled_from(sorted(UNARY)), OBJECTS | st.binary())
def test_anything_is_a_request_or_an_input_error(name: str, body: bytes) -> None:
    with suppress(InputError):
        UNARY[name].request.FromString(to_payload(UNARY[name], body))
