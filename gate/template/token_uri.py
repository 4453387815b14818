"""PKCS#11 URIs (RFC 7512), as far as they name one private key in one token."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from gate.errors import ConfigError

_HERE = "write pkcs11:token=T;object=O?module-path=/usr/lib/...so&pin-source=FILE"
_PATH, _QUERY = ("token", "serial", "object", "id", "type"), ("module-path", "pin-source")
_ESCAPES = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")


@dataclass(frozen=True)
class TokenUri:
    """Which key, in which token, through which module, and where its PIN is."""

    module_path: str
    token: str | None
    serial: str | None
    object: str | None
    id: bytes | None
    pin_source: str | None
    """A path, credential:NAME, or None: the passphrase of [keys], or it is asked for."""

    @classmethod
    def parse(cls, text: str) -> TokenUri:
        """Return what the URI says.

        Raises:
            ConfigError: not such a URI, an attribute that we do not know (RFC 7512 section 2.3
                forbids to ignore it), a PIN in the URI, or no token, key or module named.
        """
        if not text.startswith("pkcs11:"):
            raise ConfigError("not a PKCS#11 URI", _HERE)
        path, _, query = text.removeprefix("pkcs11:").partition("?")
        found = _attributes(path, ";", _PATH) | _attributes(query, "&", _QUERY)
        if found.get("type", b"private") != b"private":
            raise ConfigError("PKCS#11 URI names no private key", "write type=private or nothing")
        strings = {name: _text(value) for name, value in found.items() if name != "id"}
        module_path = strings.get("module-path", "")
        if not module_path.startswith("/"):
            raise ConfigError("PKCS#11 URI names no module", f"{_HERE}, with the whole path")
        if not {"token", "serial"} & set(found) or not {"object", "id"} & set(found):
            raise ConfigError("PKCS#11 URI names no token or no key", _HERE)
        return cls(
            module_path,
            strings.get("token"),
            strings.get("serial"),
            strings.get("object"),
            found.get("id"),
            strings["pin-source"].removeprefix("file:") if "pin-source" in strings else None,
        )


def _attributes(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for part in text.split(separator) if text else ():
        name, equals, value = part.partition("=")
        if name in ("pin-value", "x-pin-value"):
            raise ConfigError("a PIN stands in a PKCS#11 URI", "use pin-source=FILE instead")
        if not equals or name not in known:
            raise ConfigError(
                "PKCS#11 URI has an attribute that is not known here",
                f"known are {', '.join(_PATH + _QUERY)}",
            )
        if name in found or value == "" or not _ESCAPES.fullmatch(value):
            raise ConfigError(f"PKCS#11 URI: {name} is empty, twice there or ill formed", _HERE)
        found[name] = unquote_to_bytes(value)
    return found


def _text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ConfigError("PKCS#11 URI holds a name that is no text", _HERE)
    return text
