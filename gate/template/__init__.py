"""The sealed template: format, sealing, opening, and the process that holds the opening key."""
