"""What `feast apply` reads: every entity, view and service of this repository, each under a name of its own."""

from __future__ import annotations

from feature_repo.entities import content, creator, user
from feature_repo.services import feature_services
from feature_repo.settings import current_settings
from feature_repo.views import embedding_views, scalar_views, token_views, user_views

__all__ = ["content", "creator", "user"]

_scalar = scalar_views(current_settings())
_embeddings = embedding_views(current_settings())
_tokens = token_views(current_settings())
_users = user_views(current_settings())

# Feast looks at module-level names only; a view inside a container would not be found.
globals().update(_scalar)
globals().update(_embeddings)
globals().update(_tokens)
globals().update(_users)
_services = feature_services(_scalar, _embeddings, _tokens, _users)
globals().update({f"{name}_service": service for name, service in _services.items()})
