"""Proof files: made by the writer's side, checked by the verifier's, and damaged in between."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gate.cli import app
from gate.errors import ConfigError, LedgerFault
from gate.ledger.checkpoint import Checkpoint, Signer
from gate.ledger.consistency import consistency_path
from gate.ledger.export import export
from gate.ledger.merkle import inclusion_proof, leaf_hash, root_of
from gate.ledger.proof_bundle import (
    FileLog,
    FolderLog,
    NoProof,
    inclusion_path,
    prove_consistency,
    prove_inclusion,
)
from gate.ledger.record import Decided, Mode, Pack, Started
from gate.ledger.store import Ledger
from gate.ledger.verify.bundle import PROOF_BYTES_MAX, check_proof, included
from gate.passage.decision import DenyReason, Lane

ORIGIN = "gate.example/main"
SIGNER = Signer(ORIGIN, bytes(range(32)))
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SIZE = 520


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 520 records, ten to a quarter of an hour, and its export beside it."""
    path = tmp_path_factory.mktemp("log") / "ledger.db"
    with closing(Ledger.open(path, SIGNER, ORIGIN)) as ledger:
        ledger.append(Started(Mode.DEMO, Pack.EDGE, "ab" * 32, True, True), NOON)
        for index in range(1, SIZE):
            reason = list(DenyReason)[index % 20]
            later = NOON + timedelta(minutes=15 * (index // 10))
            ledger.append(Decided(False, reason, Lane.FACE), later)
    export(path, path.with_name("export"))
    return path


def newest(log: Path) -> str:
    return FileLog(log).notes()[-1]


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_paths_are_those_of_the_recursion(size: int, data: st.DataObject) -> None:
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(lambda start, end: root_of(leaves[start:end]), index, size)
    assert path == inclusion_proof(leaves, index)
    root = root_of(leaves)
    assert included(leaves[index], index, size, path, root)
    other = data.draw(st.integers(-1, size + 3).filter(lambda n: n != index))
    assert not included(leaves[index], other, size, path, root)
    assert not included(leaf_hash(b"x"), index, size, path, root)
    assert not included(leaves[index], index, size, [*path, root], root)
    if path:
        assert not included(leaves[index], index, size, path[:-1], root)
        place = data.draw(st.integers(0, len(path) - 1))
        changed = [*path[:place], leaf_hash(path[place]), *path[place + 1 :]]
        assert not included(leaves[index], index, size, changed, root)


@pytest.mark.parametrize("exported", [False, True])
def test_every_record_can_be_proved(log: Path, *, exported: bool) -> None:
    source = FolderLog(log.with_name("export")) if exported else FileLog(log)
    for seq in (0, 1, 2, 254, 255, 256, 257, 300, 511, 512, 513, SIZE - 1):
        proof = prove_inclusion(source, seq, newest(log))
        report = check_proof(proof.encode(), SIGNER.vkey)
        assert report.ok, report.problem
        assert (report.kind, report.index, report.size, report.origin) == (
            "inclusion",
            seq,
            SIZE,
            ORIGIN,
        )
        assert report.record is not None
        assert report.record["seq"] == seq
    for seq in (-1, SIZE, SIZE + 1):
        with pytest.raises(NoProof, match="has no record"):
            prove_inclusion(source, seq, newest(log))


def test_between_any_two_kept_checkpoints(log: Path) -> None:
    notes = FileLog(log).notes()
    assert len(notes) == 53
    for old in notes[::9]:
        for new in notes[3::7]:
            source = FileLog(log)
            sizes = [int(note.split("\n")[1]) for note in (old, new)]
            if sizes[0] > sizes[1]:
                with pytest.raises(NoProof, match="older"):
                    prove_consistency(source, old, new)
                continue
            proof = prove_consistency(source, old, new).encode()
            report = check_proof(proof, SIGNER.vkey)
            assert report.ok, report.problem
            assert [report.old_size, report.size] == sizes


def test_no_proof_from_a_log_that_was_rewritten(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with closing(Ledger.open(other, SIGNER, ORIGIN)) as ledger:
        for _ in range(SIZE + 5):
            ledger.append(Started(Mode.DEMO, Pack.EDGE, "cd" * 32, True, True), NOON)
    with pytest.raises(NoProof, match="rewritten"):
        prove_consistency(FileLog(other), newest(log), newest(other))
    with pytest.raises(NoProof, match="do not lead"):
        prove_inclusion(FileLog(other), 3, newest(log))
    # Somebody who makes a proof all the same does not get through.
    forged = prove_consistency(FileLog(log), FileLog(log).notes()[5], newest(log))
    note = FileLog(log).notes()[5]
    size = int(note.split("\n")[1])
    lie = SIGNER.sign(Checkpoint(ORIGIN, size, bytes(32)))
    assert check_proof(forged.encode(), SIGNER.vkey).ok
    assert not check_proof(forged.replace(note, lie).encode(), SIGNER.vkey).ok


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_every_changed_byte_of_a_proof_is_found(log: Path, kind: str) -> None:
    source = FileLog(log)
    if kind == "inclusion":
        text = prove_inclusion(source, 300, newest(log))
    else:
        text = prove_consistency(source, source.notes()[4], newest(log))
    raw = text.encode()
    assert check_proof(raw, SIGNER.vkey).ok
    for place in range(len(raw)):
        for flip in (1, 32, 128):
            changed = bytearray(raw)
            changed[place] ^= flip
            assert not check_proof(bytes(changed), SIGNER.vkey).ok, (place, flip)
    for changed_text in (
        text[:-1],
        text + "\n",
        text + text,
        "\n" + text,
        text.replace("\n", "\r\n"),
        "\n".join(text.split("\n")[1:]),
        text.replace("\n\n", "\n\n\n", 1),
        text.replace("\n\n", f"\n{base64.b64encode(bytes(32)).decode()}\n\n", 1),
        "",
        "x",
    ):
        assert not check_proof(changed_text.encode(), SIGNER.vkey).ok


def test_proofs_that_say_something_else(log: Path) -> None:
    text = prove_inclusion(FileLog(log), 300, newest(log))
    extra = text.split("\n")[1]
    body = base64.b64decode(extra.removeprefix("extra "))
    bare = text.replace(extra + "\n", "")
    assert check_proof(bare.encode(), SIGNER.vkey, body).ok
    report = check_proof(bare.encode(), SIGNER.vkey)
    assert "does not carry" in report.problem
    other = body.replace(b"300", b"301")
    assert "another record" in check_proof(text.encode(), SIGNER.vkey, other).problem
    assert "does not lead" in check_proof(bare.encode(), SIGNER.vkey, other).problem
    for index in ("0300", "-1", "+300", "300 ", "3e2", "٣٠٠", "99999999999999999", "301", "520"):
        changed = text.replace("index 300", f"index {index}")
        assert not check_proof(changed.encode(), SIGNER.vkey).ok
    long = text.encode() + b"x" * PROOF_BYTES_MAX
    assert check_proof(long, SIGNER.vkey).kind == "none"
    assert check_proof(b"\xff\xfe", SIGNER.vkey).problem == "it is not text"
    foreign = Signer(ORIGIN, bytes(32)).vkey
    assert "not signed" in check_proof(text.encode(), foreign).problem
    with pytest.raises(ConfigError):
        check_proof(text.encode(), "nonsense")


def test_a_signed_root_over_something_that_is_no_record() -> None:
    body = b'{"face":"' + b"A" * 300 + b'"}'
    root = hashlib.sha256(b"\0" + body).digest()
    note = SIGNER.sign(Checkpoint(ORIGIN, 1, root))
    extra = base64.b64encode(body).decode()
    proof = f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex 0\n\n{note}"
    report = check_proof(proof.encode(), SIGNER.vkey)
    assert not report.ok
    assert "is not one that a gate writes" in report.problem


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "c2sp.org/tlog-proof@v1\n",
       "c2sp.org/tlog-proof@v1\nextra ", "c2sp.org/tlog-proof@v1\nindex 0\n",
       "consentgate-consistency-proof@v1\n", "consentgate-consistency-proof@v1\n\n"]))  # fmt: skip
def test_arbitrary_bytes_are_no_proof(raw: bytes, begin: str) -> None:
    assert not check_proof(begin.encode() + raw, SIGNER.vkey).ok


@settings(deadline=None)
@given(st.lists(st.text("\nAQ=— index0extra", max_size=40), max_size=12))
def test_arbitrary_lines_are_no_proof(lines: list[str]) -> None:
    for header in ("c2sp.org/tlog-proof@v1", "consentgate-consistency-proof@v1"):
        assert not check_proof("\n".join([header, *lines]).encode(), SIGNER.vkey).ok


def test_a_proof_of_a_pruned_record_needs_the_record(log: Path, tmp_path: Path) -> None:
    pruned = tmp_path / "ledger.db"
    shutil.copy(log, pruned)
    bodies = (log.with_name("export") / "entries.jsonl").read_bytes().split(b"\n")
    with closing(Ledger.open(pruned, SIGNER, ORIGIN)) as ledger:
        ledger.prune(256, NOON + timedelta(days=2))
    proof = prove_inclusion(FileLog(pruned), 17, newest(pruned))
    assert "extra" not in proof
    assert not check_proof(proof.encode(), SIGNER.vkey).ok
    assert check_proof(proof.encode(), SIGNER.vkey, bodies[17]).ok
    assert not check_proof(proof.encode(), SIGNER.vkey, bodies[18]).ok
    kept = newest(log)
    assert check_proof(
        prove_consistency(FileLog(pruned), kept, newest(pruned)).encode(), SIGNER.vkey
    ).ok


def test_consistency_from_the_empty_log_and_to_itself(log: Path) -> None:
    notes = FileLog(log).notes()
    for old, new in ((notes[0], notes[-1]), (notes[-1], notes[-1]), (notes[0], notes[0])):
        proof = prove_consistency(FileLog(log), old, new)
        assert proof.startswith("consentgate-consistency-proof@v1\n\n" + ORIGIN)
        assert check_proof(proof.encode(), SIGNER.vkey).ok
    assert consistency_path(lambda _start, _end: b"", 0, 5) == []


def gate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["ledger", *map(str, arguments)])


def test_the_commands(log: Path, tmp_path: Path) -> None:
    proof, folder = tmp_path / "300.tlog-proof", log.with_name("export")
    made = gate("prove", "inclusion", log, 300, "-o", proof)
    assert (made.exit_code, made.stdout) == (0, f"{proof}\n")
    assert proof.read_text() == gate("prove", "inclusion", folder, 300).stdout
    checked = gate("check", proof, "--vkey", SIGNER.vkey)
    assert checked.exit_code == 0
    assert checked.stdout.startswith(f"HOLDS: record 300 is in the log of {ORIGIN}, as it was")
    assert '"seq":300' in checked.stdout
    record = tmp_path / "record"
    record.write_bytes((folder / "entries.jsonl").read_bytes().splitlines(keepends=True)[300])
    assert gate("check", proof, "--vkey", SIGNER.vkey, "--entry", record).exit_code == 0
    record.write_text("{}")
    refused = gate("check", proof, "--vkey", SIGNER.vkey, "--entry", record)
    assert refused.exit_code == 3
    assert refused.stdout == "DOES NOT HOLD: it is about another record than the one given\n"
    told = json.loads(gate("check", proof, "--vkey", SIGNER.vkey, "--json").stdout)
    assert (told["ok"], told["index"], told["record"]["seq"]) == (True, 300, 300)
    kept = tmp_path / "kept"
    kept.write_text(FileLog(log).notes()[7])
    for arguments in ([kept], [70], [70, SIZE], [kept, SIZE]):
        made = gate("prove", "consistency", log, *arguments)
        assert made.exit_code == 0, made.output
        proof.write_text(made.stdout)
        said = gate("check", proof, "--vkey", SIGNER.vkey)
        assert said.stdout.startswith(f"HOLDS: the log of {ORIGIN} only grew from 70 to {SIZE}")
    earlier = gate("prove", "inclusion", log, 3, "--at", kept)
    assert "\n70\n" in earlier.stdout


def test_what_the_commands_refuse(log: Path, tmp_path: Path) -> None:
    def said(*arguments: object) -> tuple[int, str]:
        done = gate(*arguments)
        return done.exit_code, " ".join((done.stdout + done.stderr).split())

    assert said("prove", "inclusion", log, 9999) == (
        3,
        f"NO PROOF: that checkpoint has no record 9999, only {SIZE} from 0 on",
    )
    assert said("prove", "consistency", log, 500, 100)[0] == 3
    code, text = said("prove", "consistency", log, 71)
    assert code == 2
    assert "keeps no checkpoint of 71 records; near it are 60, 70, 80" in text
    assert said("prove", "inclusion", tmp_path / "none", 1)[0] == 2
    assert said("prove", "inclusion", tmp_path, 1)[0] == 2
    (tmp_path / "junk").write_text("junk")
    for at in (tmp_path / "junk", tmp_path / "none"):
        assert said("prove", "inclusion", log, 1, "--at", at)[0] == 2
    assert said("prove", "inclusion", tmp_path / "junk", 1)[0] == 2
    assert said("check", tmp_path / "junk", "--vkey", SIGNER.vkey)[0] == 3
    assert said("check", tmp_path / "none", "--vkey", SIGNER.vkey)[0] == 2
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "checkpoints.jsonl").write_text("3\n")
    with pytest.raises(LedgerFault, match="damaged"):
        FolderLog(tmp_path / "export").notes()
