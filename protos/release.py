"""`python -m protos.release` declares what the .proto files describe now as released: no later change may break it."""

from __future__ import annotations

import sys

from protos.compatibility import RELEASED, breaks, released
from protos.descriptors import described


def main() -> int:
    """Exit code: 1 where what is described breaks what was released before."""
    current = described()
    if RELEASED.exists() and (broken := breaks(released(), current)):
        sys.stderr.writelines(f"{one}\n" for one in broken)
        return 1
    for file in current.file:
        file.ClearField("source_code_info")
    RELEASED.parent.mkdir(exist_ok=True)
    RELEASED.write_bytes(current.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
