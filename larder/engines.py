"""Where embeddings are made. Imports nothing heavy: the command line lists the names."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from feature_repo.errors import ConfigurationError

if TYPE_CHECKING:
    from embedders.runner import Engine as Run


class Engine(StrEnum):
    """An engine by name."""

    LOCAL = "local"
    RAY = "ray"

    def open(self, ray_address: str = "") -> Run | None:
        """What runs the partitions; None: this process. Raises ConfigurationError for an address without a use."""
        if self is Engine.LOCAL:
            if ray_address:
                raise ConfigurationError("--ray-address is for --engine ray: give both or none")
            return None
        from embedders.distribute import RayEngine

        return RayEngine(ray_address)
