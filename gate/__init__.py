"""The door: one live face against one template that lives on the person's own card."""
