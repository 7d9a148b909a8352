"""Memory that the system may not take back."""

from __future__ import annotations

import ctypes
import os

from feature_repo.errors import ConfigurationError

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # of mlockall(2), as Linux numbers them


def lock() -> None:
    """Keep in memory what this process has touched, and whatever it touches from here on.

    Stores and indexes are mapped files: a page of theirs that went unread for a while may be taken back, and is then
    read from the disk in the middle of a call. Raises ConfigurationError where the system does not allow it.
    """
    try:
        refused = ctypes.CDLL(None, use_errno=True).mlockall(_CURRENT | _FUTURE | _ON_FAULT)
    except AttributeError:
        raise ConfigurationError("LARDER_LOCK_MEMORY: this system has no mlockall; leave the setting out") from None
    if refused:
        why = os.strerror(ctypes.get_errno())
        raise ConfigurationError(
            f"LARDER_LOCK_MEMORY: memory cannot be locked ({why}): allow it with `ulimit -l unlimited`, systemd's "
            "LimitMEMLOCK=infinity or the capability IPC_LOCK, or leave the setting out"
        )
