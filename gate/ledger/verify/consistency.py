"""Merkle consistency proofs by their recursive definition, RFC 6962 section 2.1.2."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence


def grows_from(
    old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]
) -> bool:
    """Whether a proof shows that the tree of `size` leaves only adds to that of `old_size`.

    Args:
        old_size: 0 to `size`. Every tree adds to the empty one, with an empty proof.
        old_root: 32 bytes; of no meaning when `old_size` is 0.
        size: of the newer tree.
        root: of the newer tree, 32 bytes.
        proof: PROOF(old_size, D[size]), 32 bytes each.
    """
    if not 0 <= old_size <= size:
        return False
    if old_size == 0:
        return not proof
    hashes = iter(proof)
    try:
        roots = _roots(old_size, size, old_root, hashes)
    except StopIteration:
        return False
    return next(hashes, None) is None and roots == (old_root, root)


def _roots(m: int, n: int, whole: bytes | None, hashes: Iterator[bytes]) -> tuple[bytes, bytes]:
    """Return the root of the first `m` and of all `n` leaves that SUBPROOF(m, D[n], b) leads to.

    `whole` is the known old root where b is true, None where b is false.
    """
    if m == n:
        same = next(hashes) if whole is None else whole
        return same, same
    k = 1
    while 2 * k < n:
        k *= 2
    if m <= k:
        old, left = _roots(m, k, whole, hashes)
        return old, _node(left, next(hashes))
    old, right = _roots(m - k, n - k, None, hashes)
    left = next(hashes)
    return _node(left, old), _node(left, right)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
