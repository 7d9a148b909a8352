"""Users' states in the store: complete, incremental, resumable, and never from the future."""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import time
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from embedders.base import Vector
from embedders.fitted import current, load_weights, publish
from embedders.train_user_sequence import fit_net, fit_user_sequence, read_log
from embedders.user_items import read_sources
from embedders.user_ledger import UserPlanner, UserState
from embedders.user_runner import UserRunReport, count_users, run_users
from embedders.user_sequence import encode_states
from embedders.user_specs import resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType, Interaction
from feature_repo.errors import ConfigurationError, StateError, UnavailableError
from feature_repo.files import only_writer
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import vectors_dir
from tests.embedders.user_world import (
    START,
    TINY,
    TOY,
    add_events,
    add_items,
    current_rows,
    event,
    fit,
    rows,
    run_slowly,
    walks,
)

NAME = "user_sequence"
Dated = dict[tuple[str, datetime], Vector]
USERS = 12


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Four partitions of users."""
    return load_settings(home=tmp_path / "home", partition_size=3)


@pytest.fixture
def fitted(settings: Settings, catalog: Catalog) -> Settings:
    """A workspace with items, the first ten events of each user, and a model fitted on them."""
    add_items(settings, catalog)
    add_events(settings, early())
    fit(settings, catalog)
    return settings


def early() -> list[Interaction]:
    return [one for one in walks() if one.timestamp < START + timedelta(days=4)]


def late() -> list[Interaction]:
    return [one for one in walks() if one.timestamp >= START + timedelta(days=4)]


def counts(report: UserRunReport) -> tuple[int, int]:
    return report.encoded, report.fresh


def files(settings: Settings) -> dict[str, bytes]:
    return {f"{p.parent.name}/{p.name}": p.read_bytes() for p in (settings.embeddings_dir / NAME).glob("*/*.parquet")}


def assert_same(found: Dated, expected: Dated) -> None:
    """The same vector at each of the expected users and times."""
    assert expected.keys() <= found.keys()
    for key, vector in expected.items():
        np.testing.assert_allclose(found[key], vector, atol=1e-5, err_msg=str(key))


def test_every_user_gets_dated_states(fitted: Settings, catalog: Catalog) -> None:
    told: list[tuple[int, int]] = []
    report = run_users(NAME, fitted, catalog, lambda *done: told.append(done))
    assert counts(report) == (USERS, 0)
    assert report.rows == rows(fitted).height
    assert len(files(fitted)) == 4
    events = len(early())
    assert told == sorted(told)
    assert told[-1] == (events, events)
    days: dict[tuple[str, object], object] = {}
    for one in early():
        days[one.user_id, one.timestamp.date()] = one.timestamp + timedelta(microseconds=1)
    assert set(current_rows(fitted)) == {(user, when) for (user, _), when in days.items()}
    assert rows(fitted)["created"].equals(rows(fitted)["event_timestamp"].alias("created"))
    registered = catalog.user_ledger.embeddings()[NAME]
    assert (registered.spec_digest, registered.dim) == (resolve_user_spec(NAME, fitted).digest, TINY.width)
    assert NAME not in catalog.embeddings()


def test_a_second_run_does_nothing_and_loads_no_model(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    before = files(fitted)
    # A GPU that is not there fails whatever loads the model.
    blind = fitted.model_copy(update={"device": "cuda"})
    assert counts(run_users(NAME, blind, catalog)) == (0, USERS)
    assert files(fitted) == before
    add_events(fitted, late())
    with pytest.raises(ConfigurationError, match="GPU"):
        run_users(NAME, blind, catalog)


@pytest.mark.parametrize("dated", ["day", "4", "1"])
def test_a_future_event_changes_no_earlier_row(fitted: Settings, catalog: Catalog, dated: str) -> None:
    """The planted leak: each user's future is replaced by another one, and nothing dated before it moves."""
    run_users(NAME, fitted, catalog, rows=dated)
    planted = START + timedelta(days=3, hours=5)
    home = fitted.home.with_name("other")
    shutil.copytree(fitted.home, home)
    other = fitted.model_copy(update={"home": home})
    shutil.rmtree(other.interactions_dir)
    shutil.rmtree(other.embeddings_dir / NAME)
    changed = [
        one if one.timestamp < planted else replace(one, content_id="c07", event=EventType.SHARE) for one in early()
    ]
    add_events(other, [*changed, *(event(f"u{n:02d}", 3, planted, EventType.LIKE) for n in range(USERS))])
    with Catalog(other.catalog) as opened:
        run_users(NAME, other, opened, rows=dated)
    real, leaked = current_rows(fitted), current_rows(other)
    both = real.keys() & leaked.keys()
    before = [key for key in both if key[1] < planted]
    assert len(before) >= USERS // 2
    for key in before:
        np.testing.assert_allclose(real[key], leaked[key], atol=1e-5)
    assert any(np.abs(real[key] - leaked[key]).max() > 1e-3 for key in both if key[1] > planted)


def test_a_join_at_an_events_own_time_does_not_see_it(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog, rows="1")
    dated = current_rows(fitted)
    for one in early():
        assert (one.user_id, one.timestamp) not in dated
        assert (one.user_id, one.timestamp + timedelta(microseconds=1)) in dated


@pytest.mark.parametrize("dated", ["day", "4"])
def test_new_events_end_in_the_rows_of_a_full_run(fitted: Settings, catalog: Catalog, dated: str) -> None:
    run_users(NAME, fitted, catalog, rows=dated)
    kept = files(fitted)
    grown = {one.user_id for one in late()}
    add_events(fitted, late())
    assert count_users(NAME, fitted, catalog)[UserState.STALE] == len(grown)
    report = run_users(NAME, fitted, catalog)  # dated as before
    assert counts(report) == (len(grown), USERS - len(grown))
    assert kept.items() <= files(fitted).items()  # what is there is left as it is
    assert report.rows < rows(fitted).height
    incremental = current_rows(fitted)
    assert set(count_users(NAME, fitted, catalog)) == {UserState.FRESH}
    home = fitted.model_copy(update={"home": fitted.home.with_name("full")})
    shutil.copytree(fitted.home, home.home)
    shutil.rmtree(home.embeddings_dir / NAME)
    with Catalog(home.catalog) as opened:
        assert counts(run_users(NAME, home, opened)) == (USERS, 0)
    assert_same(incremental, current_rows(home))


def test_one_user_with_news_is_one_user_encoded(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    before = rows(fitted).height
    add_events(fitted, [event("u03", 5, START + timedelta(days=30)), event("new", 5, START)])
    assert count_users(NAME, fitted, catalog) == {UserState.FRESH: 11, UserState.STALE: 1, UserState.MISSING: 1}
    report = run_users(NAME, fitted, catalog)
    assert counts(report) == (2, 11)
    assert report.rows == 2
    assert rows(fitted).height == before + 2


def test_an_event_that_came_late_does_its_user_anew(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    old = current_rows(fitted)
    add_events(fitted, [event("u03", 9, START - timedelta(days=1))])
    assert counts(run_users(NAME, fitted, catalog)) == (1, USERS - 1)
    new = current_rows(fitted)
    moved = {key for key in old if np.abs(old[key] - new[key]).max() > 1e-4}
    assert moved == {key for key in old if key[0] == "u03"}
    assert (new.keys() - old.keys()) == {("u03", START - timedelta(days=1) + timedelta(microseconds=1))}
    assert counts(run_users(NAME, fitted, catalog)) == (0, USERS)


def test_an_event_of_the_last_moment_does_its_user_anew(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    old = current_rows(fitted)
    last = max(one.timestamp for one in early() if one.user_id == "u03")
    key = ("u03", last + timedelta(microseconds=1))
    add_events(fitted, [event("u03", 21, last), event("u03", 22, last)])
    run_users(NAME, fitted, catalog)
    assert current_rows(fitted).keys() == old.keys()
    assert np.abs(current_rows(fitted)[key] - old[key]).max() > 1e-4


def test_other_item_vectors_make_their_users_stale(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    met = {one.user_id for one in early() if one.content_id == "c23"}
    assert 0 < len(met) < USERS
    ledger = catalog.ledger("toy", resolve_user_spec(NAME, fitted).embeddings["toy"])
    assert "c23" not in ledger  # it had no vector; now it gets one
    add_items(fitted, catalog, without=0, seed=1)
    assert count_users(NAME, fitted, catalog)[UserState.STALE] == USERS  # here every vector is another one
    assert counts(run_users(NAME, fitted, catalog)) == (USERS, 0)


def test_unseen_items_and_users_without_events(fitted: Settings, catalog: Catalog) -> None:
    moment = START + timedelta(days=40)
    add_events(
        fitted,
        [
            event("stranger", 99, moment),  # a content that neither catalog nor training knows
            event("looker", 1, moment, EventType.IMPRESSION),
        ],
    )
    assert counts(run_users(NAME, fitted, catalog)) == (USERS + 1, 0)
    found = rows(fitted).filter(user_id="stranger")["user_sequence"].to_numpy()
    assert found.shape == (1, TINY.width)
    assert np.isfinite(found).all()
    assert rows(fitted).filter(user_id="looker").is_empty()


def test_no_events_give_no_rows_and_no_view(fitted: Settings, catalog: Catalog) -> None:
    shutil.rmtree(fitted.interactions_dir)
    assert counts(run_users(NAME, fitted, catalog)) == (0, 0)
    assert catalog.user_ledger.embeddings() == {}


def test_another_dating_or_fit_lies_beside(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    before = files(fitted)
    run_users(NAME, fitted, catalog, rows="2")
    assert before.items() <= files(fitted).items()
    assert catalog.user_ledger.embeddings()[NAME].rows == "2"
    fit_user_sequence(fitted, catalog, replace(TINY, seed=5), ["toy"])
    assert counts(run_users(NAME, fitted, catalog)) == (USERS, 0)
    assert catalog.user_ledger.embeddings()[NAME].rows == "2"
    assert len(list((fitted.embeddings_dir / NAME).glob("*/"))) == 3
    with pytest.raises(ConfigurationError, match="rows 'week'"):
        run_users(NAME, fitted, catalog, rows="week")


def test_before_a_fit_it_says_what_to_run(settings: Settings, catalog: Catalog) -> None:
    with pytest.raises(StateError, match="larder train user_sequence"):
        run_users(NAME, settings, catalog)


def test_a_fit_on_other_item_vectors_is_refused(fitted: Settings, catalog: Catalog) -> None:
    version = current(fitted, NAME)
    assert version is not None
    publish(
        fitted, NAME, {**load_weights(version), "more": np.zeros(1)}, {**version.facts, "embeddings": {"toy": "other"}}
    )
    with pytest.raises(StateError, match="fit it again with `larder train user_sequence`"):
        run_users(NAME, fitted, catalog)


def test_the_store_holds_what_the_fitted_net_says(settings: Settings, catalog: Catalog) -> None:
    """Also where the embeddings were named in another order than the manifest has them in."""
    add_items(settings, catalog)
    add_items(settings, catalog, seed=1, spec=replace(TOY, name="another"))
    add_events(settings, early())
    names = ["toy", "another"]
    fit_user_sequence(settings, catalog, TINY, names)
    run_users(NAME, settings, catalog, rows="1")
    sources = read_sources(settings, catalog, dict.fromkeys(names))
    log = read_log(settings, sources, TINY)
    fit = fit_net(log, sources, TINY, torch.device("cpu"))
    features = torch.from_numpy(fit.inputs.features(log.content_ids))
    with torch.inference_mode():
        items = fit.net.items(features, torch.from_numpy(fit.inputs.rows(log.content_ids)))
    expected = encode_states(fit.net, items, log.histories, log.histories.snapshots("1"))
    np.testing.assert_allclose(np.stack(list(current_rows(settings).values())), expected, atol=1e-5)


def test_a_lost_file_is_made_again(fitted: Settings, catalog: Catalog) -> None:
    run_users(NAME, fitted, catalog)
    before = current_rows(fitted)
    next((fitted.embeddings_dir / NAME).glob("*/*.parquet")).unlink()
    assert count_users(NAME, fitted, catalog) == {UserState.STALE: 3, UserState.FRESH: USERS - 3}
    assert counts(run_users(NAME, fitted, catalog)) == (3, USERS - 3)
    assert current_rows(fitted).keys() == before.keys()
    assert_same(current_rows(fitted), before)


def test_two_runs_exclude_each_other(fitted: Settings, catalog: Catalog) -> None:
    folder = vectors_dir(fitted, NAME, resolve_user_spec(NAME, fitted).digest)
    with only_writer(folder), pytest.raises(UnavailableError, match=r"another run is writing .*user_sequence"):
        run_users(NAME, fitted, catalog)
    assert counts(run_users(NAME, fitted, catalog)) == (USERS, 0)


def test_a_plan_in_small_frames_is_the_same(fitted: Settings, catalog: Catalog) -> None:
    spec = resolve_user_spec(NAME, fitted)
    whole = [user for _, users, _ in UserPlanner(fitted, catalog, spec, set()).frames() for user in users]
    parts = [user for _, users, _ in UserPlanner(fitted, catalog, spec, set()).frames(rows=20) for user in users]
    assert {u.user_id: u.fingerprint for u in parts} == {u.user_id: u.fingerprint for u in whole}
    assert len(parts) == USERS


@pytest.mark.crash
def test_a_killed_run_ends_in_the_same_bytes(
    fitted: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_events(fitted, late())
    home = fitted.home.with_name("undisturbed")
    shutil.copytree(fitted.home, home)
    undisturbed = fitted.model_copy(update={"home": home})
    with Catalog(undisturbed.catalog) as opened:
        run_users(NAME, undisturbed, opened)
    folder = vectors_dir(fitted, NAME, resolve_user_spec(NAME, fitted).digest)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.embedders.user_world"])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    for kept in (1, 2):
        child = context.Process(target=run_slowly, args=(fitted.home,))
        child.start()
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.parquet"))) < kept and child.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert len(files(fitted)) < len(files(undisturbed))
    assert 0 < count_users(NAME, fitted, catalog)[UserState.FRESH] < USERS
    report = run_users(NAME, fitted, catalog)
    assert report.encoded + report.fresh == USERS
    assert files(fitted) == files(undisturbed)
    assert not list(folder.glob(".writing-*"))
