"""One passage: a state machine without I/O, and the runner that owns devices and time."""
