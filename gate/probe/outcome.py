"""What a probe says: values, JSON and text. The page is in page.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from gate.host_conditions import HostConditions
from gate.probe.designs import Design
from gate.probe.search import ProbeReport
from gate.probe.walking import Walked

FORMAT: Final = "consentgate.probe/1"
OUTSIDE: Final = (
    "root and the kernel itself",
    "firmware and devices: the camera's own memory, the memory of a graphics card",
    "memory that processes gave back to the kernel (cleared there only with init_on_free=1)",
    "writing that lasted shorter than the search and left neither file nor process",
)
"""What no search from user space can speak about."""


@dataclass(frozen=True)
class Outcome:
    """One probe of one design."""

    design: Design
    pack: str
    walked: tuple[Walked, ...]
    kinds: dict[str, int]
    """How many needles of each kind."""
    report: ProbeReport
    host: HostConditions
    began: str
    """UTC, to the minute."""
    took_s: float

    @property
    def clean(self) -> bool:
        """Whether nothing remained, and the probe showed that it would have found it."""
        return self.report.ok

    @property
    def residues(self) -> int:
        """How many pieces were found where nothing may be."""
        return len(self.report.hits)

    def found_in(self, target: str) -> dict[str, int]:
        """Return how often each needle was found in a target (a process, or a group of files)."""
        counts: dict[str, int] = {}
        hits = {scan.target: scan.hits for scan in self.report.scans}.get(target, ())
        unexpected = set(self.report.hits)
        for hit in hits:
            if hit in unexpected:
                counts[hit.needle] = counts.get(hit.needle, 0) + 1
        return counts

    def expected_in(self, target: str) -> int:
        """Return how many expected pieces (keys in the key agent, PIN in the gate) stand there."""
        hits = {scan.target: scan.hits for scan in self.report.scans}.get(target, ())
        return len(set(hits) & set(self.report.expected))

    def as_json(self) -> dict[str, Any]:
        """Return the whole outcome as JSON values. It holds no picture, vector, key or PIN."""
        report = self.report
        return {
            "format": FORMAT,
            "clean": self.clean,
            "design": self.design.value,
            "pack": self.pack,
            "began": self.began,
            "took_s": round(self.took_s, 1),
            "needles": report.needles,
            "needles_of_kind": self.kinds,
            "controls_planted": report.controls_planted,
            "controls_found": report.controls_found,
            "decoy_hits": len(report.decoy_hits),
            "residues": self.residues,
            "residues_uncounted": list(report.uncounted),
            "searched": [
                {
                    "target": scan.target,
                    "files": scan.files,
                    "bytes": scan.bytes_scanned,
                    "bytes_of_devices": scan.bytes_skipped,
                    "residues": self.found_in(scan.target),
                    "expected": self.expected_in(scan.target),
                }
                for scan in report.scans
            ],
            "not_searched": [{"what": what, "why": why} for what, why in report.not_searched],
            "outside_the_claim": list(OUTSIDE),
            "host": asdict(self.host),
            "passages": [asdict(walked) for walked in self.walked],
        }

    def lines(self) -> list[str]:
        """Return the report as text: the verdict first."""
        report = self.report
        megabytes = report.bytes_scanned / 1e6
        verdict = "nothing remains where it was searched" if self.clean else self._why_not()
        if report.not_searched:
            verdict += f" ({len(report.not_searched)} not searched)"
        out = [
            f"{'CLEAN' if self.clean else 'NOT CLEAN'}  {self.design.value}: {verdict}",
            f"  planted     {len(self.walked)} passages; {report.needles} needles ("
            + ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
            + ")",
            f"  controls    {report.controls_found} of {report.controls_planted} found; "
            f"decoys found: {len(report.decoy_hits)}",
            f"  searched    {len(report.scans)} targets, {megabytes:.0f} MB",
        ]
        for scan in report.scans:
            found = self.found_in(scan.target)
            files = f", {scan.files} files" if scan.files else ""
            out.append(
                f"    {sum(found.values()):>4}  {scan.target}: "
                f"{scan.bytes_scanned / 1e6:.1f} MB{files}"
            )
            out += [f"          {count} x {needle}" for needle, count in sorted(found.items())[:12]]
            if len(found) > 12:
                out.append(f"          and {len(found) - 12} needles more")
            if expected := self.expected_in(scan.target):
                out.append(f"          (expected there, not biometric: {expected} of key or PIN)")
        for what, why in report.not_searched:
            out.append(f"  not searched  {what}: {why}")
        for limit in OUTSIDE:
            out.append(f"  cannot speak about  {limit}")
        return out

    def _why_not(self) -> str:
        report = self.report
        why = []
        if report.hits:
            more = " or more" if report.uncounted else ""
            why.append(f"{self.residues}{more} residues")
        if report.controls_found != report.controls_planted:
            why.append("the probe did not find all that it planted")
        if report.decoy_hits:
            why.append("the probe found what was never there")
        return ", ".join(why)


def table(outcomes: list[Outcome]) -> list[str]:
    """Return one line a design."""
    head = f"{'design':<12} {'residues':>9} {'needles found':>14} {'controls':>9} {'decoys':>7}"
    rows = [
        f"{one.design.value:<12} {one.residues:>9} {len({h.needle for h in one.report.hits}):>14} "
        f"{one.report.controls_found:>6}/{one.report.controls_planted} "
        f"{len(one.report.decoy_hits):>7}"
        for one in outcomes
    ]
    return [head, *rows]
