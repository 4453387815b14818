"""A log that cannot hold a person and that a stranger can verify (RFC 6962 hashing, C2SP notes)."""
