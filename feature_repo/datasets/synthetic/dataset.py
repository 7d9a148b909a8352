"""The made data set: a feed whose rules are known, so that what a model finds can be held against the truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np

from feature_repo.contracts import Content, Interaction, Modality, User, require_utc
from feature_repo.datasets.base import Rejects
from feature_repo.datasets.synthetic import world as rules
from feature_repo.datasets.synthetic.clips import save_mp4
from feature_repo.datasets.synthetic.events import EVENTS, Events, draw_days
from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.render import picture, save_jpeg
from feature_repo.datasets.synthetic.sound import save_wav, waveform
from feature_repo.datasets.synthetic.titles import tags, write
from feature_repo.datasets.synthetic.world import Coefficients, Ints, Truth, World, stream
from feature_repo.errors import ConfigurationError
from feature_repo.files import replacing, sweep, write_json

START = datetime(2025, 1, 1, tzinfo=UTC)
COUNTRIES = ("BR", "DE", "FR", "IN", "JP", "KE", "MX", "PL", "US", "VN")
_RENDERER = 1  # raise it when a change alters the media's bytes, so that files of old are not taken for new ones
_CHUNK = 65_536  # events turned into objects at a time


class Synthetic:
    """A deterministic feed of any size: the same arguments give the same rows and the same bytes of media.

    A content's appeal is a known sum (`world.Coefficients`) and each part shows in one place only: image quality in
    the picture, title appeal in the words, energy in the sound, skill in what else the creator made. Users' tastes
    drift. Their age and country, and contents' durations, mean nothing. Media lie below `media_dir`, are made as
    `contents` comes to them and are found again later; a `clip_share` of the contents also has a clip. `contents`
    writes the causes to `truth` beside `media_dir`, where no `Content` leads. Raises ConfigurationError.
    """

    name = "synthetic"

    def __init__(
        self,
        contents: int = 2000,
        users: int = 500,
        seed: int = 0,
        *,
        media_dir: Path,
        days: int = 60,
        start: datetime = START,
        clips: bool = True,
        clip_share: float = 0.25,
        image_size: int = 224,
        coefficients: Coefficients = World.coefficients,
    ) -> None:
        least = {"contents": (contents, 1), "users": (users, 1), "seed": (seed, 0), "days": (days, 1)}
        for name, (value, bound) in (least | {"image_size": (image_size, 32)}).items():
            if value < bound:
                raise ConfigurationError(f"synthetic: {name} is {value}; give at least {bound}")
        if not 0.0 <= clip_share <= 1.0:
            raise ConfigurationError(f"synthetic: clip_share is {clip_share}; give a share between 0 and 1")
        require_utc("start", start)
        self.rejects = Rejects()
        self.missing_media: Counter[Modality] = Counter()
        self._world = World(contents, users, seed, days, coefficients)
        self._start = start
        self._clip_share = clip_share if clips else 0.0
        self._image_size = image_size
        self._truth_dir = media_dir.parent / "truth"
        self._media_dir = media_dir / f"v{_RENDERER}-seed{seed}-{image_size}px"

    @property
    def world(self) -> World:
        """The causes and laws behind the feed."""
        return self._world

    @property
    def truth(self) -> Truth:
        """The causes behind contents and users, row by row in the order of `contents` and `users`."""
        return self._world.truth

    def contents(self) -> Iterator[Content]:
        """All contents by id, each with its media on disk."""
        for folder in (self._truth_dir, *(self._media_dir / modality.value for modality in Modality)):
            sweep(folder)
        self._write_truth()
        yield from map(self._content, range(self._world.contents))

    def users(self) -> Iterator[User]:
        """All users by id."""
        generator = stream(self._world.seed, "users")
        for index in range(self._world.users):
            age, country = int(generator.integers(14, 80)), COUNTRIES[int(generator.integers(len(COUNTRIES)))]
            yield User(user_id(index), {"age": float(age), "country": country})

    def interactions(self) -> Iterator[Interaction]:
        """All events in time order, drawn a day at a time."""
        for day in draw_days(self._world):
            for first in range(0, len(day.time), _CHUNK):
                yield from self._objects(day.take(slice(first, first + _CHUNK)))

    def _objects(self, events: Events) -> Iterator[Interaction]:
        columns = (getattr(events, name).tolist() for name in Events.__slots__)
        for time, user, content, kind, value in zip(*columns, strict=True):
            when = self._start + timedelta(microseconds=time)
            yield Interaction(user_id(user), content_id(content), EVENTS[kind], when, value)

    @cached_property
    def _counts(self) -> Ints:
        """Events of each content by kind, (contents, len(EVENTS)): a first pass over the log, which is not kept."""
        counts = np.zeros((self._world.contents, len(EVENTS)), np.int64)
        for day in draw_days(self._world):
            np.add.at(counts, (day.content, day.kind), 1)
        return counts

    def _content(self, index: int) -> Content:
        world, subject = self._world, self._world.subject(index)
        title, description = write(subject, float(self.truth.title_appeal[index]), stream(world.seed, "title", index))
        published = self._start + timedelta(microseconds=int(world.published[index] * 86_400_000_000))
        return Content(
            content_id=content_id(index),
            title=title,
            description=description,
            published_at=published,
            creator_id=f"creator-{world.creator[index]:05d}",
            tags=tags(subject, stream(world.seed, "tags", index)),
            attributes={"language": "en", "year": float(published.year), "duration_s": float(world.duration[index])},
            counters={f"{kind}s": float(count) for kind, count in zip(EVENTS, self._counts[index], strict=True)},
            media=self._media(index),
        )

    def _media(self, index: int) -> Mapping[Modality, Path]:
        """Paths of the content's media; those that are not there yet are made."""
        seed, name, subject = self._world.seed, content_id(index), self._world.subject(index)
        paths = {
            Modality.IMAGE: self._media_dir / "image" / f"{name}.jpg",
            Modality.AUDIO: self._media_dir / "audio" / f"{name}.wav",
        }
        if stream(seed, "clip", index).random() < self._clip_share:
            paths[Modality.VIDEO] = self._media_dir / "video" / f"{name}.mp4"
        absent = {modality for modality, path in paths.items() if not _there(path)}
        if absent & {Modality.IMAGE, Modality.VIDEO}:
            quality = float(self.truth.image_quality[index])
            image = picture(subject, quality, self._image_size, stream(seed, "image", index))
        if absent & {Modality.AUDIO, Modality.VIDEO}:
            sound = waveform(subject, float(self.truth.sound_energy[index]), stream(seed, "audio", index))
        if Modality.IMAGE in absent:
            save_jpeg(paths[Modality.IMAGE], image)
        if Modality.AUDIO in absent:
            save_wav(paths[Modality.AUDIO], sound)
        if Modality.VIDEO in absent:
            save_mp4(paths[Modality.VIDEO], image, sound, stream(seed, "video", index))
        return paths

    def _write_truth(self) -> None:
        world = self._world
        responses = {"view": rules.VIEW, "like": rules.LIKE, "share": rules.SHARE, "comment": rules.COMMENT}
        responses["watched"] = rules.WATCHED
        about = {
            "world": {"contents": world.contents, "users": world.users, "seed": world.seed, "days": world.days},
            "coefficients": asdict(world.coefficients),
            "responses": {name: asdict(response) for name, response in responses.items()},
            "topics": [topic.name for topic in TOPICS],
        }
        write_json(self._truth_dir / "truth.json", about)
        with replacing(self._truth_dir / "truth.npz") as beside:
            np.savez(beside, **{name: getattr(self.truth, name) for name in Truth.__slots__})


def _there(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def content_id(index: int) -> str:
    """Name of the content at a row of `Truth`."""
    return f"content-{index:07d}"


def user_id(index: int) -> str:
    """Name of the user at a row of `Truth.tastes_start`."""
    return f"user-{index:06d}"
