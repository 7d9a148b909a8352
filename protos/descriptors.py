"""What the .proto files describe, with their comments, as `protos.generate` writes it."""

from __future__ import annotations

from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

CURRENT = Path(__file__).with_name("descriptors.binpb")


def described(path: Path = CURRENT) -> FileDescriptorSet:
    """The descriptors in a file."""
    return FileDescriptorSet.FromString(path.read_bytes())
