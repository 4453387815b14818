"""The retention probe of the demo, in a process of its own.

`python -m gate.demo.probe_process` reads one JSON request from stdin and prints one JSON answer.
What it is doing meanwhile goes to stderr, one line each time.
It makes the needles itself (photographs, frames, embeddings, templates), so that the processes it
searches need not have them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from firmware_bridge.camera import decode_image
from gate.demo.probing import PROGRESS
from gate.errors import GateError
from gate.probe.card_needles import CONTENT_KEY, template_needles
from gate.probe.forms import vector_forms
from gate.probe.needles import Kind, Needle
from gate.probe.search import Search
from models.errors import ModelFault
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Sighting, Zone

_AGENT = "key agent"


def photo_needles(path: Path, pack: Pack) -> list[Needle]:
    """Return the file, its frame and its identity vector: few forms, so that the demo is short."""
    data = path.read_bytes()
    frame = decode_image(np.frombuffer(data, np.uint8), path.name)
    name = path.stem
    needles = [
        Needle(f"{name} file", Kind.IMAGE, data),
        Needle(f"{name} frame", Kind.IMAGE, frame.tobytes()),
    ]
    seen = perceive(frame, pack, Zone())
    if isinstance(seen, Sighting):
        needles += vector_forms(f"{name} embedding", seen.embedding.values)
    return needles


def expected(needle: str, target: str) -> bool:
    """Whether a needle may be there: the agent opens nothing with a key without the card."""
    return CONTENT_KEY in needle and target == _AGENT


def tell(line: str) -> None:
    """Report progress to whoever started this process."""
    print(PROGRESS + line, file=sys.stderr, flush=True)  # noqa: T201


def search(request: dict[str, Any]) -> dict[str, Any]:
    """Search what the request names; processes that may not be read are named, never counted."""
    pack = load_pack(request["pack"], Path(request["pack_folder"]))
    needles = []
    for photo in map(Path, request["photos"]):
        tell(f"needles of {photo.name}")
        needles += photo_needles(photo, pack)
    needles += template_needles("owner", Path(request["card"]), Path(request["template_key"]))
    probing = Search(needles, random=os.urandom, may_remain=expected, progress=tell)
    for name, pid in request["pids"].items():
        try:
            with open(f"/proc/{pid}/mem", "rb"):  # noqa: PTH123 - a process, not a path
                pass
        except OSError as error:
            probing.passed_over(name, error.strerror or "unreadable")
        else:
            probing.process(pid, name)
    probing.files([Path(path) for path in request["paths"]])
    report = probing.report()
    return {
        "ok": report.ok,
        "needles": report.needles,
        "controls_found": report.controls_found,
        "controls_planted": report.controls_planted,
        "decoy_hits": len(report.decoy_hits),
        "hits": [f"{hit.needle} in {hit.target}" for hit in report.hits],
        "bytes_scanned": report.bytes_scanned,
        "searched": len(report.scans),
        "not_searched": [what for what, _ in report.not_searched],
    }


def main() -> int:
    """Answer one request."""
    sys.stdin.readline()  # wait until the parent allowed us to read it
    try:
        answer = search(json.loads(sys.stdin.read()))
    except (GateError, ModelFault) as error:
        print(json.dumps({"error": error.diagnostics()}))  # noqa: T201
        return 1
    print(json.dumps(answer))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
