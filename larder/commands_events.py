"""Commands for what users did. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.errors import InputError
from larder.session import Json, workspace

if TYPE_CHECKING:
    import polars as pl

Address = Annotated[str, typer.Option(help="Server to tell, HOST:PORT; default: where `larder serve` binds.")]

MOST_SHOWN = 20


def log(
    file: Annotated[Path, typer.Argument(help="Events: FILE.parquet, or FILE.jsonl with an object a line.")],
    address: Address = "",
    patience: Annotated[float, typer.Option(help="Seconds without an answer until it gives up.", min=0)] = 30.0,
    as_json: Json = False,
) -> None:
    """Tell the server what users did: when this returns, it is durable and the next answers know of it.

    Columns are `user_id`, `content_id`, `event` (impression, view, like, share, comment, rating), `timestamp` (UTC),
    and where there is one `value` (seconds of a view, stars of a rating), `request_id` (of the call that showed the
    content) and `event_id`. An event is known by its `event_id`, or by what it says: sending a file again adds
    nothing, so after an error run the same command again.

    Example: `larder log events.jsonl`
    """
    with workspace() as space:
        from feature_repo.events import from_frame
        from grpc_api.client import Scorer
        from larder.display import print_json

        frame = _read(file)
        with Scorer.of(space.settings, address) as scorer, space.display.bar(f"log {file.name}") as advance:
            said = scorer.log(from_frame(frame), patience, lambda told: advance(told.offset, frame.height))
        if as_json:
            print_json(said)
            return
        counts = {"new": said.accepted, "known": said.duplicates, "refused": len(said.rejected)}
        space.display.facts(f"log {file.name}", counts)
        for one in said.rejected[:MOST_SHOWN]:
            space.display.note(f"  {one.event_id}: {one.reason}")


def compact(as_json: Json = False) -> None:
    """Put the events that servers took into a Parquet segment, and count all events into the features for training.

    Nothing waits for it: servers keep online features up to date, and seal segments themselves once these are large.
    Run it before a training that is to know the latest events.

    Example: `larder compact`
    """
    with workspace() as space:
        from feature_repo.recorder import Recorder
        from feature_repo.statistics import write_statistics
        from larder.display import print_json

        with space.display.stages("compact") as stage:
            recorder = Recorder(space.settings, space.store.push)
            sealed = recorder.seal()
            recorder.close()
            for view in write_statistics(space.settings, space.catalog):
                stage(view)
        if as_json:
            print_json({"events": sealed})
            return
        space.display.facts("compact", {"events": sealed})


def _read(file: Path) -> pl.DataFrame:
    import polars as pl

    readers: dict[str, Callable[[Path], pl.DataFrame]] = {".parquet": pl.read_parquet, ".jsonl": pl.read_ndjson}
    if file.suffix not in readers:
        raise InputError(f"{file}: is neither .parquet nor .jsonl")
    try:
        return readers[file.suffix](file)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason, *_ = str(error).splitlines()
        raise InputError(f"{file}: cannot be read as {file.suffix}: {reason}") from error
