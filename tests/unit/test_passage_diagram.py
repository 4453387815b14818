from __future__ import annotations

from pathlib import Path

from gate.passage.diagram import page


def test_the_documented_diagram_is_the_table() -> None:
    documented = Path(__file__).parents[2] / "docs" / "passage.md"
    assert documented.read_text(encoding="utf-8") == page(), (
        "run: python -m gate.passage.diagram > docs/passage.md"
    )
