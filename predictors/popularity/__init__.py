"""How popular a content will be, by trees over a small matrix."""
