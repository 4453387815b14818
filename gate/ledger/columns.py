"""What one field of a record may hold. Pure.

The rules are few on purpose: true or false, one word of a list, a whole number in a range, or
hexadecimal of one length. No text, no bytes, no fractions.
"""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Within:
    """The closed range of a whole number."""

    low: int
    high: int

    def clamp(self, value: int) -> int:
        """Return the nearest value of the range; a bound then means "or beyond"."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Hex:
    """Lower-case hexadecimal of exactly `digits` digits."""

    digits: int


Rule = type[bool] | type[Enum] | Within | Hex


@dataclass(frozen=True)
class Column:
    """What one field may hold."""

    rule: Rule
    optional: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is allowed. Exact types: a subclass could carry more."""
        match self.rule:
            case Within(low=low, high=high):
                return type(value) is int and low <= value <= high
            case Hex(digits=digits):
                return type(value) is str and bool(re.fullmatch(rf"[0-9a-f]{{{digits}}}", value))
            case rule:
                return type(value) is rule or (self.optional and value is None)

    def read(self, value: object) -> Any:
        """Return the field's value from its JSON form.

        Raises:
            ValueError: not a word of the list.
        """
        if isinstance(self.rule, type) and issubclass(self.rule, Enum) and value is not None:
            return self.rule(value)
        return value


def columns_of(record_type: type) -> Mapping[str, Column]:
    """Return the columns of a record type, in the order of its fields."""
    hints = get_type_hints(record_type, include_extras=True)
    return {field.name: _column(hints[field.name]) for field in fields(record_type)}


def _column(hint: Any) -> Column:
    if get_origin(hint) is Annotated:
        rule = get_args(hint)[1]
        assert isinstance(rule, Within | Hex)
        return Column(rule)
    if get_origin(hint) in {Union, types.UnionType}:
        (inner,) = [part for part in get_args(hint) if part is not type(None)]
        return Column(_column(inner).rule, optional=True)
    assert hint is bool or issubclass(hint, Enum), "the schema is closed"
    return Column(hint)
