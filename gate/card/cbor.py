"""The one strict CBOR loader of the card room, and its deterministic encoder.

Whatever a card says passes through `load`: one data item, nothing behind it, no duplicate keys,
no indefinite lengths, no tags but the few that ISO/IEC 18013-5 uses, bounded depth and size.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

import cbor2

from gate.errors import ProtocolViolation

MAX_BYTES: Final = 16 * 1024
MAX_DEPTH: Final = 16

TAG_TDATE: Final = 0
TAG_ENCODED_CBOR: Final = 24
TAG_FULL_DATE: Final = 1004

# Tags that cbor2 would turn into objects by itself (numbers, patterns, shared references, ...).
# None of them belongs on a card, and some build cycles or cost more than their size.
_FOREIGN_TAGS: Final = (
    *range(1, 6),
    25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 43000, 55799,
)  # fmt: skip

_T = TypeVar("_T")


class MalformedCbor(ProtocolViolation):
    """Bytes that are not one strict CBOR item of the expected shape."""


@dataclass(frozen=True, repr=False)
class EncodedCbor:
    """A tag-24 item (`#6.24(bstr .cbor any)`) as it stood in the received bytes.

    `raw` is the whole item, tag and length included: what digests and transcripts are over.
    `content` is the byte string inside.
    """

    raw: bytes
    content: bytes

    @classmethod
    def wrap(cls, content: bytes) -> EncodedCbor:
        """Return `content` as a tag-24 item in its shortest form."""
        return cls(b"\xd8\x18" + byte_string(content), content)

    def load(self) -> Any:
        """Decode the content strictly. Raises MalformedCbor."""
        return load(self.content)


def byte_string(content: bytes) -> bytes:
    """Encode a CBOR byte string with the shortest length."""
    return cbor2.dumps(content)


def encode(value: object) -> bytes:
    """Encode deterministically (RFC 8949 section 4.2.3: shortest forms, length-first map keys)."""
    return cbor2.dumps(value, canonical=True, default=_encode_extra)


def load(data: bytes, *, max_bytes: int = MAX_BYTES) -> Any:
    """Decode exactly one CBOR item.

    Tag 24 becomes EncodedCbor; tags 0 and 1004 stay `cbor2.CBORTag`; every other tag is
    refused.

    Args:
        data: the received bytes.
        max_bytes: refuse anything longer before looking at it.

    Raises:
        MalformedCbor: anything but one well-formed item within the limits.
    """
    if len(data) > max_bytes:
        raise MalformedCbor(f"CBOR of {len(data)} bytes, at most {max_bytes} are read")
    stream = io.BytesIO(data)

    def encoded_cbor(content: object, _immutable: bool) -> EncodedCbor:
        if not isinstance(content, bytes):
            raise ValueError("tag 24 holds no byte string")
        item = EncodedCbor.wrap(content)
        # Digests need the received bytes. They equal the shortest form, or the item is refused.
        end = stream.tell()
        if data[end - len(item.raw) : end] != item.raw:
            raise ValueError("tag 24 not in its shortest form")
        return item

    decoders: dict[int, Any] = {
        **_REFUSED,
        TAG_TDATE: lambda text, _immutable: cbor2.CBORTag(TAG_TDATE, text),
        TAG_FULL_DATE: lambda text, _immutable: cbor2.CBORTag(TAG_FULL_DATE, text),
        TAG_ENCODED_CBOR: encoded_cbor,
    }
    try:
        # read_size=1: the decoder reads no further than the item, so tell() is its end.
        value = cbor2.CBORDecoder(
            stream,
            tag_hook=_unknown_tag,
            semantic_decoders=decoders,
            read_size=1,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        ).decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, MemoryError) as error:
        # The library's message can quote the data; only its kind is kept.
        raise MalformedCbor(f"not strict CBOR ({type(error).__name__})") from None
    if stream.tell() != len(data):
        raise MalformedCbor(f"{len(data) - stream.tell()} bytes after the CBOR item")
    return value


def need(value: object, kind: type[_T]) -> _T:
    """Return `value` if it is exactly of `kind` (True is no int). Raises MalformedCbor."""
    if type(value) is not kind:
        raise MalformedCbor(f"expected {kind.__name__}, found {type(value).__name__}")
    return value


def field(mapping: Mapping[Any, Any], key: str | int, kind: type[_T]) -> _T:
    """Return a mandatory map entry of exactly this type. Raises MalformedCbor."""
    if key not in mapping:
        raise MalformedCbor(f"no entry {key!r}")
    return need(mapping[key], kind)


def tagged_text(value: object, tag: int) -> str:
    """Return the text inside one of the date tags. Raises MalformedCbor."""
    if type(value) is not cbor2.CBORTag or value.tag != tag:
        raise MalformedCbor(f"expected tag {tag}")
    return need(value.value, str)


def _refuse(_value: object, _immutable: bool) -> NoReturn:
    raise ValueError("this tag does not belong here")


def _unknown_tag(_tag: cbor2.CBORTag, _immutable: bool) -> NoReturn:
    raise ValueError("this tag does not belong here")


def _encode_extra(encoder: cbor2.CBOREncoder, value: object) -> None:
    if not isinstance(value, EncodedCbor):
        raise TypeError(f"no CBOR form for {type(value).__name__}")
    encoder.encode(cbor2.CBORTag(TAG_ENCODED_CBOR, value.content))


_REFUSED: Final = dict.fromkeys(_FOREIGN_TAGS, _refuse)
