"""What is said about a content and in it, as one text."""

from __future__ import annotations

from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality
from feature_repo.datasets.subtitles import read_subtitles
from feature_repo.errors import MediaError


def read_captions(item: CatalogItem) -> str:
    """Title, description and the words of the subtitle file. Raises MediaError where there is none of them, and for a
    subtitle file that cannot be read.
    """
    path = item.content.media.get(Modality.CAPTIONS)
    said = read_subtitles(path) if path is not None else ""
    text = "\n".join(part for part in (item.content.text, said.strip()) if part)
    if not text:
        raise MediaError("no text")
    return text
