"""The page of the person who does not take our word for it."""
