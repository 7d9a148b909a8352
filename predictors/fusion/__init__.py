"""How popular a content will be, by a net that attends across picture and text."""
