"""`gate witness` and what stands between a gate and a witness, as people type it."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from enrollment.gate_config import Devices, gate_toml
from enrollment.site_layout import Layout
from gate.cli import app
from gate.errors import ConfigError
from gate.ledger.checkpoint import Signer
from gate.ledger.cosignature import parse_witness_vkey
from gate.ledger.export import export
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.witness_inbox import WitnessInbox
from gate.ledger.witnessing import Growth
from gate.passage.decision import DenyReason, Lane
from gate.settings import load_settings

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
DENY = Decided(granted=False, reason=DenyReason.NO_MATCH, lane=Lane.FACE)


def gate(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def append(path: Path, count: int) -> None:
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        if ledger.size() == 0:
            start = Started(Mode.DEMO, Pack.EDGE, "ab" * 32, sandbox_ok=True, key_agent_ok=True)
            ledger.append(start, NOON)
        for _ in range(count):
            ledger.append(DENY, NOON)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    made = gate("witness", "keygen", "auditor.example/kim", "--key", tmp_path / "key")
    assert made.exit_code == 0, made.output
    return tmp_path / "key"


def vkey_of(key: Path) -> str:
    listed = gate("witness", "list", "--key", key, "--json")
    return str(json.loads(listed.stdout)["vkey"])


def test_a_key_and_its_memory_are_made_once(key: Path) -> None:
    assert parse_witness_vkey(vkey_of(key)).name == "auditor.example/kim"
    assert (key.stat().st_mode & 0o777) == 0o600
    assert (key.with_name("key.state").stat().st_mode & 0o777) == 0o600
    before = key.read_text()
    again = gate("witness", "keygen", "auditor.example/kim", "--key", key)
    assert again.exit_code == 2
    assert key.read_text() == before
    key.unlink()
    again = gate("witness", "keygen", "auditor.example/kim", "--key", key)
    assert again.exit_code == 2, "a memory is never made anew in the place of another"


@pytest.mark.parametrize("name", ["two words", "plus+sign", "", "증인", "x" * 129])
def test_names_that_fit_no_signature_line(tmp_path: Path, name: str) -> None:
    made = gate("witness", "keygen", name, "--key", tmp_path / "key")
    assert made.exit_code == 2
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_or_of_another_memory(key: Path, tmp_path: Path) -> None:
    gate("witness", "keygen", "other", "--key", tmp_path / "other")
    mixed = gate("witness", "list", "--key", key, "--state", tmp_path / "other.state")
    assert (mixed.exit_code, mixed.stdout) == (2, "")
    assert "belongs to another key" in mixed.stderr
    key.chmod(0o644)
    assert "chmod 600" in gate("witness", "list", "--key", key).stderr


def test_the_way_without_a_network(key: Path, tmp_path: Path) -> None:
    """Export, carry away, verify and co-sign, carry back, hand in; verify shows it."""
    layout = Layout(tmp_path / "site")
    layout.gate.mkdir(parents=True)
    witness = vkey_of(key)
    toml = gate_toml(layout, "gate-1", demo=True, devices=Devices())
    layout.gate_toml.write_text(toml.replace("[ledger]", f'[ledger]\nwitnesses = ["{witness}"]'))
    settings = load_settings(layout.gate_toml, {})
    log = settings.ledger.path
    log.parent.mkdir(parents=True, exist_ok=True)
    append(log, 4)
    export(log, tmp_path / "stick")
    back = tmp_path / "back"
    words = ("ledger", "cosign", tmp_path / "stick", "--vkey", SIGNER.vkey, "--key", key)
    signed = gate(*words, "-o", back)
    assert signed.exit_code == 0, signed.output
    assert "5 records verified and co-signed" in signed.stderr
    again = gate(*words).stdout
    assert again.splitlines()[:5] == back.read_text().splitlines()[:5], "the same, at another time"

    handed = gate("ledger", "add-cosignature", back, "--config", layout.gate_toml)
    assert handed.exit_code == 0, handed.output
    assert handed.stdout == "auditor.example/kim: 5 records, handed to the gate\n"
    append(log, 2)
    with closing(Ledger.open(log, SIGNER, ORIGIN)) as ledger:
        folder = settings.gate.data_dir / "witness-inbox"
        keys = [parse_witness_vkey(witness)]
        box = WitnessInbox(folder, ledger, SIGNER.vkey, keys, Growth(log).root)
        assert box.look() == keys
        assert list(folder.iterdir()) == []

    verify = ("ledger", "verify", log, "--vkey", SIGNER.vkey, "--witness", witness)
    told = gate(*verify)
    assert told.exit_code == 0, told.output
    flat = " ".join(told.stdout.split())
    assert "VERIFIED: 7 records" in flat
    assert "co-signed 5 records, 20" in flat
    assert "witnessed: 5 records; 2 came after" in flat
    report = json.loads(gate(*verify, "--json").stdout)
    assert (report["witnessed_size"], report["witnesses"][0]["size"]) == (5, 5)


def test_an_auditor_signs_no_second_history_and_no_broken_one(key: Path, tmp_path: Path) -> None:
    for name, count in (("one", 3), ("two", 9)):
        (tmp_path / name).mkdir()
        append(tmp_path / name / "log", count)
        if name == "two":
            with closing(Ledger.open(tmp_path / name / "log", SIGNER, ORIGIN)) as ledger:
                ledger.append(DENY, NOON.replace(hour=13))
    (tmp_path / "fork").mkdir()
    with closing(Ledger.open(tmp_path / "fork" / "log", SIGNER, ORIGIN)) as ledger:
        start = Started(Mode.DEMO, Pack.EDGE, "cd" * 32, sandbox_ok=True, key_agent_ok=True)
        ledger.append(start, NOON)
        for _ in range(20):
            ledger.append(DENY, NOON)
    for name in ("one", "two", "fork"):
        export(tmp_path / name / "log", tmp_path / name / "export")

    def cosign(name: str) -> Result:
        folder = tmp_path / name / "export"
        return gate("ledger", "cosign", folder, "--vkey", SIGNER.vkey, "--key", key)

    assert cosign("one").exit_code == 0
    assert cosign("two").exit_code == 0, "it goes on from the first"
    for name, said in (("one", "the log was cut"), ("fork", "the log was rewritten")):
        refused = cosign(name)
        assert (refused.exit_code, refused.stdout) == (3, "")
        assert "NOT CO-SIGNED" in refused.stderr
        assert said in refused.stderr
    listed = json.loads(gate("witness", "list", "--key", key, "--json").stdout)
    assert [(log["size"], log["refused"]) for log in listed["logs"]] == [(11, 2)]
    assert "2 that did not fit REFUSED" in gate("witness", "list", "--key", key).stdout
    entries = tmp_path / "two" / "export" / "entries.jsonl"
    entries.write_bytes(entries.read_bytes().replace(b"no_match", b"no_faces", 1))
    broken = cosign("two")
    assert (broken.exit_code, broken.stdout) == (3, "")


def test_what_a_gate_does_not_take(key: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "site")
    layout.gate.mkdir(parents=True)
    layout.gate_toml.write_text(gate_toml(layout, "gate-1", demo=True, devices=Devices()))
    log = load_settings(layout.gate_toml, {}).ledger.path
    log.parent.mkdir(parents=True, exist_ok=True)
    append(log, 1)
    export(log, tmp_path / "stick")
    words = ("--vkey", SIGNER.vkey, "--key", key, "-o", tmp_path / "back")
    assert gate("ledger", "cosign", tmp_path / "stick", *words).exit_code == 0
    refused = gate("ledger", "add-cosignature", tmp_path / "back", "-c", layout.gate_toml)
    assert refused.exit_code == 2
    assert "name its key in [ledger] witnesses" in refused.stderr
    absent = gate("ledger", "add-cosignature", tmp_path / "nothing", "-c", layout.gate_toml)
    assert absent.exit_code == 2
    assert "cannot be read" in absent.stderr


def test_settings_refuse_what_is_no_witness(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.gate.mkdir()
    toml = gate_toml(layout, "gate-1", demo=True, devices=Devices())
    entry = f'[ledger]\nwitnesses = ["{SIGNER.vkey} https://witness.example"]'
    layout.gate_toml.write_text(toml.replace("[ledger]", entry))
    with pytest.raises(ConfigError, match="not the verifier key of a witness"):
        load_settings(layout.gate_toml, {})


def test_more_witnesses_needed_than_named(tmp_path: Path) -> None:
    append(tmp_path / "log", 0)
    words = ("ledger", "verify", tmp_path / "log", "--vkey", SIGNER.vkey)
    told = gate(*words, "--witnesses-needed", "1")
    assert (told.exit_code, told.stdout) == (2, "")
    assert "0 are named" in told.stderr
