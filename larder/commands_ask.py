"""Commands that ask the server what to show. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import InputError, UnavailableError
from larder.commands_models import Address
from larder.filters import HELP, parse_filters
from larder.session import Json, read_file, workspace

Filters = Annotated[list[str] | None, typer.Option("--filter", help=HELP, metavar="FILTER")]


_PAUSE_S = 0.2  # between two questions of `health`


def similar(
    contents: Annotated[list[str] | None, typer.Argument(help="Contents to start from; several: near to all.")] = None,
    text: Annotated[str | None, typer.Option(help="Start from a text instead.")] = None,
    image: Annotated[Path | None, typer.Option(help="Start from a picture file instead.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.", min=1)] = 10,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            help="Which embedding, or several with weights; default: the release's for this query.",
            metavar="NAME[=WEIGHT]",
        ),
    ] = None,
    filters: Filters = None,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Ask the server for the nearest contents to contents, a text or a picture.

    Example: `larder similar 50 95 --embedding minilm=2 --embedding efficientnet_lite0 --filter duration_s=..60`

    Example: `larder similar --text "a cat on a skateboard" -k 5 --filter language=en`
    """
    with workspace() as space:
        from grpc_api.client import Scorer
        from larder import show

        ids = contents or []
        with Scorer.of(space.settings, address) as scorer:
            found = scorer.similar(
                content_id=ids[0] if len(ids) == 1 else None,
                contents=ids if len(ids) > 1 else None,
                text=text,
                image=None if image is None else read_file(image),
                embeddings=_weights(embedding or ()),
                k=k,
                filters=parse_filters(filters or ()),
            )
        show.similarities(space.display, found, as_json)


def recommend(
    user: Annotated[str, typer.Argument(help="For whom.")],
    k: Annotated[int, typer.Option("-k", help="How many contents.", min=1)] = 10,
    predictor: Annotated[str, typer.Option(help="Which predictor scores; default: the release's for users.")] = "",
    embedding: Annotated[
        str, typer.Option(help="Which embedding finds candidates; default: the user's own, else the release's.")
    ] = "",
    pool: Annotated[int, typer.Option(help="Candidates found and scored; default: 10 k, 200 at least.", min=0)] = 0,
    diversity: Annotated[float, typer.Option(help="0: the best scores only; 1: the most unlike contents.")] = 0.2,
    exclude: Annotated[list[str] | None, typer.Option(help="A content that is not wanted; repeatable.")] = None,
    seen: Annotated[bool, typer.Option("--seen", help="Contents that the user met may come again.")] = False,
    filters: Filters = None,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Ask the server what to show a user next.

    Example: `larder recommend u17 -k 5 --filter language=en --filter published_at=2024-01-01..`
    """
    with workspace() as space:
        from grpc_api.client import Scorer
        from grpc_api.messages.recommend import RecommendQuery
        from larder import show

        query = RecommendQuery(
            user, predictor, embedding, k, pool, parse_filters(filters or ()), tuple(exclude or ()), seen, diversity
        )
        with Scorer.of(space.settings, address) as scorer:
            show.recommendations(space.display, scorer.recommend(query), as_json)


def describe(address: Address = "", as_json: Json = False) -> None:
    """Ask the server what it answers from: its release, predictors, embeddings, indexes, and what a request may ask.

    Example: `larder describe`
    """
    with workspace() as space:
        from grpc_api.client import Scorer
        from larder import show

        with Scorer.of(space.settings, address) as scorer:
            show.description(space.display, scorer.describe(), as_json)


def health(
    part: Annotated[str, typer.Argument(help="A part of it: store, index/NAME, predictor/NAME; default: all.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds in which it may come to answer.", min=0)] = 0.0,
    address: Address = "",
) -> None:
    """Ask the server whether it answers requests; exit code 8 where it does not.

    Needs no token. Where it says no, ask for the parts by name, and look into the server's log.

    Example: `larder health --wait 60 && larder health predictor/popularity`
    """
    with workspace() as space:
        from grpc_api.client import Scorer

        until = time.monotonic() + wait
        with Scorer.of(space.settings, address) as scorer:
            while not scorer.ready(part):
                if time.monotonic() >= until:
                    raise UnavailableError(f"{part or 'the server'} at {scorer.address} does not answer requests")
                time.sleep(_PAUSE_S)
            space.display.note(f"{part or 'the server'} at {scorer.address} answers requests")


def _weights(said: Sequence[str]) -> dict[str, float]:
    """`NAME` and `NAME=WEIGHT`, each name once. Raises InputError."""
    weights: dict[str, float] = {}
    for one in said:
        name, equals, weight = one.partition("=")
        if name in weights:
            raise InputError(f"embedding {name!r} is named twice")
        try:
            weights[name] = float(weight) if equals else 1.0
        except ValueError:
            raise InputError(f"embedding {one!r}: write NAME or NAME=WEIGHT, a weight being a number") from None
    return weights
