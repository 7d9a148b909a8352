"""Writes the Python code of the .proto files beside them; `--check` fails where what is committed is stale.

Run from the repository root as `python -m protos.generate`.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(out: Path) -> list[Path]:
    """Compile every .proto below `protos/` into `out`; the written files, relative to it. Raises RuntimeError."""
    from grpc_tools import protoc

    sources = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "protos").rglob("*.proto"))]
    roots = [f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}"]
    kinds = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *roots, *kinds, *sources]) != 0:
        raise RuntimeError(f"protoc refused {', '.join(sources)}; its message is above")
    return [Path(source.removesuffix(".proto") + suffix) for source in sources for suffix in SUFFIXES]


def stale(root: Path = ROOT) -> list[Path]:
    """Generated files below `root` that differ, byte for byte, from what the .proto files give now, or are absent."""
    with tempfile.TemporaryDirectory() as folder:
        written = generate(Path(folder))
        return [p for p in written if not (root / p).is_file() or _differ(root / p, Path(folder) / p)]


def main(arguments: list[str]) -> int:
    """Exit code: 1 where `--check` finds stale code."""
    if "--check" not in arguments:
        generate(ROOT)
        return 0
    behind = stale()
    for path in behind:
        sys.stderr.write(f"{path} is stale: run `python -m protos.generate`\n")
    return 1 if behind else 0


def _differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
