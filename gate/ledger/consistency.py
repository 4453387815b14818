"""Consistency proofs of a large tree, from subtree hashes that are at hand. Pure."""

from __future__ import annotations

from collections.abc import Callable

Mth = Callable[[int, int], bytes]
"""MTH(D[start:end]), the hash of a part of the tree; RFC 9162 section 2.1.1."""


def consistency_path(mth: Mth, first: int, second: int) -> list[bytes]:
    """Return the proof that the tree of `second` leaves only adds to that of `first`.

    It asks for as many subtrees as the proof has hashes, at most about 2 log2(second).

    Raises:
        ValueError: not 0 <= first <= second.

    Source: RFC 9162 section 2.1.4.1; the empty tree has the empty proof.
    """
    if not 0 <= first <= second:
        raise ValueError("no such earlier tree")
    path: list[bytes] = []
    start, end, whole = 0, second, True
    if first == 0:
        return path
    while first != end:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if first <= middle:
            path.append(mth(middle, end))
            end = middle
        else:
            path.append(mth(start, middle))
            start, whole = middle, False
    if not whole:
        path.append(mth(start, end))
    return path[::-1]
