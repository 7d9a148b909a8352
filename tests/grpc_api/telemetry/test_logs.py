"""The log of calls, as text and as JSON."""

from __future__ import annotations

import json
import logging
import sys

import grpc
import pytest

from feature_repo.errors import InputError
from feature_repo.settings import Settings
from grpc_api.calls import Call
from grpc_api.client import Scorer
from grpc_api.telemetry import logs
from grpc_api.telemetry.logs import CallLog, JsonLines
from grpc_api.telemetry.record import Record
from predictors.loaded import LoadedRelease
from tests.grpc_api.running import running


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == logs.__name__]


def test_a_line_says_what_a_call_did_and_not_what_it_holds(
    settings: Settings, release: LoadedRelease, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with running(settings, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        named = scorer.with_options(request_id="mine", caller="feed")
        named.predict(["c01", "c02"])
        with pytest.raises(InputError):
            named.predict([])
        scorer.similar(text="3.25", k=1)
    good, bad, similar = (line for line in lines(caplog) if line["method"] != "/larder.v1.ScoringService/Describe")
    assert (good["request_id"], good["caller"], good["code"], good["candidates"]) == ("mine", "feed", "OK", 2)
    assert (good["method"], good["release"]) == ("/larder.v1.ScoringService/Predict", release.version)
    assert good["level"] == "INFO"
    assert 0 < float(str(good["ms"])) < 30_000
    assert isinstance(good["stages_ms"], dict)
    assert set(good["stages_ms"]) == {"queue", "read", "score", "serialise"}
    assert (bad["code"], bad["release"]) == ("INVALID_ARGUMENT", "")
    assert similar["code"] == "OK"
    assert not [word for word in ("c01", "3.25") for line in lines(caplog) if word in json.dumps(line)]


@pytest.mark.parametrize(
    ("code", "share", "count"),
    [
        (grpc.StatusCode.OK, 1.0, 50),
        (grpc.StatusCode.OK, 0.0, 0),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 0.0, 0),
        (grpc.StatusCode.INTERNAL, 0.0, 50),
        (grpc.StatusCode.INVALID_ARGUMENT, 0.0, 50),
    ],
)
def test_errors_are_all_logged_and_the_rest_by_its_share(
    code: grpc.StatusCode, share: float, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    told = CallLog(share)
    for _ in range(50):
        told.tell(Record("Predict", Call("/p"), code=code))
    assert len(lines(caplog)) == count


def test_whatever_is_logged_is_one_line_of_json() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "said %s\n%s", ("ä", 1), sys.exc_info())
    line = JsonLines().format(record)
    assert "\n" not in line
    said = json.loads(line)
    assert (said["message"], said["level"], said["logger"]) == ("said ä\n1", "ERROR", "a.b")
    assert "ValueError: two" in said["raised"]
