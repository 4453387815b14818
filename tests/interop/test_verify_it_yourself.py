"""Every command of docs/verify-it-yourself.md, as written, on a log that a gate serves."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firmware_bridge.ports import Crossing, OpenResult
from gate.console.app import create_app
from gate.console.deps import ConsoleDeps
from gate.console.serve import serve
from gate.ledger.checkpoint import Signer
from gate.ledger.record import (
    Decided,
    HostSeen,
    KeyPurpose,
    KeyUsed,
    Mode,
    Moved,
    Pack,
    Probed,
    SelfTested,
    Started,
)
from gate.ledger.store import Ledger
from gate.ledger.verify import verify_export
from gate.passage.decision import Deny, DenyReason, Grant, Lane
from gate.template.outcome import KeyOutcome

pytestmark = pytest.mark.interop

SOURCE = Path(__file__).parents[2]
DOCUMENT = SOURCE / "docs" / "verify-it-yourself.md"
SIGNER = Signer("gate.example/main", bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def write(path: Path, policy: str, passages: int) -> None:
    with closing(Ledger.open(path, SIGNER, SIGNER.name)) as ledger:
        if ledger.size() == 0:
            ledger.append(Started(Mode.DEMO, Pack.EDGE, policy, True, True), NOON)
            ledger.append(HostSeen(True, True, True, True), NOON)
            ledger.append(SelfTested(tried=60, held=60, landlock_abi=4), NOON)
            ledger.append(Probed(9, 4, 4, 0, 0, 6, 0), NOON)
        for passage in range(passages):
            now = NOON + timedelta(minutes=passage)
            ledger.append(KeyUsed(KeyPurpose.TEMPLATE, KeyOutcome.RELEASED), now)
            if passage % 3:
                ledger.append(Decided.of(Grant(Lane.FACE)), now)
                ledger.append(Moved(OpenResult.OPENED, Crossing.ONE), now)
            else:
                ledger.append(Decided.of(Deny(DenyReason.NO_MATCH, Lane.FACE), card=1), now)


@pytest.mark.timeout(400)
def test_every_command_works_as_written(auditlog: Path, tmp_path: Path) -> None:
    assert auditlog.is_file()
    pytest.importorskip("tlog_scales.cli", reason="needs the Python package tlog-scales")
    for program in ("curl", "tar", "sed"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}: Debian package {program}")
    blocks = re.findall(r"^```sh\n(.*?)^```$", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 11
    (tmp_path / "policy.json").write_text("{}\n")
    policy = hashlib.sha256((tmp_path / "policy.json").read_bytes()).hexdigest()
    log = tmp_path / "ledger.db"
    write(log, policy, 95)
    with serve(create_app(ConsoleDeps(log, SIGNER.vkey, None, demo=False))) as pages:
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "GATE": pages.url,
            "VKEY": SIGNER.vkey,
            "SOURCE": str(SOURCE),
            "GOCACHE": str(tmp_path / "cache"),
            "GOFLAGS": "",
        }
        for block in blocks:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block],
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=90,
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
            assert "no probe ran" not in done.stdout
            if "--kept" in block:
                assert "this log continues it" in done.stdout
            if "sha256sum" in block and "head -c" in block:  # a leaf, by hand
                ours, theirs = done.stdout.split("-", 1)
                assert ours.strip() == re.sub(r"[^0-9a-f]", "", theirs)
        # A mirror fetches what is new, and still verifies.
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "mirror").rglob("*/000")}
        assert before
        write(log, policy, 30)
        script = [SOURCE / "docs" / "mirror-log.sh", f"{pages.url}/log", tmp_path / "mirror"]
        subprocess.run(script, env=environment, check=True, capture_output=True, timeout=60)
        with closing(Ledger.open(log, SIGNER, SIGNER.name)) as ledger:
            size = ledger.size()
            ledger.prune(256, NOON + timedelta(days=1))
        report = verify_export(tmp_path / "mirror", SIGNER.vkey)
        assert (report.ok, report.size) == (True, size), report.problems
        assert all(path.stat().st_mtime_ns == then for path, then in before.items())
        script[2] = tmp_path / "pruned"
        subprocess.run(script, env=environment, check=True, capture_output=True, timeout=60)
        report = verify_export(tmp_path / "pruned", SIGNER.vkey)
        assert (report.ok, report.size) == (True, size + 1), report.problems
        script[1] = f"{pages.url}/nothing"
        refused = subprocess.run(
            script, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert (refused.returncode, "answered 404" in refused.stderr) == (1, True)
