"""The single-use process that compares one live face with one template, and dies."""
