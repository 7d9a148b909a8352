"""The table of user embedders. They read events, not media, and their vectors hang on users; so they are no
`EmbeddingSpec`, and no index, release or content view takes them for one. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embedders.fitted import current
from embedders.user_histories import DAY, every
from feature_repo.contracts import digest
from feature_repo.errors import StateError, unknown_name
from feature_repo.settings import Settings


@dataclass(frozen=True, slots=True)
class UserSpec:
    """One embedder of users as data. `rows` is how states are dated: "day", or after how many events each.

    `embeddings` are the contents' embeddings that it reads, each with the digest of its spec.
    """

    name: str
    dim: int = 0
    weights: str = ""
    rows: str = DAY
    embeddings: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    version: int = 1

    @property
    def digest(self) -> str:
        """Fingerprint of everything that decides what the states are, and when; 16 hex digits."""
        said = [self.name, self.dim, self.weights, self.rows, sorted(self.embeddings.items()), self.version]
        return digest(json.dumps(said), size=8)


USER_SPECS: Mapping[str, UserSpec] = {
    # Kang and McAuley, Self-Attentive Sequential Recommendation, ICDM 2018; fitted on the catalog's own events
    "user_sequence": UserSpec("user_sequence", licence="that of the events it was fitted on"),
}


def resolve_user_spec(name: str, settings: Settings, rows: str = DAY) -> UserSpec:
    """The spec with what was fitted last. Raises ConfigurationError for an unknown name or other rows, StateError."""
    if name not in USER_SPECS:
        raise unknown_name("user embedding", name, USER_SPECS)
    if rows != DAY:
        rows = str(every(rows))
    fitted = current(settings, name)
    if fitted is None:
        raise StateError(f"{name} is not fitted yet: run `larder train {name}`")
    facts = fitted.facts
    return replace(
        USER_SPECS[name], dim=facts["dim"], weights=fitted.weights, rows=rows, embeddings=facts["embeddings"]
    )
