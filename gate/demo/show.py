"""What the demo prints: lines a person likes to read, or one JSON document."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table

from gate.demo.scenarios import Expected, Scenario


class Show:
    """Steps go to stderr as they happen; the result goes to stdout."""

    def __init__(self, *, as_json: bool) -> None:
        self.console = Console(stderr=True, highlight=False, quiet=as_json)
        for room in ("firmware_bridge", "gate"):
            said = RichHandler(
                console=self.console, show_time=False, show_level=False, show_path=False
            )
            logging.getLogger(room).addHandler(said)
            logging.getLogger(room).propagate = False
        self._as_json = as_json
        self._facts: dict[str, Any] = {"steps_ms": {}, "notes": {}}
        self._rows: list[dict[str, Any]] = []

    def title(self) -> None:
        """Say what this is."""
        self.console.print(
            Panel(
                "[bold]ConsentGate[/]  한 사람의 얼굴을 그 사람의 카드와만 비교하는 문\n"
                "One live face against one template on the person's own card. No face database.",
                expand=False,
            )
        )

    @contextmanager
    def step(self, number: int, ko: str, en: str) -> Iterator[None]:
        """Print one step and the time it took."""
        self.console.print(f"\n[bold]{number}. {ko}[/]  {en}")
        began_s = time.perf_counter()
        yield
        took_ms = (time.perf_counter() - began_s) * 1000
        self._facts["steps_ms"][en] = round(took_ms)
        self.console.print(f"   [dim]{took_ms / 1000:.1f} s[/]")

    def note(self, name: str, value: object) -> None:
        """Print one fact of the present step and keep it for the JSON result."""
        self._facts["notes"][name] = value
        self.console.print(f"   {name}: {value}", markup=False)

    def warn(self, line: str) -> None:
        """Print one warning that nobody should miss."""
        self._facts.setdefault("warnings", []).append(line)
        self.console.print(f"   [bold yellow]! {line}[/]")

    def passage(
        self, scenario: Scenario, happened: Expected, ok: bool, steps_ms: dict[str, float]
    ) -> None:
        """Print one passage as it ends."""
        mark = "[green]✔[/]" if ok else "[red]✘[/]"
        times = "  ".join(f"{step} {took:.0f}" for step, took in steps_ms.items())
        self.console.print(f"   {mark} {scenario.ko}  {scenario.en}: [bold]{happened.text()}[/]")
        if times:
            self.console.print(f"     [dim]ms: {times}[/]")
        self._rows.append(
            {
                "ko": scenario.ko,
                "en": scenario.en,
                "expected": scenario.expected.text(),
                "actual": happened.text(),
                "ok": ok,
                "ms": {step: round(took, 1) for step, took in steps_ms.items()},
            }
        )

    def outcome(self, name_ko: str, name_en: str, expected: str, actual: str, ok: bool) -> None:
        """Add a row that is not a passage (log, probe)."""
        mark = "[green]✔[/]" if ok else "[red]✘[/]"
        self.console.print(f"   {mark} {name_ko}  {name_en}: [bold]{actual}[/]")
        row = {"ko": name_ko, "en": name_en, "expected": expected, "actual": actual, "ok": ok}
        self._rows.append(row)

    def summary(self) -> bool:
        """Print the table (or the JSON document) to stdout; tell whether all was as expected."""
        ok = bool(self._rows) and all(row["ok"] for row in self._rows)
        if self._as_json:
            document = {"ok": ok, **self._facts, "outcomes": self._rows}
            print(json.dumps(document, ensure_ascii=False, indent=1))  # noqa: T201
            return ok
        table = Table(title="기대와 결과  expected and actual", title_justify="left")
        for heading in ("", "passage", "expected", "actual"):
            table.add_column(heading, overflow="fold")
        for row in self._rows:
            table.add_row(
                "[green]✔[/]" if row["ok"] else "[red]✘[/]",
                f"{row['ko']}\n[dim]{row['en']}[/]",
                row["expected"],
                row["actual"],
            )
        Console(highlight=False).print(table)
        return ok
