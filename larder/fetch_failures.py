"""Why a clip could not be fetched, out of what yt-dlp raises."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_BROKEN_OFF = "Got error: "  # how yt-dlp begins when a download fails for good; the exception is lost by then


@dataclass(frozen=True, slots=True)
class Failure:
    """A reason that many clips can share, and what is at fault: the clip alone, or what every other needs as well."""

    reason: str
    cause: Literal["clip", "network", "disk"] = "clip"

    @classmethod
    def of(cls, error: Exception, library: Any) -> Failure:
        """What an exception of `library`, yt-dlp, comes down to."""
        kinds = library.networking.exceptions
        causes = list(_causes(error))
        for cause in causes:
            if isinstance(cause, kinds.HTTPError):  # a server answered, if only that it will not
                return cls(f"HTTP {cause.status} {cause.reason}")
        for cause in causes:
            if isinstance(cause, kinds.TransportError):
                return cls(re.sub(r"^\[Errno \d+\] ", "", str(cause).rpartition(": ")[2]), "network")
        for cause in causes:
            if isinstance(cause, OSError) and cause.errno in _DISK:
                return cls(str(cause.strerror), "disk")
        if _BROKEN_OFF in str(error):
            return cls("the download broke off", "network")
        return cls(_first_sentence(error, causes))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that it came from, by Python's links and by yt-dlp's own."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop(0)
        if isinstance(cause, BaseException) and cause not in seen:
            seen.append(cause)
            yield cause
            held = getattr(cause, "exc_info", None) or (None, None, None)
            waiting += [held[1], getattr(cause, "cause", None), cause.__cause__, cause.__context__]


def _first_sentence(error: Exception, causes: Sequence[BaseException]) -> str:
    """What the site or yt-dlp says, without the clip's particulars."""
    said = next((str(cause.orig_msg) for cause in causes if hasattr(cause, "orig_msg")), str(error))
    said = re.sub(r"^(?:ERROR:\s*|\[[\w:]+\]\s*|\r)+", "", said)
    return re.split(r"\. |\n|: ", said, maxsplit=1)[0].strip(" .") or type(error).__name__
