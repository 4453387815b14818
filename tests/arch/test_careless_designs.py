"""The careless verifiers of the probe are out of everybody's reach: code, settings, records."""

from __future__ import annotations

import ast
from pathlib import Path

from gate.probe.designs import Design
from gate.settings import Settings

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "gate" / "probe"


def imported(path: Path) -> set[str]:
    """Every module that a file names in an import, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_only_the_probe_imports_them() -> None:
    users = set()
    for package in ("gate", "models", "firmware_bridge", "enrollment"):
        for path in (ROOT / package).rglob("*.py"):
            if any(name.startswith("gate.probe.designs") for name in imported(path)):
                users.add(path)
    assert ROOM / "gate_process.py" in users, "the rule looks at the wrong names"
    assert {path for path in users if ROOM not in path.parents} == set()


def test_no_module_but_the_probe_gives_a_gate_other_verifiers() -> None:
    callers = [
        path
        for path in (ROOT / "gate").rglob("*.py")
        if "verifiers_of=" in path.read_text(encoding="utf-8")
    ]
    assert callers == [ROOM / "gate_process.py"]


def test_no_setting_names_a_design() -> None:
    schema = str(Settings.model_json_schema())
    assert "spares" in schema
    for design in Design:
        assert design.value not in schema
