"""Whether a library of this computer keeps an identifier to report usage over the network.

ONNX Runtime from 1.29 on makes a folder with one as soon as it is imported, and reports, unless it
is told not to. The lock file holds an older one and every verifier is told; this is the check that
both still work. The folder is that library's own: other programs of its maker use others.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Mapping
from pathlib import Path

_FOLDER = Path("Microsoft/DeveloperTools/.onnxruntime")


def telemetry_folders(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Return the folders of that kind which this user has."""
    homes = [environ["HOME"]] if environ.get("HOME") else []
    with contextlib.suppress(KeyError):  # a user without an entry has no other home
        homes.append(pwd.getpwuid(os.getuid()).pw_dir)
    caches = {Path(home) / ".cache" for home in homes}
    if environ.get("XDG_CACHE_HOME"):
        caches.add(Path(environ["XDG_CACHE_HOME"]))
    return sorted(cache / _FOLDER for cache in caches if (cache / _FOLDER).exists())
