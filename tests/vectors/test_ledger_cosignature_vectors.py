"""Published examples of co-signatures and of the witness protocol.

Origins:
- C2SP tlog-cosignature, the example checkpoint (its keys are not published: framing only)
- github.com/transparency-dev/formats note/note_cosigv1_test.go: key texts, a signature's time
- github.com/FiloSottile/torchwood witness tests TestRace, TestTooManyProofs, TestZeroSize: requests
  signed by a real log key, with their proofs, and the status of each case
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gate.errors import ConfigError
from gate.ledger.checkpoint import ED25519, Checkpoint, Signer
from gate.ledger.cosignature import (
    Cosigner,
    WitnessKey,
    message,
    parse_witness_skey,
    parse_witness_vkey,
)
from gate.ledger.merkle import EMPTY_ROOT
from gate.ledger.signed_note import NoteKey, SignatureLine, split
from gate.ledger.verify.proofs import parse_vkey
from gate.ledger.verify.witness import cosignature_lines, parse_witness
from gate.ledger.witness_client import request_body
from gate.witness.judge import Answer, Witness
from gate.witness.state import WitnessState

BEHIND_THE_SOFA = """\
example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501 -- as published
SIGSUM = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
LOG_PUBLIC = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
WITNESS_SEED = bytes.fromhex("31ffc2116ecbe003acaa800ab70757bd7d53206e3febef6a6d0796d95530b34f")
WITNESS_PUBLIC = bytes.fromhex("64848ad8abed6e85981b3b3875b252b8767ebb4b02f703aca3b1e71bbd6a8e50")
TREE_1 = f"""\
{SIGSUM}
1
KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=

— {SIGSUM} UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=
"""  # noqa: E501 -- as published
TREE_3 = f"""\
{SIGSUM}
3
RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=

— {SIGSUM} UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=
"""  # noqa: E501 -- as published
TREE_5 = f"""\
{SIGSUM}
5
QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=

— {SIGSUM} UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=
"""  # noqa: E501 -- as published
FROM_1_TO_3 = (
    "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= KgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)
FROM_1_TO_5 = (
    "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= +fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI= "
    "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)


def proof(text: str) -> list[bytes]:
    return [base64.b64decode(word) for word in text.split()]


class Clock:
    """A witness's clocks, moved by the test."""

    def __init__(self) -> None:
        self.time_s = 1_679_315_147
        self.monotonic_s = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def torchwood(tmp_path: Path, clock: Clock) -> Iterator[Witness]:
    """The witness of the published tests: same key, same log."""
    cosigner = Cosigner("example.com", WITNESS_SEED)
    path = tmp_path / "state"
    WitnessState.create(path, cosigner.vkey)
    log = parse_vkey(NoteKey(SIGSUM, ED25519, LOG_PUBLIC).vkey)
    with closing(WitnessState.open(path, cosigner.vkey)) as state:
        yield Witness(
            cosigner,
            {SIGSUM: [log]},
            state,
            time_s=lambda: clock.time_s,
            monotonic_s=lambda: clock.monotonic_s,
        )


def test_the_example_of_the_specification_frames_as_it_says() -> None:
    text, (_, cosignature) = split(BEHIND_THE_SOFA)
    assert cosignature.name == "witness.example.com/w1"
    assert cosignature.key_id.hex() == "8d66cf3f"
    assert WitnessKey.time_of(cosignature) == 1_679_315_147
    assert message(text, 1_679_315_147) == (
        b"cosignature/v1\ntime 1679315147\n"
        b"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )
    assert cosignature.text() == BEHIND_THE_SOFA.splitlines(keepends=True)[-1]
    opened = cosignature_lines(BEHIND_THE_SOFA)
    assert opened is not None
    assert opened[0] == text
    assert opened[1][1] == ("witness.example.com/w1", cosignature.key_id + cosignature.signature)


def test_a_published_time() -> None:
    raw = base64.b64decode(
        "ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8qT7S5gxEHWWOworDcFi"
        "EBYJXORmnFBOBA=="
    )
    assert WitnessKey.time_of(SignatureLine("w", raw[:4], raw[4:])) == 1_727_964_367


REMORA = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"


def test_a_published_witness_key() -> None:
    key, same = parse_witness_vkey(REMORA), parse_witness(REMORA)
    assert (key.name, key.key.key_id.hex(), key.key.vkey) == ("remora.n621.de", "da77ade7", REMORA)
    assert (same.name, same.key_id, same.public) == (key.name, key.key.key_id, key.key.public)
    assert key.ident == same.ident


@pytest.mark.parametrize(
    "vkey",
    [
        "TEST+7997405c+AQcC+FTVKf0jlTdHDY3rbevmnKxxPjigCXlVtGe6RIr6",
        "bananas.sigstore.dev+12344556",
        "rekor.sigstore.dev+12345678+THIS_IS_NOT_BASE64!",
        "rekor.sigstore.dev+12345678+AwEB",
        REMORA.replace("da77ade7", "00000000"),
        REMORA.replace("da77ade7", "DA77ADE7"),
        REMORA.replace("remora", "rem ora"),
        REMORA.replace("Lvkie", "Lvkif"),
        REMORA + "\n",
        "",
    ],
)
def test_what_is_no_witness_key(vkey: str) -> None:
    """The first is a log's key: it must not count as a witness's."""
    for parse in (parse_witness_vkey, parse_witness):
        with pytest.raises(ConfigError, match="not the verifier key of a witness"):
            parse(vkey)


def test_the_published_seed_makes_the_published_public_key() -> None:
    cosigner = Cosigner("example.com", WITNESS_SEED)
    assert cosigner.key.key.public == WITNESS_PUBLIC
    key_id = hashlib.sha256(b"example.com\n\x04" + WITNESS_PUBLIC).digest()[:4]
    assert cosigner.key.ident == f"example.com+{key_id.hex()}"
    assert parse_witness_skey(cosigner.skey() + "\n").vkey == cosigner.vkey


def test_requests_of_another_implementation(torchwood: Witness) -> None:
    """TestRace: 1, then 5; the request for 3 that lost the race must not roll the log back."""
    first = torchwood.add_checkpoint(request_body(0, [], TREE_1))
    assert first.status == 200
    assert parse_witness_vkey(torchwood.vkey).cosigned_at(TREE_1 + first.body) == 1_679_315_147
    assert torchwood.add_checkpoint(request_body(1, proof(FROM_1_TO_5), TREE_5)).status == 200
    late = torchwood.add_checkpoint(request_body(1, proof(FROM_1_TO_3), TREE_3))
    assert late == Answer(409, "5\n", "text/x.tlog.size")
    ((seen, refused),) = torchwood.known()
    assert (seen.size, refused) == (5, 0)
    assert seen.root.hex() == "42bb57ad06420afa4882c4a63ac6a1ec77480b330b2f20dfc53a0caa5f564e36"


def test_more_than_63_proof_lines(torchwood: Witness) -> None:
    nodes = [bytes([42, 1]) + bytes(30)] * 64
    assert torchwood.add_checkpoint(request_body(0, nodes, TREE_1)).status == 400
    assert torchwood.add_checkpoint(request_body(0, nodes[:63], TREE_1)).status == 422


LEAF = hashlib.sha256(b"\0leaf").digest()


@pytest.mark.parametrize(
    ("known", "old", "new", "root", "nodes", "status"),
    [
        pytest.param(0, 0, 0, EMPTY_ROOT, [], 200, id="empty tree"),
        pytest.param(0, 0, 0, LEAF, [], 422, id="invalid empty root"),
        pytest.param(0, 0, 0, bytes(32), [], 422, id="zero empty root"),
        pytest.param(0, 0, 0, EMPTY_ROOT, [LEAF], 422, id="empty tree with proof"),
        pytest.param(0, 0, 1, LEAF, [], 200, id="first nonempty tree"),
        pytest.param(0, 0, 1, LEAF, [LEAF], 422, id="first nonempty tree with proof"),
        pytest.param(1, 0, 1, LEAF, [LEAF], 409, id="old size mismatch"),
        pytest.param(1, 1, 0, EMPTY_ROOT, [], 400, id="old size greater than new"),
    ],
)
def test_trees_around_the_empty_one(
    tmp_path: Path, known: int, old: int, new: int, root: bytes, nodes: list[bytes], status: int
) -> None:
    origin = "example.com/log"
    signer, cosigner = Signer(origin, bytes(32)), Cosigner("example.com/witness", bytes(32))
    WitnessState.create(tmp_path / "state", cosigner.vkey)
    with closing(WitnessState.open(tmp_path / "state", cosigner.vkey)) as state:
        witness = Witness(
            cosigner,
            {origin: [parse_vkey(signer.vkey)]},
            state,
            time_s=lambda: 1,
            monotonic_s=lambda: 0.0,
        )
        if known:
            note = signer.sign(Checkpoint(origin, 1, LEAF))
            assert witness.add_checkpoint(request_body(0, [], note)).status == 200
        note = signer.sign(Checkpoint(origin, new, root))
        for _ in range(2):
            answer = witness.add_checkpoint(request_body(old, nodes, note))
            assert answer.status == status
            assert ("\u2014 " in answer.body) is (status == 200)
            sizes = [seen.size for seen, _ in witness.known()]
            assert sizes == ([new] if status == 200 else [1] * known)
            if status == 200:
                assert cosigner.key.cosigned_at(note + answer.body) == 1
                old = new
