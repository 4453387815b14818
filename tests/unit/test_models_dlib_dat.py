"""The strict reader of dlib's serialisation: what it accepts, and that nothing else passes."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dlib_dat import DatReader
from models.errors import ModelFault
from models.import_dlib import read_resnet


def packed(value: int) -> bytes:
    size = max(1, (abs(value).bit_length() + 7) // 8)
    control = size | (0x80 if value < 0 else 0)
    return bytes([control]) + abs(value).to_bytes(size, "little")


def tensor(values: np.ndarray) -> bytes:
    return (
        packed(2) + b"".join(packed(side) for side in values.shape) + values.astype("<f4").tobytes()
    )


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_integers_round_trip(value: int) -> None:
    reader = DatReader(packed(value))
    assert reader.integer(-(2**63), 2**63) == value
    reader.end()


@given(st.integers(-(2**40), 2**40), st.integers(-60, 60))
def test_reals_are_mantissa_times_power_of_two(mantissa: int, exponent: int) -> None:
    reader = DatReader(packed(mantissa) + packed(exponent))
    assert reader.real() == math.ldexp(mantissa, exponent)


@given(
    st.tuples(*[st.integers(1, 4)] * 4).flatmap(
        lambda shape: st.lists(
            st.floats(width=32, allow_nan=False, allow_infinity=False),
            min_size=math.prod(shape),
            max_size=math.prod(shape),
        ).map(lambda numbers: np.array(numbers, np.float32).reshape(shape))
    )
)
def test_tensors_round_trip(values: np.ndarray) -> None:
    reader = DatReader(tensor(values))
    np.testing.assert_array_equal(reader.tensor(), values)
    reader.end()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_tensor_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(ModelFault, match="not finite"):
        DatReader(tensor(np.full((1, 1, 1, 1), bad))).tensor()


def test_a_huge_tensor_is_refused_before_memory_is_taken() -> None:
    announced = packed(2) + packed(4_000_000) + packed(4_000_000) + packed(1) + packed(1)
    with pytest.raises(ModelFault, match="larger than any"):
        DatReader(announced).tensor()


@pytest.mark.parametrize("control", [0x00, 0x09, 0x11, 0x40, 0xC1])
def test_a_wrong_control_byte_is_refused(control: int) -> None:
    with pytest.raises(ModelFault, match="does not start an integer"):
        DatReader(bytes([control]) + bytes(16)).integer(-(2**63), 2**63)


def test_trailing_bytes_are_refused() -> None:
    with pytest.raises(ModelFault, match="1 bytes too many"):
        DatReader(b"\0").end()


def test_a_float_that_overflows_is_refused() -> None:
    with pytest.raises(ModelFault, match="finite"):
        DatReader(packed(2**62) + packed(1099)).real()


@given(st.binary(max_size=400))
def test_any_bytes_end_in_a_model_fault(data: bytes) -> None:
    with pytest.raises(ModelFault):
        read_resnet(data)


@given(st.binary(max_size=200))
def test_any_bytes_after_a_true_start_end_in_a_model_fault(data: bytes) -> None:
    start = packed(1) + packed(13) + b"loss_metric_2" + struct.pack("<BBBb", 1, 3, 0x81, 4)
    with pytest.raises(ModelFault):
        read_resnet(start + data)
