"""A real `gate run` whose policy and settings change: what it says, and what stands in its log."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from enrollment.key_files import load_ed25519_private
from gate.console.deps import Screen
from gate.policy import PolicyDocument
from gate.signed_document import signature_path, write_signed

if TYPE_CHECKING:
    from tests.fault.conftest import GateProcess, Home, Program

pytestmark = pytest.mark.usefixtures("fresh_log")


@pytest.fixture
def kept(home: Home, tmp_path: Path) -> Iterator[None]:
    """What a test changes in the gate's folder is put back."""
    gate = home.site.layout.gate
    names = [path for path in gate.iterdir() if path.is_file()]
    for path in names:
        shutil.copy2(path, tmp_path / path.name)
    yield
    for path in names:
        shutil.copy2(tmp_path / path.name, path)


@pytest.mark.usefixtures("kept")
def test_a_newer_policy_is_taken_while_the_gate_runs_and_an_older_one_never(
    home: Home,
    start_gate: Callable[..., GateProcess],
    start_turnstile: Callable[..., Program],
) -> None:
    layout = home.site.layout
    start_turnstile()
    gate = start_gate()
    gate.wait_screen(Screen.IDLE)
    for part in ("self-test: ", "host: ", "policy: zone "):
        gate.wait_line(f"gate: {part}")
    old = layout.policy.read_bytes(), signature_path(layout.policy).read_bytes()
    document = PolicyDocument.model_validate_json(old[0])
    newer = {"issued": datetime.now(UTC), "lanes": ("pin",), "face_expires": None}
    key = load_ed25519_private(layout.authority_key, "authority key")
    write_signed(layout.policy, document.model_copy(update=newer), key)
    gate.wait_screen(Screen.CARD_ONLY)
    layout.policy.write_bytes(old[0])
    signature_path(layout.policy).write_bytes(old[1])
    gate.wait_line("is not newer than the edition in force")
    assert gate.stop() == 0
    report = home.audit()
    assert report.counts["policy_changed"] == 1
    assert len(report.policies) == 2
    again = start_gate()
    assert again.ended() == 2
    assert "this gate has used another one" in again.err


def test_settings_that_changed_between_two_starts_are_recorded(
    home: Home, start_gate: Callable[..., GateProcess]
) -> None:
    for look_ms in ("5000", "5000", "4000"):
        gate = start_gate(GATE_CAMERA_LOOK_MS=look_ms)
        gate.url()
        assert gate.stop() == 0, gate.err
    counts = home.audit().counts
    assert counts["started"] == 3
    assert counts["admin_acted"] == counts["admin.settings_changed"] == 1
