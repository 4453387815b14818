"""One entry of [ledger] witnesses: `VKEY URL`, or `VKEY` alone for one that signs offline."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gate.errors import ConfigError
from gate.ledger.cosignature import WitnessKey, parse_witness_vkey

WITNESSES_MAX: Final = 8
_PLAIN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class WitnessSite:
    """A witness that this gate names. `url` is its submission prefix, None when it has none."""

    key: WitnessKey
    url: str | None


def parse_site(text: str) -> WitnessSite:
    """Return the witness of one entry.

    Raises:
        ConfigError: no verifier key of a witness, or no address that may be used: https, or http
            to this machine or a private address. Both sides sign what they say, so http loses no
            truth, only privacy from those on the line.
    """
    vkey, _, url = text.strip().partition(" ")
    key, url = parse_witness_vkey(vkey), url.strip()
    if not url:
        return WitnessSite(key, None)
    advice = f"write the entry of {key.name} as VKEY https://host/prefix"
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ConfigError("the address of a witness is not a URL", advice) from None
    plain = parts.scheme == "http" and _is_near(host)
    if not host or port == 0 or not (plain or parts.scheme == "https"):
        raise ConfigError(
            "a witness is asked over https, or over http at a private address", advice
        )
    if parts.username is not None or parts.query or parts.fragment or not _PLAIN.fullmatch(url):
        raise ConfigError("the address of a witness holds more than host, port and path", advice)
    return WitnessSite(key, url.rstrip("/"))


def parse_sites(texts: tuple[str, ...]) -> tuple[WitnessSite, ...]:
    """Return the witnesses of all entries.

    Raises:
        ConfigError: one does not fit, too many, or one key twice.
    """
    sites = tuple(parse_site(text) for text in texts)
    if len(sites) > WITNESSES_MAX:
        raise ConfigError(f"at most {WITNESSES_MAX} witnesses can be named", "name fewer")
    if len({site.key.key.public for site in sites}) != len(sites):
        raise ConfigError("two witnesses have one key", "name each witness once")
    return sites


def _is_near(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_private
    return False
