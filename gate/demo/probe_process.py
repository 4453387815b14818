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
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from enrollment.wallet import Wallet
from firmware_bridge.camera import decode_image
from gate.card import mdoc
from gate.demo.probing import PROGRESS
from gate.errors import GateError
from gate.ledger.needles import Kind, Needle
from gate.ledger.probe import probe
from gate.template.biometric import Template
from gate.template.context import SealContext
from gate.template.envelope import Envelope, open_envelope
from gate.template.keys import FileKey
from models.errors import ModelFault
from models.pack import Pack, load_pack
from models.perceive import perceive
from models.types import Sighting, Zone

CONTENT_KEY = "content key"
"""Not biometric. The key agent may still hold it (it opens nothing without the card); nobody
else may."""


def photo_needles(path: Path, pack: Pack) -> list[Needle]:
    """Return the file, its frame and its embedding, in the forms they could remain in."""
    data = path.read_bytes()
    frame = decode_image(np.frombuffer(data, np.uint8), path.name)
    name = path.stem
    needles = [
        Needle(f"{name} file", Kind.IMAGE, data),
        Needle(f"{name} frame", Kind.IMAGE, frame.tobytes()),
    ]
    seen = perceive(frame, pack, Zone())
    if isinstance(seen, Sighting):
        values = seen.embedding.values
        int8 = np.clip(np.rint(values * (127 / np.abs(values).max())), -127, 127).astype(np.int8)
        needles += [
            Needle(f"{name} embedding float32", Kind.VECTOR, values.tobytes()),
            Needle(f"{name} embedding int8", Kind.VECTOR, int8.tobytes()),
        ]
    return needles


def template_needles(card: Path, key_file: Path) -> list[Needle]:
    """Return the opened template of a card, quantised and as the vector to compare with."""
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
    opened = open_envelope(envelope, content_key, context)
    template = Template.decode(opened)
    # Only the values: the model's name before them is public and stands in every process.
    return [
        Needle("template", Kind.VECTOR, template.values.tobytes()),
        Needle("reference float32", Kind.VECTOR, template.reference().values.tobytes()),
        Needle(CONTENT_KEY, Kind.KEY, content_key),
    ]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


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
    needles += template_needles(Path(request["card"]), Path(request["template_key"]))
    paths = [Path(path) for path in request["paths"]]
    readable, unreadable = [], []
    for name, pid in request["pids"].items():
        try:
            with open(f"/proc/{pid}/mem", "rb"):  # noqa: PTH123 - a process, not a path
                readable.append(pid)
        except OSError:
            unreadable.append(name)
    report = probe(needles, readable, paths, random=os.urandom, progress=tell)
    agent = f"process {request['pids']['key agent']}"
    residues = [h for h in report.hits if not (h.needle == CONTENT_KEY and h.target == agent)]
    return {
        "ok": replace(report, hits=tuple(residues)).ok,
        "needles": report.needles,
        "controls_found": report.controls_found,
        "controls_planted": report.controls_planted,
        "decoy_hits": len(report.decoy_hits),
        "hits": [f"{hit.needle} in {hit.target}" for hit in residues],
        "bytes_scanned": report.bytes_scanned,
        "searched": len(report.scans),
        "not_searched": unreadable,
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
