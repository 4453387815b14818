"""A witness of logs: co-signs that a log only grew. For organisations other than the operator.

It reads with the verifier's code (gate.ledger.verify), not with the code that writes logs.
Several gates, one key, one SQLite file, one machine. Several processes on a shared database are
out of scope: run several witnesses with keys of their own instead.
"""
