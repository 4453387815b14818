"""What a card holds in sealed form, opened: for the probe alone, with the canary site's key."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from enrollment.wallet import Wallet
from gate.card import mdoc
from gate.probe.forms import encodings, vector_forms
from gate.probe.needles import Kind, Needle
from gate.template.biometric import Template
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.keys import FileKey

CONTENT_KEY = "content key"
"""Ends the names of the keys that open one sealed object of one card. Not biometric."""


def template_needles(name: str, card: Path, key_file: Path) -> list[Needle]:
    """Return the opened template of a card, its reference vector and its key, in all forms.

    Raises:
        ConfigError: the card or the key cannot be read.
        TemplateRejected: the key is not the site's.
    """
    elements = Wallet.load(card, lambda: datetime.now(UTC), os.urandom).elements
    envelope = Envelope.decode(_bytes(elements[mdoc.SEALED_TEMPLATE]))
    context = SealContext.for_template(
        _bytes(elements[mdoc.CREDENTIAL_ID]),
        envelope.model_id,
        _bytes(elements[mdoc.CONSENT_RECORD]),
        _bytes(elements[mdoc.TEMPLATE_AUX]),
        mdoc.decode_expiry(elements[mdoc.EXPIRY_DATE]),
    )
    content_key = FileKey.load(key_file).unwrap(envelope.wrapped, context.hpke_info())
    template = Template.decode(open_envelope(envelope, content_key, context))
    # Only the values: the model's name before them is public and stands in every process.
    return [
        *encodings(f"{name} template", template.values.tobytes()),
        *vector_forms(f"{name} reference", template.reference().values),
        *encodings(f"{name} {CONTENT_KEY}", content_key, Kind.KEY),
    ]


def template_aux_of(card: Path) -> bytes:
    """Return the auxiliary data of a card, with which the gate protects what it sees."""
    wallet = Wallet.load(card, lambda: datetime.now(UTC), os.urandom)
    return _bytes(wallet.elements[mdoc.TEMPLATE_AUX])


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value
