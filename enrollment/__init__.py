"""The people's side: consent, capture, issue, withdraw. Uses the gate, never the reverse."""
