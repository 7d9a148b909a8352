"""The `NAME.info.json` that yt-dlp writes beside a clip; its fields: https://github.com/yt-dlp/yt-dlp#output-template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from feature_repo.datasets.base import Report
from feature_repo.datasets.fields import count, date, optional, seconds, text
from feature_repo.datasets.rows import Row

T = TypeVar("T")

MAX_BYTES = 2**26
"""Room for a video's comments, which some have yt-dlp put into the file."""

COUNTERS = {"views": "view_count", "likes": "like_count", "comments": "comment_count", "shares": "repost_count"}


class Info:
    """What one info.json says. A value that cannot be used is reported and counts as absent."""

    def __init__(self, said: Mapping[str, Any], report: Report) -> None:
        self._said = said
        self._report = report
        self._row = Row(1, {key: _clean(value) for key, value in said.items() if isinstance(value, str | int | float)})

    @classmethod
    def read(cls, path: Path, report: Report) -> Info:
        """What the file says: nothing, and reported, where it is no JSON object."""
        said: object = {}
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise ValueError(f"too large: over {MAX_BYTES:,} bytes")
            said = json.loads(data)
        except OSError as error:
            report(1, f"file unreadable: {error.strerror}")
        except json.JSONDecodeError as error:
            report(error.lineno, f"broken JSON: {error.msg}, column {error.colno}")
        except UnicodeDecodeError as error:
            report(1, f"broken JSON: not {error.encoding}: {error.reason}")
        except RecursionError:
            report(1, "broken JSON: nested too deep")
        except ValueError as error:
            report(1, str(error))
        if not isinstance(said, dict):
            report(1, "no JSON object: expected {…}, as yt-dlp writes it")
            said = {}
        return cls(said, report)

    def __bool__(self) -> bool:
        """Whether it says anything at all."""
        return bool(self._said)

    @property
    def content_id(self) -> str:
        """The site's id; empty where there is none."""
        return self._first(text, "id") or ""

    @property
    def title(self) -> str:
        """The title; empty where there is none."""
        return self._first(text, "title") or ""

    @property
    def description(self) -> str:
        """The description; empty where there is none."""
        return self._first(text, "description") or ""

    @property
    def published_at(self) -> datetime | None:
        """The moment of publication, or the start of its day where only that is said."""
        return self._first(seconds, "timestamp") or self._first(date, "upload_date")

    @property
    def creator_id(self) -> str | None:
        """The channel, else whoever uploaded the clip: ids before names."""
        return self._first(text, "channel_id", "uploader_id", "channel", "uploader")

    @property
    def tags(self) -> tuple[str, ...]:
        """Tags, then categories, each once."""
        return tuple(dict.fromkeys(self._texts("tags") + self._texts("categories")))

    @property
    def language(self) -> str:
        """The language without its region, as `en`; empty where there is none."""
        return (self._first(text, "language") or "").partition("-")[0].lower()

    @property
    def duration_s(self) -> float | None:
        """How long the clip is."""
        return self._first(count, "duration") or None

    @property
    def counters(self) -> dict[str, float]:
        """The counts that are there, by the names that labels are made from."""
        found = {name: self._first(count, column) for name, column in COUNTERS.items()}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def manual_subtitles(self) -> frozenset[str] | None:
        """Languages that people wrote subtitles in; None where the file does not say."""
        said = self._said.get("subtitles")
        return frozenset(said) if isinstance(said, dict) else None

    def _first(self, parse: Callable[[Row, str], T], *columns: str) -> T | None:
        for column in columns:
            try:
                value = optional(parse, self._row, column)
            except ValueError as error:
                self._report(1, str(error))
                continue
            if value is not None:
                return value
        return None

    def _texts(self, column: str) -> list[str]:
        said = self._said.get(column) or []
        if not isinstance(said, list):
            self._report(1, f"{column} is no list: {type(said).__name__}")
            return []
        return [clean for value in said if isinstance(value, str) and (clean := _clean(value).strip())]


def _clean(value: str | float) -> str:
    """A value as text that databases take: JSON can hold NUL and halves of surrogate pairs, they cannot."""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()
