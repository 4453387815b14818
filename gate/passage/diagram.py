"""Draws the table of a passage: `python -m gate.passage.diagram` prints docs/passage.md."""

from __future__ import annotations

import sys

from gate.passage.session import DEADLINE_MS, ROWS, State

HEAD = """# One passage, as the table says it

Generated from `gate/passage/session.py` by `python -m gate.passage.diagram`; a test compares.
Every state that waits for a person or a device has a deadline. An arrow is an event; a word in
brackets is a condition on what the passage remembers. Egress and fire release are not in this
table because they are never the gate's to block.
"""


def mermaid() -> str:
    """Return the state diagram in Mermaid's notation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.CLOSED.value}"]
    for row in ROWS:
        guard = f" [{row.guard.__name__.strip('_')}]" if row.guard else ""
        lines.append(f"    {row.state.value} --> {row.to.value}: {row.event.__name__}{guard}")
    lines.append(f"    {State.STOPPED.value} --> [*]")
    return "\n".join(lines)


def page() -> str:
    """Return docs/passage.md."""
    deadlines = "\n".join(
        f"| {state.value} | {DEADLINE_MS[state] or 'waits for an event'} |" for state in State
    )
    table = f"| State | Deadline in ms |\n|---|---|\n{deadlines}\n"
    return f"{HEAD}\n```mermaid\n{mermaid()}\n```\n\n{table}"


if __name__ == "__main__":
    sys.stdout.write(page())
