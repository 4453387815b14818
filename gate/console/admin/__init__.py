"""The page of the person who keeps the door working."""
