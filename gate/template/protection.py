"""The renewable, unlinkable transform of ISO/IEC 24745: a rotation keyed by auxiliary data.

Angles are preserved, so scores are too; two enrolments of one person under two keys look
unrelated; a template that leaked is renewed by a new key. Secrecy is not its job: the card's
envelope gives that.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from models.types import Embedding

AUX_BYTES = 32
_ROUNDS = 3
# Three rounds of signs and Hadamard mixing act like a random rotation: Yu et al., "Orthogonal
# Random Features", NeurIPS 2016, section 4. The shuffles are ours, so that odd sizes mix too.


def protect(embedding: Embedding, template_aux: bytes) -> Embedding:
    """Return the embedding rotated by the key: same length, same angles to others so rotated.

    Args:
        embedding: any dimension from 2.
        template_aux: 32 bytes, random per enrolment.

    Returns:
        float32, same shape. Equal bit for bit on every machine: only IEEE additions,
        subtractions and multiplications in a fixed order.

    Raises:
        ValueError: the key is not 32 bytes, or the vector is not one-dimensional.
    """
    x = np.asarray(embedding.values, dtype=np.float64)
    if len(template_aux) != AUX_BYTES:
        raise ValueError("template_aux is not 32 bytes")
    if x.ndim != 1 or x.size < 2:
        raise ValueError("an embedding is one vector of at least two values")
    for order, signs in _schedule(template_aux, x.size):
        x = _mix(x[order] * signs)
    return Embedding(x.astype(np.float32))


def _schedule(template_aux: bytes, dim: int) -> list[tuple[NDArray[np.intp], NDArray[np.float64]]]:
    """Return the keyed shuffle and signs of each round, expanded with SHAKE-256."""
    seed = b"consentgate/1/rotation\x00" + dim.to_bytes(4, "big") + template_aux
    per_round = 8 * dim + dim
    stream = hashlib.shake_256(seed).digest(_ROUNDS * per_round)
    rounds = []
    for start in range(0, len(stream), per_round):
        keys = np.frombuffer(stream, dtype="<u8", count=dim, offset=start)
        bits = np.frombuffer(stream, dtype=np.uint8, count=dim, offset=start + 8 * dim) & 1
        rounds.append((np.argsort(keys, kind="stable"), 1.0 - 2.0 * bits.astype(np.float64)))
    return rounds


def _mix(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hadamard over the first and then the last 2^k values; together they touch every value."""
    block = 1 << (x.size.bit_length() - 1)
    x[:block] = _hadamard(x[:block])
    if block != x.size:
        x[-block:] = _hadamard(x[-block:])
    return x


def _hadamard(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal Walsh-Hadamard transform of 2^k values."""
    size = x.size
    half = 1
    while half < size:
        pairs = x.reshape(-1, 2, half)
        x = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(size)
        half *= 2
    return x * (1.0 / float(np.sqrt(np.float64(size))))
