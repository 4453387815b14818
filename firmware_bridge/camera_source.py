"""What a camera source string means, without opening it. Imports no image library.

Kinds: `v4l2:0` or `0` (a local camera), `file:PATH` (a video), `folder:PATH` (images in name
order, looping), `rtsp://...` (a network camera), `sim:PATH?...` (see sim/camera.py).
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit

from firmware_bridge.errors import DeviceFault


class Means(Enum):
    """What a source needs from the operating system once it is open."""

    MEMORY = "memory"
    FILE = "file"
    DEVICE = "device"
    NETWORK = "network"


def means(source: str) -> Means:
    """Return what reading from `source` needs, without opening it.

    Raises:
        DeviceFault: no such kind of source.
    """
    scheme = source.partition(":")[0]
    if source.isascii() and source.isdigit():
        return Means.DEVICE
    known = {
        "v4l2": Means.DEVICE,
        "file": Means.FILE,
        "folder": Means.MEMORY,
        "sim": Means.MEMORY,
        "rtsp": Means.NETWORK,
        "rtsps": Means.NETWORK,
    }
    if scheme not in known or ":" not in source:
        raise DeviceFault(
            "camera",
            "no file, no folder and of no known kind",
            "use an existing path, 0, v4l2:0, file:PATH, folder:PATH, rtsp://HOST/... or sim:PATH",
        )
    return known[scheme]


def shown_source(source: str) -> str:
    """Return a source for people and logs: of a network camera nothing but its host and port.

    Cameras take names and passwords before the host, in the path and in the query.
    """
    if means(source) is not Means.NETWORK:
        return source
    try:
        parts = urlsplit(source)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None:
        return f"{source.partition(':')[0]}://..."
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}/..."


def named_source(text: str) -> str:
    """Return the source that a person means: `0`, a source with its kind, or just a path.

    A folder becomes `folder:PATH` and any other existing path `file:PATH`, both absolute.

    Raises:
        DeviceFault: neither a kind of source nor a path that exists.
    """
    path = Path(text)
    if path.is_dir():
        return f"folder:{path.resolve()}"
    if path.exists() and not text.isdigit():
        return f"file:{path.resolve()}"
    means(text)
    return text
