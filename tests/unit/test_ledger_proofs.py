"""Properties of tree proofs and of signed notes, writer against verifier."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gate.errors import ConfigError, LedgerFault
from gate.ledger import keys
from gate.ledger.checkpoint import Checkpoint, Signer, generate, open_note, parse_skey
from gate.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from gate.ledger.verify.proofs import Tree, parse_vkey

ORIGIN = "gate.example/main"


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(b"%d" % index) for index in range(size)]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 700))
def test_the_verifiers_recursion_agrees_with_the_frontier(size: int) -> None:
    tree, frontier, roots = Tree(), Frontier(), [EMPTY_ROOT]
    for index in range(size):
        tree.add(b"%d" % index)
        frontier.append(leaf_hash(b"%d" % index))
        roots.append(frontier.root())
    assert [tree.root(n) for n in range(size + 1)] == roots


@settings(deadline=None)
@given(st.integers(1, 130), st.data())
def test_inclusion(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(leaves, index), root_of(leaves)
    assert verify_inclusion(leaves[index], index, size, proof, root)
    other = data.draw(st.integers(0, size + 2).filter(lambda n: n != index))
    assert not verify_inclusion(leaves[index], other, size, proof, root)
    assert not verify_inclusion(leaf_hash(b"other"), index, size, proof, root)
    assert not verify_inclusion(leaves[index], index, size, [*proof, root], root)
    if proof:
        place = data.draw(st.integers(0, len(proof) - 1))
        broken = [*proof[:place], leaf_hash(proof[place]), *proof[place + 1 :]]
        assert not verify_inclusion(leaves[index], index, size, broken, root)
        assert not verify_inclusion(leaves[index], index, size, proof[1:], root)


@settings(deadline=None)
@given(st.integers(1, 130), st.data())
def test_consistency(size: int, data: st.DataObject) -> None:
    leaves = leaves_of(size)
    first = data.draw(st.integers(1, size))
    proof = consistency_proof(leaves, first)
    old, new = root_of(leaves[:first]), root_of(leaves)
    assert verify_consistency(first, size, proof, old, new)
    rewritten = [*leaves]
    rewritten[data.draw(st.integers(0, first - 1))] = leaf_hash(b"rewritten")
    assert not verify_consistency(first, size, proof, old, root_of(rewritten))
    assert not verify_consistency(first, size, [*proof, new], old, new)
    assert not verify_consistency(0, size, proof, old, new)
    assert not verify_consistency(size + 1, size, proof, old, new)
    if proof:
        assert not verify_consistency(first, size, proof[:-1], old, new)


def test_no_proof_of_what_is_not_there() -> None:
    for size, index in [(0, 0), (3, 3), (3, -1)]:
        with pytest.raises(ValueError, match="no such"):
            inclusion_proof(leaves_of(size), index)
        with pytest.raises(ValueError, match="no such"):
            consistency_proof(leaves_of(size), size + 1 if index >= 0 else 0)


bytes32 = st.binary(min_size=32, max_size=32)
names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="+"),
    min_size=1,
    max_size=128,
)


@settings(deadline=None)
@given(
    names,
    st.binary(min_size=32, max_size=32),
    st.integers(0, 10**15),
    st.binary(min_size=32, max_size=32),
)
def test_a_note_opens_with_its_key_only(name: str, seed: bytes, size: int, root: bytes) -> None:
    signer = Signer(name, seed)
    checkpoint = Checkpoint(name, size, root)
    note = signer.sign(checkpoint)
    assert open_note(note, signer.vkey) == checkpoint
    assert parse_vkey(signer.vkey).open(note) == (name, size, root)
    assert parse_skey(signer.skey()).vkey == signer.vkey
    other = generate(name, os.urandom)
    with pytest.raises(LedgerFault, match="not signed"):
        open_note(note, other.vkey)
    assert parse_vkey(other.vkey).open(note) is None


SIGNER = Signer(ORIGIN, bytes(range(32)))
NOTE = SIGNER.sign(Checkpoint(ORIGIN, 12, bytes(32)))


def test_every_changed_byte_of_a_note_is_refused() -> None:
    raw = NOTE.encode()
    for place in range(len(raw)):
        for flip in (1, 32, 128):
            changed = bytearray(raw)
            changed[place] ^= flip
            note = changed.decode(errors="replace")
            with pytest.raises(LedgerFault):
                open_note(note, SIGNER.vkey)
            assert parse_vkey(SIGNER.vkey).open(note) is None


@settings(deadline=None)
@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: raw.decode("latin-1")))
def test_arbitrary_text_is_no_note(note: str) -> None:
    for text in (note, NOTE + note + "x", note + NOTE[:-1]):
        with pytest.raises(LedgerFault):
            open_note(text, SIGNER.vkey)
        assert parse_vkey(SIGNER.vkey).open(text) is None


def test_a_witness_may_sign_too() -> None:
    witness = generate("witness.example", os.urandom).sign(Checkpoint(ORIGIN, 12, bytes(32)))
    both = NOTE + witness.split("\n\n")[1]
    assert open_note(both, SIGNER.vkey).size == 12
    assert parse_vkey(SIGNER.vkey).open(both) == (ORIGIN, 12, bytes(32))


@pytest.mark.parametrize(
    "vkey",
    ["", "a", "a+b+c", SIGNER.vkey + "=", SIGNER.vkey[:-4], "x" + SIGNER.vkey, SIGNER.vkey + "\n"],
)
def test_a_damaged_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(ConfigError, match="verifier key"):
        open_note(NOTE, vkey)
    with pytest.raises(ConfigError, match="verifier key"):
        parse_vkey(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 129, "게이트"])
def test_a_name_that_a_note_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="log name"):
        generate(name, os.urandom)


def test_a_key_file_is_private_and_never_replaced(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("keys") / "ledger.key"
    keys.save(SIGNER, path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keys.load(path).vkey == SIGNER.vkey
    with pytest.raises(ConfigError, match="exists"):
        keys.save(SIGNER, path)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="other users") as open_key:
        keys.load(path)
    assert "chmod 600" in open_key.value.diagnostics()
    path.chmod(0o600)
    text = path.read_text()
    for bad in ("", "x", text.replace("+", "-"), text[:-9] + "AAAAAAA=\n", "열쇠"):
        path.write_text(bad)
        with pytest.raises(ConfigError) as refused:
            keys.load(path)
        assert text[40:60] not in refused.value.diagnostics()
    with pytest.raises(ConfigError, match="No such file"):
        keys.load(path.with_name("absent"))


def test_no_secret_in_a_repr() -> None:
    assert SIGNER.skey()[-20:] not in repr(SIGNER)
    assert bytes(range(32)).hex() not in repr(SIGNER)
