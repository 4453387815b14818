"""`gate` and `enroll` as a shell sees them: one line on stderr, results on stdout, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from firmware_bridge.ports import Crossing, OpenResult
from gate.ledger.checkpoint import generate
from gate.ledger.record import (
    Decided,
    KeyPurpose,
    KeyUsed,
    Mode,
    Moved,
    Pack,
    Started,
    Stopped,
)
from gate.ledger.store import Ledger
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.template.outcome import KeyOutcome

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GATE_")} | {
    "COLUMNS": "200",
    "NO_COLOR": "1",
}


def run(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    module = {"gate": "gate", "enroll": "enrollment.cli"}[program]
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=ENVIRONMENT | environment,
        timeout=60,
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A log with one grant and one denial, and its verifier key."""
    path = tmp_path_factory.mktemp("log") / "ledger.db"
    signer = generate("gate.example/main", os.urandom)
    with closing(Ledger.open(path, signer, signer.name)) as ledger:
        for record in (
            Started(Mode.DEMO, Pack.BOOTSTRAP, "ab" * 32, sandbox_ok=True, key_agent_ok=True),
            KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED),
            Decided.of(Grant(Lane.FACE)),
            Moved(OpenResult.OPENED, Crossing.ONE),
            Decided.of(Deny(DenyReason.CARD_EXPIRED)),
            Stopped(clean=True),
        ):
            ledger.append(record, NOW)
    return path, signer.vkey


@pytest.mark.parametrize(
    ("program", "commands"),
    [
        ("gate", ("demo", "run", "check-config", "console", "models", "ledger")),
        ("enroll", ("new", "withdraw", "revoke", "show", "tap", "site")),
    ],
)
def test_help_teaches(program: str, commands: tuple[str, ...]) -> None:
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in commands:
        assert f" {command} " in done.stdout
    assert "Exit codes: 0 ok; 2 usage or configuration; 3 the answer is no" in " ".join(
        done.stdout.split()
    )


@pytest.mark.parametrize(
    "command",
    [
        ("gate", "run"),
        ("gate", "ledger", "verify"),
        ("gate", "models", "fetch"),
        ("enroll", "new"),
        ("enroll", "tap"),
    ],
)
def test_every_command_says_what_it_does(command: tuple[str, ...]) -> None:
    program, *rest = command
    done = run(program, *rest, "--help")
    assert done.returncode == 0
    assert f" {' '.join(rest)} [OPTIONS]" in done.stdout
    assert len(done.stdout.split()) > 20


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("gate", "run", "-c", "/none.toml"), "gate: cannot read /none.toml: "),
        (("gate", "check-config", "-c", "/none.toml"), "gate: cannot read /none.toml: "),
        (("gate", "console", "--ledger", "/none", "--vkey", "a+b+c"), "gate: /none is not a log"),
        (("gate", "ledger", "verify", "/none", "--vkey", "a+b+c"), "gate: /none does not exist"),
        (("gate", "ledger", "export", "/none", "/tmp/none"), "gate: /none is not a log file"),
        (("gate", "models", "verify", "best"), "gate: there is no model pack 'best'"),
        (("gate", "models", "fetch", "best"), "gate: there is no model pack 'best'"),
        (("gate", "demo", "--cache", "/proc/none"), "gate: /proc/none cannot be used"),
        (("enroll", "show", "--card", "/none"), "enroll: /none: no such card file"),
        (("enroll", "revoke", "--site", "/none"), "enroll: which card?"),
        (("enroll", "site", "publish", "/none"), "enroll: /none is not a site"),
        (
            ("enroll", "new", "--site", "/none", "--card", "/tmp/none.card", "--decline"),
            "enroll: /none is not a site",
        ),
    ],
)
def test_a_wrong_name_is_one_line_with_advice(command: tuple[str, ...], said: str) -> None:
    done = run(*command)
    assert (done.returncode, done.stdout) == (2, "")
    *before, line = [line for line in done.stderr.splitlines() if line.strip()]
    assert not before or command[1] == "demo", "only the demo greets first"
    assert line.startswith(said)
    assert "; " in line
    assert "Traceback" not in line


def test_a_missing_option_is_a_usage_error() -> None:
    done = run("gate", "run")
    assert done.returncode == 2
    assert "--config" in done.stderr


def test_a_log_that_verifies(log: tuple[Path, str], tmp_path: Path) -> None:
    path, vkey = log
    done = run("gate", "ledger", "verify", path, "--vkey", vkey)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("VERIFIED: 6 records, root ")
    (tmp_path / "vkey").write_text(vkey + "\n")
    done = run("gate", "ledger", "verify", path, "--vkey", tmp_path / "vkey", "--json")
    found = json.loads(done.stdout)
    assert found["ok"] is True
    assert (found["counts"]["grants"], found["counts"]["denials"]) == (1, 1)


def test_a_log_of_another_key_is_not_verified(log: tuple[Path, str]) -> None:
    other = generate("gate.example/main", os.urandom).vkey
    done = run("gate", "ledger", "verify", log[0], "--vkey", other)
    assert done.returncode == 3
    assert done.stdout.startswith("NOT VERIFIED")
    assert "problem: step 1" in done.stdout


def test_a_key_that_is_none(log: tuple[Path, str]) -> None:
    done = run("gate", "ledger", "verify", log[0], "--vkey", "no key")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_an_export_verifies_and_a_changed_one_does_not(
    log: tuple[Path, str], tmp_path: Path
) -> None:
    path, vkey = log
    folder = tmp_path / "export"
    done = run("gate", "ledger", "export", path, folder)
    assert (done.returncode, done.stdout) == (0, f"{folder}\n")
    assert run("gate", "ledger", "verify", folder, "--vkey", vkey).returncode == 0
    entries = folder / "entries.jsonl"
    entries.write_text(entries.read_text().replace("card_expired", "card_revoked"))
    done = run("gate", "ledger", "verify", folder, "--vkey", vkey)
    assert done.returncode == 3
    again = run("gate", "ledger", "export", path, folder)
    assert again.returncode == 2
    assert "is not empty" in again.stderr


def test_the_packs_are_listed_for_people_and_machines() -> None:
    packs = json.loads(run("gate", "models", "list", "--json").stdout)
    assert packs["bootstrap"]["for_production"] is False
    assert packs["edge"]["for_production"] is True
    assert "bootstrap (NOT for production)" in run("gate", "models", "list").stdout


def test_a_site_from_nothing_to_a_card(tmp_path: Path) -> None:
    site, card = tmp_path / "site", tmp_path / "person.card"
    options = ["--demo", "--pack", "bootstrap", "--pack-dir", tmp_path / "absent", "--json"]
    made = run("enroll", "site", "create", site, *options)
    assert made.returncode == 0, made.stderr
    config = Path(json.loads(made.stdout)["config"])

    broken = run("gate", "check-config", "-c", config, GATE_TURNSTILE_PROT="/dev/ttyS1")
    assert (broken.returncode, broken.stdout) == (2, "")
    assert broken.stderr == (
        "gate: GATE_TURNSTILE_PROT names no setting; unset it or correct its name\n"
    )
    no_models = run("gate", "check-config", "-c", config, GATE_MODELS_DIR=str(tmp_path))
    assert no_models.returncode == 2
    assert "gate models fetch bootstrap" in no_models.stderr

    no_pin = run("enroll", "new", "--site", site, "--card", card, "--decline", "--pin-stdin")
    assert no_pin.returncode in (2, 3)
    assert len(no_pin.stderr.strip().splitlines()) >= 1
    assert not card.exists()

    both = run("enroll", "new", "--site", site, "--card", card, "--decline", "--photo", "x")
    assert both.returncode == 2
    assert "give --photo, --camera or --decline" in both.stderr


def test_no_gate_listens(tmp_path: Path) -> None:
    site, card = tmp_path / "site", tmp_path / "person.card"
    assert run("enroll", "site", "create", site, "--demo").returncode == 0
    issued = subprocess.run(
        [
            *(sys.executable, "-m", "enrollment.cli", "new", "--site", site, "--card", card),
            *("--decline", "--pin-stdin", "--lang", "en", "--json"),
        ],
        input="4071\n",
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert issued.returncode == 0, issued.stderr
    assert json.loads(issued.stdout)["lanes"] == ["pin"]
    assert "4071" not in issued.stdout + issued.stderr
    done = run("enroll", "tap", "--card", card, "--to", tmp_path / "nothing.sock")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        f"enroll: antenna {tmp_path}/nothing.sock: no gate listens "
        "(No such file or directory); start the gate first\n"
    )
    shown = run("enroll", "show", "--card", card, "--json")
    assert shown.returncode == 0
