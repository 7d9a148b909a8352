"""Writes the Python code of the .proto files beside them, and what they describe, comments included, as one file.

`--check` fails where what is committed is stale, and where `protos.lint` or `protos.compatibility` finds fault.

Run from the repository root as `python -m protos.generate`.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from protos.compatibility import breaks, released
from protos.descriptors import CURRENT, described
from protos.lint import lint

ROOT = Path(__file__).parents[1]
DESCRIPTORS = CURRENT.relative_to(ROOT)
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(out: Path) -> list[Path]:
    """Compile every .proto below `protos/` into `out`; the written files, relative to it. Raises RuntimeError."""
    from grpc_tools import protoc

    sources = [str(p.relative_to(ROOT)) for p in sorted((ROOT / "protos").rglob("*.proto"))]
    roots = [f"-I{ROOT}", f"-I{files('grpc_tools') / '_proto'}"]
    kinds = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    (out / DESCRIPTORS).parent.mkdir(exist_ok=True)
    descriptors = ["--include_source_info", f"--descriptor_set_out={out / DESCRIPTORS}"]
    if protoc.main(["protoc", *roots, *kinds, *descriptors, *sources]) != 0:
        raise RuntimeError(f"protoc refused {', '.join(sources)}; its message is above")
    return [DESCRIPTORS, *(Path(source.removesuffix(".proto") + suffix) for source in sources for suffix in SUFFIXES)]


def stale(root: Path = ROOT) -> list[Path]:
    """Generated files below `root` that differ, byte for byte, from what the .proto files give now, or are absent."""
    with tempfile.TemporaryDirectory() as folder:
        written = generate(Path(folder))
        return [p for p in written if not (root / p).is_file() or _differ(root / p, Path(folder) / p)]


def main(arguments: list[str]) -> int:
    """Exit code: 1 where `--check` finds something."""
    if "--check" not in arguments:
        generate(ROOT)
        return 0
    faults = [f"{path} is stale: run `python -m protos.generate`" for path in stale()]
    if not faults:
        faults = [*lint(described()), *breaks(released(), described())]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


def _differ(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
