"""The exported log, checked with implementations that this project did not write."""

import os
import shutil
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gate.ledger.checkpoint import Checkpoint, Signer, open_note, parse_skey
from gate.ledger.export import export
from gate.ledger.merkle import consistency_proof, inclusion_proof, leaf_hash, root_of
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.passage.decision import DenyReason, Lane

pytestmark = pytest.mark.interop

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
GOPATH = Path("/usr/share/gocode")
AUDITOR = """
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type hashes map[int64]tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var list []tlog.Hash
	for _, index := range indexes {
		list = append(list, h[index])
	}
	return list, nil
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func main() {
	if os.Args[1] == "sign" {
		signer, err := note.NewSigner(os.Args[2])
		must(err)
		signed, err := note.Sign(&note.Note{Text: os.Args[3]}, signer)
		must(err)
		os.Stdout.Write(signed)
		return
	}
	verifier, err := note.NewVerifier(os.Args[3])
	must(err)
	raw, err := os.ReadFile(os.Args[2] + "/checkpoint")
	must(err)
	opened, err := note.Open(raw, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\\n")
	entries, err := os.ReadFile(os.Args[2] + "/entries.jsonl")
	must(err)
	store, size := hashes{}, int64(0)
	for _, entry := range bytes.Split(bytes.TrimSuffix(entries, []byte("\\n")), []byte("\\n")) {
		added, err := tlog.StoredHashes(size, entry, store)
		must(err)
		for i, hash := range added {
			store[tlog.StoredHashIndex(0, size)+int64(i)] = hash
		}
		size++
	}
	root, err := tlog.TreeHash(size, store)
	must(err)
	if lines[0] != os.Args[4] || lines[1] != fmt.Sprint(size) ||
		lines[2] != base64.StdEncoding.EncodeToString(root[:]) {
		fmt.Println("the checkpoint does not match the entries")
		os.Exit(1)
	}
	fmt.Println("verified", size)
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported log of 45 records."""
    place = tmp_path_factory.mktemp("log")
    with closing(Ledger.open(place / "ledger.db", SIGNER, ORIGIN)) as ledger:
        ledger.append(Started(Mode.DEMO, Pack.EDGE, "ab" * 32, True, True), NOON)
        for minute in range(44):
            record = Decided(False, list(DenyReason)[minute % 20], Lane.FACE)
            ledger.append(record, NOON + timedelta(minutes=minute))
    export(place / "ledger.db", place / "export")
    return place / "export"


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The auditor's program, built from Go's own note and tlog packages."""
    if shutil.which("go") is None or not (GOPATH / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("needs Go: Debian packages golang-go and golang-golang-x-mod-dev")
    place = tmp_path_factory.mktemp("go")
    (place / "main.go").write_text(AUDITOR)
    environment = os.environ | {
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(place / "cache"),
        "GOFLAGS": "",
    }
    subprocess.run(
        ["go", "build", "-o", "auditor", "main.go"], cwd=place, env=environment, check=True
    )
    return place / "auditor"


def test_go_verifies_checkpoint_and_root(go: Path, folder: Path, tmp_path: Path) -> None:
    def audit(where: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [go, "verify", where, SIGNER.vkey, ORIGIN], capture_output=True, text=True, check=False
        )

    assert audit(folder).stdout == "verified 45\n"
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    entries = (copy / "entries.jsonl").read_bytes()
    (copy / "entries.jsonl").write_bytes(entries.replace(b'"no_face"', b'"no_matc"', 1))
    assert audit(copy).returncode == 1
    (copy / "entries.jsonl").write_bytes(entries)
    note = (copy / "checkpoint").read_bytes()
    (copy / "checkpoint").write_bytes(note.replace(b"\n45\n", b"\n44\n"))
    assert audit(copy).returncode == 1


def test_we_open_what_go_signed(go: Path) -> None:
    text = open_note(SIGNER.sign(_checkpoint()), SIGNER.vkey).text()
    note = subprocess.run(
        [go, "sign", SIGNER.skey(), text], capture_output=True, text=True, check=True
    ).stdout
    assert open_note(note, SIGNER.vkey) == _checkpoint()
    assert note == parse_skey(SIGNER.skey()).sign(_checkpoint())


def test_tlog_scales_verifies_checkpoint_and_proofs(folder: Path) -> None:
    reason = "needs the Python package tlog-scales"
    signing = pytest.importorskip("tlog_scales.signing", reason=reason)
    tlog = pytest.importorskip("tlog_scales.tlog", reason=reason)
    checkpoint = tlog.Checkpoint.from_text((folder / "checkpoint").read_text())
    checkpoint.verify(signing.Vkey.from_string((folder / "vkey").read_text().strip()))
    leaves = [leaf_hash(line) for line in (folder / "entries.jsonl").read_bytes().split(b"\n")[:-1]]
    assert (checkpoint.size, checkpoint.root_hash) == (45, root_of(leaves))
    for index in range(45):
        tlog.InclusionProof(index, 45, inclusion_proof(leaves, index)).check(
            leaves[index], checkpoint.root_hash
        )
    for first in range(1, 46):
        tlog.ConsistencyProof(first, 45, consistency_proof(leaves, first)).check(
            root_of(leaves[:first]), checkpoint.root_hash
        )
    with pytest.raises(tlog.ConsistencyProofInvalid):
        tlog.ConsistencyProof(9, 45, consistency_proof(leaves, 10)).check(
            root_of(leaves[:9]), checkpoint.root_hash
        )


def _checkpoint() -> Checkpoint:
    return Checkpoint(ORIGIN, 45, bytes(range(32)))
