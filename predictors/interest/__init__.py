"""Whether a user will care for a content now."""
