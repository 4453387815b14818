"""What is written for others to read is 0644, what is not is 0600, whatever the umask is."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SITE = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
os.umask(int(sys.argv[2], 8))
from enrollment.site import create_site
from enrollment.site_documents import sign_document
from gate.ledger.checkpoint import Signer
from gate.ledger.export import export
from gate.ledger.store import Ledger
from gate.status_refresh import StatusRefresh
from gate.card.reader import Trust
folder, now = Path(sys.argv[1]), datetime.now(UTC)
site = create_site(folder / "site", demo=True, gate_id="gate-1", now=now, random_bytes=os.urandom)
layout = site.layout
layout.policy.with_name("policy.json.sig").unlink()
sign_document(layout, layout.policy, now, demo=True)
trust = Trust.load(layout.issuer_roots, layout.status_signer, layout.status_list)
StatusRefresh(layout.status_list, trust, layout.gate, now)
signer = Signer("gate.example/x", bytes(32))
Ledger.open(folder / "ledger.db", signer, signer.name).close()
export(folder / "ledger.db", folder / "export")
"""
PUBLIC = {
    "policy.json", "policy.json.sig", "deployment.json", "deployment.json.sig",
    "entries.jsonl", "checkpoint", "checkpoints.jsonl", "cosigned.jsonl", "vkey", "README.txt",
}  # fmt: skip


@pytest.mark.parametrize("umask", ["000", "022", "077"])
def test_modes_do_not_hang_on_the_umask(tmp_path: Path, umask: str) -> None:
    tmp_path.chmod(0o700)
    command = [sys.executable, "-c", SITE, str(tmp_path), umask]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], env=dict(os.environ))
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*.*")
        if path.is_file()
    } | {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "export").iterdir()}
    assert modes.keys() >= PUBLIC
    assert "status-list.newest" in modes
    for name, mode in modes.items():
        assert mode == (0o644 if name in PUBLIC else 0o600), name
