"""Commands from a dataset to features and indexes. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import StateError
from larder.engines import Engine
from larder.session import Json, utc, workspace


def fetch(
    source: Annotated[str, typer.Argument(help="youtube: any address that yt-dlp takes")],
    urls: Annotated[list[str], typer.Argument(help="Videos, playlists, channels or plain files.", metavar="URL")],
    out: Annotated[Path, typer.Option(help="Folder for clips, info.json, subtitles and pictures.")] = Path("clips"),
    limit: Annotated[int | None, typer.Option(help="Clips of each address at most; default: all.", min=1)] = None,
    max_height: Annotated[int, typer.Option(help="Lines of the picture at most, where there is a choice.")] = 480,
    rate: Annotated[str, typer.Option(help="Bytes a second at most, as 500K or 1M; default: no limit.")] = "",
    sleep: Annotated[float, typer.Option(help="Seconds between requests.", min=0)] = 1.0,
    subtitles: Annotated[str, typer.Option(help="Languages of subtitles, as en,de; empty for none.")] = "en",
    archive: Annotated[bool, typer.Option(help="Leave out what the folder's archive.txt lists as fetched.")] = True,
    as_json: Json = False,
) -> None:
    """Fetch clips from the web into a folder, politely; `larder ingest video_folder` reads it.

    What is private or removed is counted and skipped. A run that was stopped goes on where it was.
    You answer for the right to copy what you fetch. Needs yt-dlp: `pip install -e '.[fetch]'`.

    Example: `larder fetch youtube https://www.youtube.com/@channel --limit 50 --out clips`
    """
    from larder import show
    from larder.display import Display
    from larder.fetch import FetchOptions
    from larder.fetch import fetch as run

    languages = tuple(language.strip() for language in subtitles.split(",") if language.strip())
    options = FetchOptions(out, limit, max_height, rate, sleep, languages, archive)
    display = Display()
    with display.transfer(f"fetch {source}") as advance:
        report = run(source, urls, options, advance)
    show.fetch(display, report, as_json)
    report.require_success()


def ingest(
    dataset: Annotated[str, typer.Argument(help="movielens, pixelrec, microlens, video_folder or synthetic")],
    path: Annotated[Path | None, typer.Argument(help="Folder of the dataset; synthetic has none.")] = None,
    contents: Annotated[int | None, typer.Option(help="synthetic: how many contents")] = None,
    users: Annotated[int | None, typer.Option(help="synthetic: how many users")] = None,
    seed: Annotated[int | None, typer.Option(help="synthetic: seed of the world")] = None,
    as_json: Json = False,
) -> None:
    """Read a dataset into the catalog, the event log and the feature files.

    Rows that cannot be used are counted and listed with file and line; ingesting again adds nothing twice.

    Example: `larder ingest movielens data/ml-100k`
    """
    with workspace() as space:
        from larder import show, steps

        report = steps.ingest(space, dataset, path, contents=contents, users=users, seed=seed)
        show.ingest(space.display, report, as_json)


def embed(
    names: Annotated[list[str] | None, typer.Argument(help="Embedders; default: LARDER_EMBEDDINGS.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try broken media once more.")] = False,
    engine: Annotated[Engine, typer.Option(help="Where: in this process, or on a Ray cluster.")] = Engine.LOCAL,
    ray_address: Annotated[str, typer.Option(help="The cluster, HOST:PORT; default: RAY_ADDRESS, else this one.")] = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="Encode nothing: remove old versions that no one needs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Turn contents into vectors; only what is new or changed is encoded.

    Broken media is skipped and listed with its reason. A run that was killed goes on where it was. With another model
    or setting an embedding becomes a new version: it is filled beside the old one, which stays in use until
    `larder apply`, and is served until `larder release`. `--prune` removes versions that are neither in use, nor
    chosen by the settings, nor pinned by a release.

    Embeddings that are made of others' vectors (`aligned_*`) come after those. `user_sequence` makes vectors of users,
    in this process, and comes last.

    On Ray every node needs Larder and sees the workspace and the media under the same paths; this process plans
    and records, nodes may come and go.

    Example: `larder embed efficientnet_lite0 minilm`
    """
    with workspace() as space:
        from embedders.specs import bases_first
        from embedders.user_specs import USER_SPECS
        from larder import show, steps

        if prune:
            show.pruned(space.display, steps.prune(space), as_json)
            return
        chosen = engine.open(ray_address)
        wanted = names or space.settings.embeddings
        contents = bases_first([name for name in wanted if name not in USER_SPECS], space.settings)
        reports = [steps.embed(space, name, retry_failed, chosen) for name in contents]
        users = [steps.embed_users(space, name) for name in wanted if name in USER_SPECS]
        show.embed(space.display, reports, users, as_json)


def apply(as_json: Json = False) -> None:
    """Bring Feast's registry in line with the definitions and the embeddings that have been run.

    A new version of an embedding takes the old one's place here, once it is complete; `feast -c feature_repo apply`
    does the rest as well.

    Example: `larder apply`
    """
    with workspace() as space:
        from larder import show, steps

        show.apply(space.display, steps.apply(space), as_json)


def materialize(
    views: Annotated[list[str] | None, typer.Argument(help="Views; default: all that are applied.")] = None,
    start: Annotated[datetime | None, typer.Option(help="First event time (UTC); default: all.")] = None,
    end: Annotated[datetime | None, typer.Option(help="Last event time (UTC); default: now.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also views that are online as they are on disk.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the latest features of every content, creator and user into the online store.

    Views whose files have not changed are skipped. `feast -c feature_repo materialize` works as well.

    Example: `larder materialize content_meta minilm`
    """
    with workspace() as space:
        from larder import show, steps

        done = steps.materialize(space, views or (), utc(start), utc(end), force)
        show.materialize(space.display, done, as_json)


def index(
    embeddings: Annotated[list[str] | None, typer.Argument(help="Embeddings; default: all that were run.")] = None,
    kind: Annotated[str, typer.Option(help="auto, exact, hnsw or ivf, with parameters: hnsw:ef_search=256")] = "auto",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before.")] = False,
    prune: Annotated[bool, typer.Option("--prune", help="Build nothing: delete versions that no one needs.")] = False,
    keep: Annotated[int, typer.Option(help="With --prune: how many to keep of those last in use.", min=1)] = 2,
    as_json: Json = False,
) -> None:
    """Build a FAISS index of an embedding, measure its recall and publish it.

    An index whose recall@10 against exact search is under LARDER_RECALL_GATE is not published. `--prune` keeps what a
    release in use, or one to go back to, has pinned.

    Example: `larder index minilm --kind hnsw:ef_search=256`
    """
    with workspace() as space:
        from indexers import versions
        from larder import show, steps

        names = embeddings or list(space.catalog.embeddings())
        if not names:
            raise StateError("nothing is embedded yet: run `larder embed`")
        if prune:
            every = (*space.catalog.embeddings(), *space.catalog.user_ledger.embeddings())
            indexed = [name for name in every if versions.history(space.settings, name)]
            show.pruned(space.display, steps.prune_indexes(space, embeddings or indexed, keep), as_json)
            return
        if rollback:
            manifests = [versions.rollback(space.settings, name) for name in names]
        else:
            manifests = [steps.index(space, name, kind) for name in names]
        show.index(space.display, manifests, as_json)
