"""What makes a vector stale: the bytes that it was made from, and the spec that made it (weights included)."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality, digest


class Source(Protocol):
    """What of a spec decides whether a vector is stale: a spec, or what is left of one that is no longer made."""

    @property
    def digest(self) -> str:
        """Fingerprint of the spec."""
        ...

    @property
    def modality(self) -> Modality:
        """What the vectors are made from."""
        ...


def fingerprint(item: CatalogItem, spec: Source) -> str:
    """Fingerprint of one vector row, 32 hex digits.

    Publication counts too: it is the time from which the row is known. A medium without a readable
    file has a fingerprint of its own, so that it is tried again once the file is there.
    """
    return digest(spec.digest, item.content.published_at.isoformat(), _source(item, spec.modality))


def changed_at(item: CatalogItem, modality: Modality) -> datetime:
    """When what the vector is made from last changed."""
    medium = item.media.get(modality)
    return max(item.updated_at, medium.updated_at) if medium else item.updated_at


def _source(item: CatalogItem, modality: Modality) -> str:
    if modality is Modality.TEXT:
        return digest(item.content.text)
    medium = item.media.get(modality)
    source = (medium.digest or "unreadable") if medium else "absent"
    return digest(item.content.text, source) if modality is Modality.CAPTIONS else source
