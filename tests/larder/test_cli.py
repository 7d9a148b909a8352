"""The command line, from help to an answer from the server: output, exit codes and what errors say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from feature_repo.schema import VIEWS
from feature_repo.settings import load_settings
from larder.cli import app
from tests.larder.shell import ROOT, Outcome, Shell

CONTENTS, USERS = 60, 12
EMBEDDINGS = ["efficientnet_lite0", "minilm"]
NOBODY = "127.0.0.1:1"  # nothing listens there
COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)

# The main job, in order: name -> arguments
JOB: dict[str, tuple[str, ...]] = {
    "ingest": ("ingest", "synthetic", "--contents", str(CONTENTS), "--users", str(USERS), "--seed", "3"),
    "embed": ("embed",),
    "embed again": ("embed",),
    "apply": ("apply",),
    "materialize": ("materialize",),
    "materialize again": ("materialize",),
    "index": ("index",),
    "train": ("train", "--iterations", "10"),
    "train again": ("train", "--iterations", "10"),
    "release": ("release",),
    "status": ("status",),
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("cli") / "home")


@pytest.fixture(scope="module")
def job(shell: Shell) -> dict[str, Any]:
    """What each step of the main job says with --json."""
    return {name: shell.ok(*arguments, "--json").json for name, arguments in JOB.items()}


@pytest.fixture(scope="module")
def address(job: dict[str, Any], shell: Shell, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with shell.serving(tmp_path_factory.mktemp("serve")) as address:
        yield address


@pytest.fixture(scope="module")
def content_id(job: dict[str, Any], shell: Shell) -> str:
    with Catalog(load_settings(home=shell.home).catalog) as catalog:
        return next(catalog.items()).content.content_id


@pytest.fixture(scope="module")
def picture(content_id: str, shell: Shell) -> Path:
    with Catalog(load_settings(home=shell.home).catalog) as catalog:
        return catalog.get([content_id])[content_id].media[Modality.IMAGE].path


class TestMainJob:
    def test_ingest_counts(self, job: dict[str, Any]) -> None:
        said = job["ingest"]
        assert said["contents"] == {"added": CONTENTS, "changed": 0, "same": 0}
        assert (said["dataset"], said["users"], said["rejected"]) == ("synthetic", USERS, 0)
        assert said["events"] > CONTENTS

    def test_embed_encodes_everything_once(self, job: dict[str, Any]) -> None:
        first = [(r["embedding"], r["encoded"], r["fresh"], r["failed"]) for r in job["embed"]]
        assert first == [(name, CONTENTS, 0, {}) for name in EMBEDDINGS]
        second = [(r["embedding"], r["encoded"], r["fresh"], r["failed"]) for r in job["embed again"]]
        assert second == [(name, 0, CONTENTS, {}) for name in EMBEDDINGS]

    def test_views_are_applied_and_brought_online_once(self, job: dict[str, Any]) -> None:
        views = sorted([*VIEWS, *EMBEDDINGS])
        assert job["apply"] == {
            "views": views,
            "services": ["end_to_end", "fusion", "interest", "popularity"],
            "removed": [],
        }
        assert job["materialize"] == [{"view": view, "fresh": False} for view in views]
        assert job["materialize again"] == [{"view": view, "fresh": True} for view in views]

    def test_index_says_how_good_it_is(self, job: dict[str, Any]) -> None:
        for name, manifest in zip(EMBEDDINGS, job["index"], strict=True):
            assert (manifest["embedding"], manifest["count"], manifest["recall"]) == (name, CONTENTS, 1.0)

    def test_training_is_measured_and_not_repeated(self, job: dict[str, Any]) -> None:
        first, second = job["train"], job["train again"]
        assert (first["fresh"], second["fresh"], first["version"]) == (False, True, second["version"])
        assert {"r2", "accuracy", "weighted_kappa"} <= first["manifest"]["metrics"].keys()
        assert first["manifest"]["baselines"].keys() == {"mean", "metadata_only"}
        assert sum(first["manifest"]["rows"].values()) == CONTENTS

    def test_release_pins_what_was_made(self, job: dict[str, Any]) -> None:
        said = job["release"]
        assert said["predictors"]["popularity"]["version"] == job["train"]["version"]
        assert said["indexes"] == {manifest["embedding"]: manifest["version"] for manifest in job["index"]}

    def test_status_sums_it_up(self, job: dict[str, Any], shell: Shell) -> None:
        said = job["status"]
        assert (said["home"], said["contents"], said["users"]) == (str(shell.home), CONTENTS, USERS)
        states = ("in_use", "chosen", "fresh", "stale", "failed", "missing", "reasons")
        assert [(e["name"], *(e[state] for state in states)) for e in said["embeddings"]] == [
            (name, True, True, CONTENTS, 0, 0, 0, {}) for name in EMBEDDINGS
        ]
        assert said["encoders"] == {}
        assert said["current_release"] == job["release"]["version"]
        assert said["releases"] == [job["release"]["version"]]
        assert said["models"] == {"popularity": job["train"]["version"]}
        assert said["indexes"] == job["release"]["indexes"]

    @pytest.mark.parametrize("step", [name for name in JOB if "again" not in name and name != "ingest"])
    def test_people_get_a_table_of_it(self, job: dict[str, Any], shell: Shell, step: str) -> None:
        said = shell.ok(*JOB[step]).out
        told = {"embed": "minilm", "apply": "services", "materialize": "fresh already", "index": "recall@10"}
        told |= {"train": "trained before", "release": job["release"]["version"], "status": str(shell.home)}
        assert told[step] in said

    def test_old_indexes_go_but_for_what_a_release_pins(self, job: dict[str, Any], shell: Shell) -> None:
        pinned = job["release"]["indexes"]["minilm"]
        older, newer = (shell.ok("index", "minilm", "--kind", f"hnsw:m={m}", "--json").json[0] for m in (16, 24))
        gone = shell.ok("index", "minilm", "--prune", "--keep", "1", "--json").json
        assert gone == [{"name": "minilm", "version": older["version"]}]
        assert shell.ok("index", "minilm", "--rollback", "--json").json[0]["version"] == pinned != newer["version"]


class TestAskingTheServer:
    def test_predict(self, shell: Shell, job: dict[str, Any], address: str, content_id: str) -> None:
        known, unknown = shell.ok("predict", content_id, "nobody", "--address", address, "--json").json
        assert (known["content_id"], known["status"], known["missing_features"]) == (content_id, 1, [])
        assert sum(known["probabilities"]) == pytest.approx(1, abs=1e-5)
        assert known["predicted_class"] in range(5)
        assert (unknown["status"], unknown["score"], unknown["predicted_class"]) == (2, None, None)
        table = shell.ok("predict", content_id, "nobody", "--address", address).out
        assert f"{known['score']:.4g}" in table
        assert "unknown_content" in table

    def test_similar_to_a_content(self, shell: Shell, job: dict[str, Any], address: str, content_id: str) -> None:
        said = shell.ok("similar", content_id, "-k", "3", "--address", address, "--json").json
        assert said["release"] == job["release"]["version"]
        assert len(said["neighbours"]) == 3
        assert content_id not in [n["content_id"] for n in said["neighbours"]]
        scores = [n["score"] for n in said["neighbours"]]
        assert scores == sorted(scores, reverse=True)
        table = shell.ok("similar", content_id, "-k", "3", "--address", address).out
        assert said["neighbours"][0]["title"] in table

    def test_similar_to_a_text(self, shell: Shell, address: str, content_id: str) -> None:
        with Catalog(load_settings(home=shell.home).catalog) as catalog:
            text = catalog.get([content_id])[content_id].content.text
        said = shell.ok("similar", "--text", text, "--address", address, "--json").json
        assert [one["embedding"] for one in said["indexes"]] == ["minilm"]
        assert said["neighbours"][0]["score"] == pytest.approx(1, abs=1e-4)
        assert content_id in [n["content_id"] for n in said["neighbours"]]

    def test_similar_to_a_picture(self, shell: Shell, address: str, content_id: str, picture: Path) -> None:
        said = shell.ok(
            "similar", "--image", picture, "--embedding", EMBEDDINGS[0], "--address", address, "--json"
        ).json
        assert [one["embedding"] for one in said["indexes"]] == [EMBEDDINGS[0]]
        assert (said["neighbours"][0]["content_id"], len(said["neighbours"])) == (content_id, 10)

    def test_similar_to_several_contents_by_several_embeddings(self, shell: Shell, address: str) -> None:
        with Catalog(load_settings(home=shell.home).catalog) as catalog:
            items = [item.content for item in catalog.items()]
        years = {content.content_id: content.attributes.get("year", content.published_at.year) for content in items}
        ids, year = list(years)[:2], max(years.values())
        weights = ("--embedding", f"{EMBEDDINGS[0]}=3", "--embedding", EMBEDDINGS[1])
        only = ("--filter", f"published_year={year}..")
        said = shell.ok("similar", *ids, *weights, *only, "-k", "3", "--address", address, "--json").json
        assert [(one["embedding"], one["weight"]) for one in said["indexes"]] == [
            (EMBEDDINGS[0], 0.75),
            (EMBEDDINGS[1], 0.25),
        ]
        assert said["neighbours"]
        assert all(years[one["content_id"]] == year for one in said["neighbours"])

    def test_filters_that_nothing_passes_are_named(self, shell: Shell, address: str, content_id: str) -> None:
        for command in (("similar", content_id), ("recommend", "nobody")):
            said = shell.ok(*command, "--filter", "language=none", "--address", address)
            assert "no content is left after filters and exclusions" in said.err

    def test_describe(self, shell: Shell, address: str) -> None:
        said = shell.ok("describe", "--address", address, "--json").json
        assert [one["name"] for one in said["predictors"]] == ["popularity"]
        tables = shell.ok("describe", "--address", address).out
        named = [said["release"], *(one["version"] for one in said["predictors"] + said["indexes"])]
        assert all(name in tables for name in [*named, *(one["spec_digest"] for one in said["embeddings"])])
        assert f"{said['limits']['candidates']:,}" in tables

    def test_recommend(self, shell: Shell, address: str, content_id: str) -> None:
        said = shell.ok("recommend", "nobody", "-k", "4", "--exclude", content_id, "--address", address, "--json").json
        assert (said["source"], said["predictor"], len(said["recommendations"])) == (3, "popularity", 4)
        assert content_id not in [one["content_id"] for one in said["recommendations"]]
        table = shell.ok("recommend", "nobody", "-k", "4", "--address", address).out
        assert "scored by popularity, found by popular" in table

    @pytest.mark.parametrize(
        ("code", "arguments", "words"),
        [
            (3, ("similar", "x", "--filter", "colour=red"), "'colour' is no fact of contents"),
            (3, ("similar", "x", "--embedding", "minilm=much"), "write NAME or NAME=WEIGHT"),
            (3, ("recommend", "u", "--diversity", "2"), "diversity: 2.0 is not from 0 to 1"),
            (4, ("recommend", "u", "--predictor", "weather"), "there are: popularity"),
            (3, ("similar", "--image", "BROKEN"), "image: "),
            (3, ("similar", "x", "--text", "y"), "query: give one of"),
            (3, ("similar",), "query: give one of"),
            (3, ("similar", "x", "-k", "99999"), "k: 99999 is more than"),
            (4, ("similar", "nobody"), "has no content 'nobody'"),
            (4, ("similar", "x", "--embedding", "huge"), "there are: efficientnet_lite0, minilm"),
            (4, ("predict", "x", "--predictor", "weather"), "there are: popularity"),
        ],
    )
    def test_refusals(
        self, shell: Shell, address: str, tmp_path: Path, code: int, arguments: tuple[str, ...], words: str
    ) -> None:
        broken = tmp_path / "broken.jpg"
        broken.write_bytes(b"no picture")
        given = [str(broken) if argument == "BROKEN" else argument for argument in arguments]
        _refused(shell(*given, "--address", address), code, words)


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "arguments", "words"),
        [
            (2, ("ingest", "nosuch"), "valid: microlens, movielens, pixelrec, synthetic, video_folder"),
            (2, ("ingest", "movielens"), "needs the path of its folder"),
            (2, ("ingest", "movielens", "no/such/folder"), "there is no folder no/such/folder"),
            (2, ("ingest", "synthetic", "--contents", "0"), "give at least 1"),
            (2, ("embed", "nosuch"), "unknown embedding 'nosuch'; valid: "),
            (2, ("embed", "--ray-address", "127.0.0.1:1"), "--ray-address is for --engine ray"),
            (2, ("train", "nosuch"), "valid: "),
            (2, ("train", "--epochs", "3"), "popularity is none"),
            (2, ("train", "conv3d", "--iterations", "3"), "conv3d is none"),
            (6, ("train", "conv3d"), "none of 0 clips has a counter"),
            (6, ("train", "user_sequence"), "run `larder embed"),
            (2, ("train", "--split", "nosuch"), "global, random, time"),
            (2, ("train", "--set", "dept=3"), "did you mean depth?"),
            (2, ("train", "--set", "depth=x"), "depth: input should be a valid integer"),
            (2, ("train", "--config", "no/such.toml"), "no/such.toml: No such file"),
            (2, ("train", "conv3d", "--tune", "3"), "--tune is for predictors, and conv3d is none"),
            (2, ("evaluate", "nosuch"), "unknown predictor 'nosuch'; valid: "),
            (2, ("evaluate", "popularity", "--config", "a.toml"), "write PREDICTOR=FILE"),
            (6, ("evaluate", "popularity"), "run `larder ingest`"),
            (6, ("apply",), "run `larder ingest"),
            (6, ("materialize",), "run `larder apply`"),
            (6, ("index", "minilm"), "run `larder embed minilm`"),
            (6, ("index",), "run `larder embed"),
            (6, ("index", "minilm", "--rollback"), "run `larder index minilm`"),
            (6, ("train",), "run `larder ingest`"),
            (6, ("release",), "run `larder train popularity`"),
            (6, ("release", "--rollback"), "no earlier release"),
            (6, ("serve", "--port", "0"), "run `larder release`"),
            (8, ("predict", "x", "--address", NOBODY), "`larder serve`"),
            (8, ("similar", "x", "--address", NOBODY), "`larder serve`"),
            (2, ("similar", "x", "--address", "localhost"), "address 'localhost': write HOST:PORT"),
            (2, ("health", "--address", "localhost:some"), "write HOST:PORT"),
            (2, ("describe", "--address", "localhost:65536"), "write HOST:PORT"),
            (3, ("similar", "--image", "no/such.jpg", "--address", NOBODY), "no/such.jpg"),
            (3, ("similar", "x", "-k", "9999999999", "--address", NOBODY), "Value out of range"),
        ],
    )
    def test_an_empty_workspace(self, tmp_path: Path, code: int, arguments: tuple[str, ...], words: str) -> None:
        _refused(Shell(tmp_path / "home")(*arguments), code, words)

    @pytest.mark.parametrize(
        ("code", "arguments", "words"),
        [
            (2, ("index", "minilm", "--kind", "nosuch"), "exact"),
            (2, ("index", "minilm", "--kind", "hnsw:ef_search=none"), "ef_search"),
            (3, ("materialize", "nosuch"), "applied: content_meta"),
            (6, ("index", "nosuch"), "run `larder embed nosuch`"),
            (6, ("release", "--rollback"), "no earlier release"),
            (7, ("index", "minilm", "--kind", "hnsw:m=2,ef_search=1"), "lower LARDER_RECALL_GATE"),
        ],
    )
    def test_a_full_workspace(
        self, job: dict[str, Any], shell: Shell, code: int, arguments: tuple[str, ...], words: str
    ) -> None:
        _refused(shell(*arguments, recall_gate=1.0), code, words)

    @pytest.mark.parametrize(
        ("settings", "code", "words"),
        [
            ({"batch_size": "many"}, 2, "LARDER_BATCH_SIZE"),
            ({"seed": -1}, 2, "LARDER_SEED"),
            ({"tokens": "minilm"}, 2, "LARDER_TOKENS"),
            ({"catalog_url": "mysql://x/y"}, 2, "postgresql+psycopg"),
            ({"catalog_url": "sqlite:////proc/nowhere/catalog.db"}, 8, "/proc/nowhere"),
        ],
    )
    def test_settings(self, tmp_path: Path, settings: dict[str, object], code: int, words: str) -> None:
        _refused(Shell(tmp_path / "home")("status", **settings), code, words)

    @pytest.mark.parametrize(
        ("settings", "code", "words"),
        [
            ({"models": "clop=ViT-B-32@openai"}, 2, "no model family 'clop'; nearest: clip"),
            ({"models": "clip=ViT-B-32"}, 5, "Set LARDER_MODELS=clip=MODEL@/path/to/checkpoint"),
            ({"models": "clip=RN50@openai", "tokens": "clip_image=4"}, 2, "clip_image has none to give"),
        ],
    )
    def test_models(self, tmp_path: Path, settings: dict[str, object], code: int, words: str) -> None:
        _refused(Shell(tmp_path / "home")("embed", "clip_image", **settings), code, words)

    def test_a_workspace_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")
        _refused(Shell(tmp_path / "file" / "home")("status"), 8, str(tmp_path / "file"))

    def test_an_unknown_release_is_not_served(self, job: dict[str, Any], shell: Shell, tmp_path: Path) -> None:
        pointer = shell.home / "releases" / "CURRENT"
        before = pointer.read_text()
        pointer.write_text("0123456789abcdef\n")
        try:
            outcome = shell("serve", "--port", "0", "--port-file", tmp_path / "port")
        finally:
            pointer.write_text(before)
        _refused(outcome, 4, f"there are: {job['release']['version']}")

    def test_usage(self, tmp_path: Path) -> None:
        shell = Shell(tmp_path / "home")
        for arguments in (("nosuch",), ("embed", "--nosuch"), ("predict",), ("similar", "x", "-k", "many")):
            outcome = shell(*arguments)
            assert (outcome.code, outcome.out) == (2, "")
            assert "Traceback" not in outcome.err
        assert not shell.home.exists()


def _refused(outcome: Outcome, code: int, words: str) -> None:
    """The exit code of the kind, and one line on standard error alone that says what and the mend."""
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert re.fullmatch(r"larder: [^\n]+\n", outcome.err), outcome.err
    assert words in outcome.err


class TestHelp:
    def test_the_commands_are_those_of_the_main_job_and_around_it(self) -> None:
        around = {"compact", "log", "fetch", "serve", "predict", "similar", "demo", "evaluate", "report", "explain"}
        around |= {"recommend", "describe", "health", "drift"}
        assert set(COMMANDS) == {name.split()[0] for name in JOB} | around

    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_an_example_of_itself(self, command: str, tmp_path: Path) -> None:
        said = shell_help(tmp_path, command)
        example = re.search(r"Example: (larder .*)", said)
        assert example, said
        assert example[1].split()[1] == command

    def test_the_main_job_is_told_in_order(self, tmp_path: Path) -> None:
        said = shell_help(tmp_path)
        order = ("ingest", "embed", "apply", "materialize", "index", "train", "release", "serve", "predict", "similar")
        assert re.search(".*".join(order), said, re.DOTALL)
        assert "larder demo" in said

    def test_help_loads_no_heavy_library(self) -> None:
        code = (
            "import json, sys\nfrom larder.cli import main\n"
            "try:\n    main(['--help'])\nexcept SystemExit:\n    print('LOADED', json.dumps(sorted(sys.modules)))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        loaded = json.loads(done.stdout.rpartition("LOADED")[2])
        assert "larder.cli" in loaded
        heavy = ("torch", "feast", "catboost", "faiss", "grpc", "numpy", "pandas", "polars", "pyarrow", "sqlalchemy")
        assert not set(heavy) & set(loaded)


def shell_help(folder: Path, *command: str) -> str:
    """What --help says, its markup and boxes left out."""
    shell = Shell(folder / "home")
    said = shell.ok(*command, "--help").out
    assert not shell.home.exists()
    return re.sub(r"\x1b\[[0-9;]*m|[│`]", "", said)
