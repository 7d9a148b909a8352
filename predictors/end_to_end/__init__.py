"""How popular a content will be, by towers that are fine-tuned on the labels."""
