"""Samples of a real server's calls, as they end up on disk."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.telemetry import sampler
from grpc_api.telemetry.record import Record
from grpc_api.telemetry.sampler import ROWS_A_CALL, Sampler
from predictors import samples
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import IDS, WITHOUT_VECTOR, TableStore, until
from tests.grpc_api.running import running
from tests.grpc_api.telemetry.scraped import Scraped


@pytest.fixture
def sampling(settings: Settings) -> Settings:
    return settings.model_copy(update={"sample_share": 1.0})


def test_what_was_read_and_said_is_kept(sampling: Settings, release: LoadedRelease) -> None:
    with running(sampling, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        scorer.with_options(request_id="mine").predict(["c03", WITHOUT_VECTOR, "nobody"], user="u1")
        assert not sampling.samples_dir.exists()  # nothing is written while there is little
    found = samples.scan(sampling, "popularity", "v1").sort("content_id")
    assert found["content_id"].to_list() == ["c03", "c11", "nobody"]
    assert found["published_year"].to_list() == [2003, 2011, None]
    assert found["user_views"].to_list() == [1000] * 3
    assert found["tiny"].to_list() == [True, False, False]
    assert found["score"].to_list() == [1003, 1011, None]
    assert found["class"].to_list() == [3, 1, -1]
    assert set(found["request_id"]) == {"mine"}
    assert set(found["release"]) == {release.version}
    assert "user_id" not in found.columns


def test_of_one_call_only_so_many(sampling: Settings, release: LoadedRelease) -> None:
    asked = (IDS * 5)[:50]
    with running(sampling, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        scorer.predict(asked)
    assert samples.scan(sampling, "popularity", "v1").height == ROWS_A_CALL < len(asked)


def test_nothing_is_sampled_unasked(settings: Settings, release: LoadedRelease) -> None:
    with running(settings, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        scorer.predict(["c01"])
    assert not settings.samples_dir.exists()


def test_a_share_is_sampled(settings: Settings, release: LoadedRelease) -> None:
    half = settings.model_copy(update={"sample_share": 0.5})
    with running(half, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        for _ in range(100):
            scorer.predict(["c01"])
    assert 10 < samples.scan(settings, "popularity", "v1").height < 90  # eight standard deviations to either side


def test_a_store_that_fails_costs_the_sample_alone(
    sampling: Settings, release: LoadedRelease, caplog: pytest.LogCaptureFixture
) -> None:
    broken = True

    def fail_here() -> None:
        if broken and threading.current_thread().name == "sampler":
            raise OSError("gone")

    failing = replace(release, store=TableStore(fail_here))
    with running(sampling, failing) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        assert scorer.predict(["c01"])[0].score == 1
        assert until(lambda: "a sample was not kept" in caplog.text)
        broken = False
        scorer.predict(["c02"])
    assert samples.scan(sampling, "popularity", "v1")["content_id"].to_list() == ["c02"]


def test_what_waits_is_bounded_and_counted(
    sampling: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "WAITING", 1)
    monkeypatch.setattr(Sampler, "_take", lambda self, record: time.sleep(0.5))
    with running(sampling, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        for _ in range(10):
            scorer.predict(["c01"])
        assert Scraped(server.server.telemetry.metrics_port)("larder_samples_dropped_total") > 0


def test_segments_are_written_when_they_are_old_or_large(
    sampling: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampler, "SEGMENT_ROWS", 2)
    with running(sampling, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
        for _ in range(4):
            scorer.predict(["c01", "c02"])
    segments = list((sampling.samples_dir / "popularity" / "v1").glob("*.parquet"))
    assert len(segments) == 4
    assert sum(pl.read_parquet(path).height for path in segments) == 8


def test_old_segments_go_and_then_the_oldest(tmp_path: Path) -> None:
    folder = tmp_path / "popularity" / "v1"
    folder.mkdir(parents=True)
    now = time.time_ns()
    paths = [folder / f"{now - days * 86_400 * 10**9}-{os.getpid()}-1.parquet" for days in (0, 1, 2, 9)]
    for path in paths:
        path.write_bytes(b"x" * 1000)
    samples.prune(tmp_path, 7.0, 10_000)
    assert set(folder.iterdir()) == set(paths[:3])
    samples.prune(tmp_path, 7.0, 2500)
    assert set(folder.iterdir()) == set(paths[:2])


def test_a_record_without_scores_is_no_sample(sampling: Settings) -> None:
    one = Sampler(sampling)
    assert one.offer(Record("Describe", call=None))  # type: ignore[arg-type]  # nothing of it is looked at
    one.close()
    assert not sampling.samples_dir.exists()
