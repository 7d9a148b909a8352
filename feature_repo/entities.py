"""What features are about. Ids are strings."""

from __future__ import annotations

from feast import Entity, ValueType

content = Entity(
    name="content", join_keys=["content_id"], value_type=ValueType.STRING, description="One item of the catalog"
)
creator = Entity(name="creator", join_keys=["creator_id"], value_type=ValueType.STRING, description="Who published it")
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING, description="Who reads the feed")
