"""Predict of contents that the store does not have: described and embedded on the spot, as if they had been ingested.

Facts, decoders and encoders are those of the batch steps, so a raw content scores as it would after those.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from embedders.media.guard import Guard
from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality
from feature_repo.datasets.video_folder import probe
from feature_repo.errors import InputError, MediaError
from feature_repo.schema import full_schema
from feature_repo.statistics import meta_row
from feature_repo.vectors import tokens_column
from grpc_api.answers.names import named
from grpc_api.answers.predict import of_predictor
from grpc_api.calls import Call
from grpc_api.messages.predict import PredictorScores, PredictQuery, RawContent, Status
from grpc_api.telemetry.record import stage
from predictors.loaded import Encoder, LoadedRelease

_SHARE = 0.8  # of what is left until the caller's deadline: scoring takes time too


@dataclass(frozen=True, slots=True)
class RawLimits:
    """What raw contents may cost: `seconds` a request for all their embeddings, bytes of a clip, and the folder below
    which clips are named (None: none are taken).
    """

    seconds: float = 2.0
    clip_bytes: int = 256 * 2**20
    clips_dir: Path | None = None


@dataclass(slots=True)
class _Candidate:
    """A raw content as the catalog would have it, and what was made of it: vectors and tokens by feature."""

    item: CatalogItem
    readable: bool = True
    vectors: dict[str, list[float]] = field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """Its features; of one that cannot be read, nothing but its id."""
        return (
            {**meta_row(self.item), **self.vectors} if self.readable else {"content_id": self.item.content.content_id}
        )


class RawContents:
    """Scores raw contents within limits. One thread at a time may use it."""

    def __init__(self, limits: RawLimits) -> None:
        self._limits = limits
        self._guard = Guard(1, limits.seconds)

    def predict(self, release: LoadedRelease, query: PredictQuery, call: Call) -> tuple[PredictorScores, ...]:
        """What each predictor says of the raw contents of a query.

        Embeddings that are not made in time are missing features. A content whose medium cannot be read has no score.
        Raises InputError for a clip that is none of the clips' folder, NotFoundError for an unknown predictor.
        """
        models = {name: named("predictor", name, release.models) for name in query.predictors}
        wanted = sorted({name for model in models.values() for name in model.predictor.embeddings})
        encoders = [release.encoders.get(name) for name in wanted]  # loaded once, whatever the budget is
        until = time.monotonic() + min(self._limits.seconds, _SHARE * call.remaining_s)
        with TemporaryDirectory(prefix="larder-raw-") as folder:
            candidates = [
                self._candidate(f"raw_contents[{number}]", raw, Path(folder, str(number)), until)
                for number, raw in enumerate(query.raw_contents)
            ]
            with stage("encode"):
                _embed(encoders, candidates, until, call)
        described = _described(candidates)
        ids = described["content_id"].to_list()
        services = {model.predictor.service for model in models.values()}
        read = {s: release.store.read(s, ids, query.user_id, described=described) for s in services}
        found = (of_predictor(name, model, read[model.predictor.service]) for name, model in models.items())
        return tuple(map(_unreadable, found))

    def _candidate(self, field: str, raw: RawContent, path: Path, until: float) -> _Candidate:
        """As the catalog would have it; the picture's bytes are put at `path`, where its embedders look for a file.

        A clip whose turn comes too late is left out.
        """
        content = Content(
            content_id=raw.content_id,
            title=raw.title,
            published_at=raw.published_at or datetime.now(UTC),
            description=raw.description,
            creator_id=raw.creator_id or None,
            tags=raw.tags,
            attributes={"language": raw.language} if raw.language else {},
        )
        media: dict[Modality, Path] = {}
        readable = True
        if raw.image:
            path.write_bytes(raw.image)
            media[Modality.IMAGE] = path
        if raw.clip:
            try:
                clip = self._clip(f"{field}.clip", raw.clip)
                if time.monotonic() < until:
                    streams = self._guard.call(probe, clip)
                    kinds = {Modality.VIDEO: streams.video, Modality.AUDIO: streams.audio}
                    media |= {modality: clip for modality, there in kinds.items() if there}
                    duration = {"duration_s": streams.duration_s} if streams.duration_s else {}
                    content = replace(content, attributes={**content.attributes, **duration})
            except MediaError:
                readable = False
        now = datetime.now(UTC)
        rows = {modality: MediaRow(place, "", now) for modality, place in media.items()}
        return _Candidate(CatalogItem(replace(content, media=media), now, rows), readable)

    def _clip(self, field: str, said: str) -> Path:
        """The file of a clip. Raises InputError for what is not below the folder of clips, MediaError where it cannot
        be read.
        """
        folder = self._limits.clips_dir
        if folder is None:
            raise InputError(f"{field}: this server takes no clips; it does where LARDER_CLIPS_DIR names their folder")
        try:
            path = (folder / said).resolve()
            if not path.is_relative_to(folder.resolve()):
                raise InputError(f"{field}: is no path below the folder of clips")
            if path.stat().st_size > self._limits.clip_bytes:
                raise MediaError("too large")
        except (OSError, ValueError, RuntimeError) as error:  # of a path with a zero byte, of links in a circle
            raise MediaError("file unreadable") from error
        return path


def beside(stored: Sequence[PredictorScores], raw: Sequence[PredictorScores]) -> tuple[PredictorScores, ...]:
    """What each predictor says of candidates of the store, and after them of raw ones."""
    return tuple(_joined(*pair) for pair in zip(stored, raw, strict=True)) if stored else tuple(raw)


def _joined(stored: PredictorScores, raw: PredictorScores) -> PredictorScores:
    count, nowhere = len(stored.scores), np.empty(0, np.intp)
    return replace(
        stored,
        statuses=np.concatenate([stored.statuses, raw.statuses]),
        scores=np.concatenate([stored.scores, raw.scores]),
        probabilities=np.concatenate([stored.probabilities, raw.probabilities]),
        classes=np.concatenate([stored.classes, raw.classes]),
        missing={
            name: np.concatenate([stored.missing.get(name, nowhere), count + raw.missing.get(name, nowhere)])
            for name in sorted({*stored.missing, *raw.missing})
        },
    )


def _embed(encoders: Sequence[Encoder], candidates: Iterable[_Candidate], until: float, call: Call) -> None:
    """One content after the other, so that those that are done in time are done wholly."""
    for candidate in candidates:
        call.check()
        for encoder in encoders:
            if not candidate.readable or time.monotonic() >= until:
                break
            _embed_one(encoder, candidate)


def _embed_one(encoder: Encoder, candidate: _Candidate) -> None:
    name, modality = encoder.spec.name, encoder.spec.modality
    try:
        vector, tokens = encoder.embed(candidate.item)
    except MediaError:
        # A clip without a sound, a content without a picture or a text: it lacks that embedding, as in the store
        given = modality in candidate.item.media
        candidate.readable = not (given and modality in (Modality.IMAGE, Modality.VIDEO))
        return
    candidate.vectors[name] = vector.tolist()
    if tokens is not None:
        candidate.vectors[tokens_column(name)] = tokens.tolist()


def _described(candidates: Sequence[_Candidate]) -> pl.DataFrame:
    """The features of the contents themselves, a row each, typed as in the store."""
    widths = {name: len(numbers) for candidate in candidates for name, numbers in candidate.vectors.items()}
    lists = {name: pl.Array(pl.Float32, width) for name, width in widths.items()}
    return pl.DataFrame([candidate.row() for candidate in candidates], schema={**full_schema("content_meta"), **lists})


def _unreadable(found: PredictorScores) -> PredictorScores:
    """A raw content that nothing is known of is one that could not be read."""
    statuses = np.where(found.statuses == Status.UNKNOWN_CONTENT, np.int32(Status.UNREADABLE), found.statuses)
    return replace(found, statuses=statuses)
