"""Published vectors.

Merkle: the eight-leaf reference tree of RFC 6962 implementations (Google's certificate-transparency
test data, also in Trillian and transparency-dev/merkle).
Notes: the example key and note of Go's golang.org/x/mod/sumdb/note package documentation.
"""

import pytest

from gate.errors import LedgerFault
from gate.ledger.checkpoint import open_note, parse_skey
from gate.ledger.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from gate.ledger.verify.proofs import Tree

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Inclusion paths (leaf counted from 0, tree size) and consistency paths of the same test data.
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CONSISTENCY = {
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


@pytest.mark.parametrize("size", range(9))
def test_roots_of_writer_and_verifier(size: int) -> None:
    frontier, tree = Frontier(), Tree()
    for leaf in LEAVES[:size]:
        frontier.append(leaf_hash(leaf))
        tree.add(leaf)
    assert frontier.root().hex() == ROOTS[size]
    assert tree.root(size).hex() == ROOTS[size]
    assert root_of(HASHES[:size]).hex() == ROOTS[size]


@pytest.mark.parametrize("place", INCLUSION, ids=str)
def test_inclusion_paths(place: tuple[int, int]) -> None:
    index, size = place
    proof = inclusion_proof(HASHES[:size], index)
    assert [node.hex() for node in proof] == INCLUSION[place]
    assert verify_inclusion(HASHES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize("sizes", CONSISTENCY, ids=str)
def test_consistency_paths(sizes: tuple[int, int]) -> None:
    first, second = sizes
    proof = consistency_proof(HASHES[:second], first)
    assert [node.hex() for node in proof] == CONSISTENCY[sizes]
    roots = bytes.fromhex(ROOTS[first]), bytes.fromhex(ROOTS[second])
    assert verify_consistency(first, second, proof, *roots)


GO_SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"  # noqa: E501
)


def test_go_note_key() -> None:
    signer = parse_skey(GO_SKEY)
    assert signer.vkey == GO_VKEY
    assert signer.skey() == GO_SKEY


def test_go_note_signature_is_accepted_but_is_no_checkpoint() -> None:
    with pytest.raises(LedgerFault, match="not a checkpoint"):
        open_note(GO_NOTE, GO_VKEY)
    with pytest.raises(LedgerFault, match="not signed"):
        open_note(GO_NOTE.replace("answer", "Answer"), GO_VKEY)
