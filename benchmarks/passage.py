"""Per-step times of whole passages through the real gate, with sizes and memory.

    .venv/bin/python benchmarks/passage.py [--pack bootstrap] [--passages 20] [--json]

The camera, the phone's antenna and the turnstile's motor are simulated; everything between them is
the product. Steps: card (session and all checks), key (agent to verifier), camera (job to first
frame allowed), look (job to verdict), record (durable append), open (OSDP, read back),
tap_to_open (all of it). Times include the wait for the camera's next frame, at 30 frames/s.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from enrollment.wallet import Wallet
from firmware_bridge.ports import ApduChannel
from firmware_bridge.sim.card import SimCard
from gate.card.reader import read_card
from gate.demo.probing import family
from gate.demo.scenarios import SCENARIOS, Card, Pin, actual
from gate.demo.stage import Cast, Lens, enrol_owner, found_site, issue_cards, open_stage, utc_now
from gate.settings import load_settings
from gate.wiring import load_documents
from models.fetch import fetch_pack, fetch_sample_photos

STEPS = ("card", "key", "camera", "look", "pin", "record", "open", "tap_to_open")


class Counted:
    """A card whose bytes are counted: a stand-in for the air interface."""

    def __init__(self, card: ApduChannel) -> None:
        self._card = card
        self.apdus = self.command_bytes = self.response_bytes = 0

    def exchange(self, apdu: bytes) -> bytes:
        """Forward one APDU and count it."""
        answer = self._card.exchange(apdu)
        self.apdus += 1
        self.command_bytes += len(apdu)
        self.response_bytes += len(answer)
        return answer


def quantile(values: list[float], share: float) -> float:
    """Return the value below which `share` of all lie."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def pss_mb(pid: int) -> float | None:
    """Return the proportional set size of a process in MB; None when only root may ask."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:"))


def measure(pack: str, passages: int, cache: Path, models: Path | None) -> dict[str, object]:
    """Walk `passages` owners and as many PINs; return times in ms, bytes and MB."""
    folder = fetch_pack(pack, cache, models, lambda _step: None)
    photos = fetch_sample_photos(cache, lambda _step: None)
    cast = Cast(pack, folder, photos, None)
    steps: dict[str, list[float]] = {step: [] for step in STEPS}
    with tempfile.TemporaryDirectory() as scratch:
        lens = Lens(Path(scratch) / "lens", photos)
        site = found_site(Path(scratch) / "site", cast, lens.source)

        def enrol() -> Wallet:
            return enrol_owner(site, cast, lambda _progress: None)

        cards = issue_cards(site, enrol(), enrol)
        sizes = {}
        documents = load_documents(load_settings(site.config_path, {}), utc_now())
        for card in (Card.OWNER, Card.PIN_ONLY):
            counted = Counted(SimCard(cards[card]))
            read_card(counted, documents.reader, documents.trust, utc_now(), os.urandom)
            sizes[card.value] = {
                "apdus": counted.apdus,
                "command_bytes": counted.command_bytes,
                "response_bytes": counted.response_bytes,
            }
        owner = SCENARIOS[0]
        pin = next(s for s in SCENARIOS if s.pin is Pin.RIGHT)
        with open_stage(site, lens, cards) as stage:
            for number in range(passages):
                for scenario in (owner, pin):
                    report = stage.walk(scenario)
                    if actual(report) != scenario.expected:
                        sys.exit(f"passage {number}: {actual(report).text()}")
                    suffix = "" if scenario is owner else "_pin"
                    for step, took_ms in report.steps_ms.items():
                        steps.setdefault(step + suffix, []).append(took_ms)
            memory = {name: pss_mb(pid) for name, pid in stage.gate.pids.items()}
            others = [p for p in family(os.getpid()).values() if p not in stage.gate.pids.values()]
            memory |= {f"spare verifier {n}": pss_mb(pid) for n, pid in enumerate(others, 1)}
    times = {
        step: {"p50": quantile(values, 0.5), "p99": quantile(values, 0.99), "n": len(values)}
        for step, values in steps.items()
        if values
    }
    return {"pack": pack, "times_ms": times, "card_bytes": sizes, "pss_mb": memory}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pack", default="bootstrap", choices=("bootstrap", "edge"))
    parser.add_argument("--passages", type=int, default=20)
    parser.add_argument("--cache", type=Path, default=Path(".cache/consentgate"))
    parser.add_argument("--models", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.pack, options.passages, options.cache.resolve(), options.models)
    if options.json:
        print(json.dumps(result, indent=1))
        return
    print(f"pack {result['pack']}; times in ms")
    print(f"{'step':<16}{'p50':>9}{'p99':>9}{'n':>6}   (p99 of fewer than 100 is the worst)")
    times = result["times_ms"]
    assert isinstance(times, dict)
    for step, row in times.items():
        print(f"{step:<16}{row['p50']:>9.1f}{row['p99']:>9.1f}{row['n']:>6}")
    print("card messages:", json.dumps(result["card_bytes"]))
    memory = result["pss_mb"]
    assert isinstance(memory, dict)
    shown = {n: "only root may ask" if s is None else f"{s:.0f}" for n, s in memory.items()}
    print("PSS in MB:", ", ".join(f"{name}: {size}" for name, size in shown.items()))


if __name__ == "__main__":
    main()
