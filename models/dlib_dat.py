"""Strict reader of dlib's portable serialisation: only what the face ResNet file needs.

The file is untrusted until its SHA-256 was checked; this reader is strict all the same. Every
length is capped before memory is taken for it, and every surprise is a ModelFault.
Source: dlib/serialize.h, dlib/dnn/core.h and dlib/dnn/layers.h of dlib 19.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelFault

_NAME_MAX = 64
_ELEMENTS_MAX = 4_000_000
_ADVICE = "delete the file and run 'gate models fetch' again"

Shape = tuple[int, int, int, int]
"""Samples, channels (dlib: k), rows, columns."""


class DatReader:
    """A cursor over the bytes of one .dat file.

    Args:
        data: the whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def _fault(self, what: str) -> ModelFault:
        return ModelFault(f"dlib model file, byte {self._at}: {what}", _ADVICE)

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes.

        Raises:
            ModelFault: the file ends before.
        """
        if count < 0 or count > len(self._data) - self._at:
            raise self._fault(f"file ends, {count} more bytes were announced")
        piece = self._data[self._at : self._at + count]
        self._at += count
        return piece

    def integer(self, low: int, high: int) -> int:
        """Return one packed integer in low..high.

        One control byte (low 4 bits: number of bytes, 0x80: negative), then little endian bytes.
        """
        control = self.take(1)[0]
        size = control & 0x0F
        if control & 0x70 or not 1 <= size <= 8:
            raise self._fault(f"0x{control:02x} does not start an integer")
        value = int.from_bytes(self.take(size), "little")
        value = -value if control & 0x80 else value
        if not low <= value <= high:
            raise self._fault(f"integer {value} is outside {low}..{high}")
        return value

    def expect(self, value: int, meaning: str) -> None:
        """Read one integer that can only be `value`."""
        got = self.integer(-(2**63), 2**63)
        if got != value:
            raise self._fault(f"{meaning} is {got}, expected {value}")

    def real(self) -> float:
        """Return one portable float: integer mantissa, then integer exponent of two."""
        mantissa = self.integer(-(2**63), 2**63)
        exponent = self.integer(-1100, 1100)
        value = math.ldexp(mantissa, exponent) if exponent < 900 else math.inf
        if not math.isfinite(value):
            raise self._fault("a float is not finite")
        return value

    def name(self, expected: str) -> None:
        """Read one length-prefixed name that can only be `expected`."""
        size = self.integer(0, _NAME_MAX)
        got = self.take(size)
        if got != expected.encode("ascii"):
            raise self._fault(f"layer {got!r} where {expected!r} belongs")

    def flags(self, count: int) -> None:
        """Read `count` booleans, each '0' or '1', and forget them."""
        if not set(self.take(count)) <= {0x30, 0x31}:
            raise self._fault("a boolean is neither '0' nor '1'")

    def shape(self) -> Shape:
        """Return four dimensions."""
        n, k, rows, columns = (self.integer(0, _ELEMENTS_MAX) for _ in range(4))
        return n, k, rows, columns

    def alias(self) -> Shape:
        """Return the shape of one alias tensor (a view on parameters)."""
        self.expect(1, "alias tensor version")
        return self.shape()

    def tensor(self) -> NDArray[np.float32]:
        """Return one tensor: version 2, four dimensions, raw little endian float32.

        Returns:
            float32, shape (n, k, rows, columns), all finite.
        """
        self.expect(2, "tensor version")
        shape = self.shape()
        count = math.prod(shape)
        if count > _ELEMENTS_MAX:
            raise self._fault(f"a tensor of {count} numbers is larger than any of this model")
        values = np.frombuffer(self.take(4 * count), "<f4").astype(np.float32).reshape(shape)
        if not np.isfinite(values).all():
            raise self._fault("a tensor holds a number that is not finite")
        return values

    def end(self) -> None:
        """Check that nothing follows."""
        if self._at != len(self._data):
            raise self._fault(f"{len(self._data) - self._at} bytes too many")
