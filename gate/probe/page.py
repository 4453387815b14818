"""The report as one page that needs nothing else: Korean and English, the verdict first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from gate.probe.designs import Design
from gate.probe.outcome import OUTSIDE, Outcome
from gate.probe.search import Scan

_DESIGNS: Final = {
    Design.SINGLE_USE: (
        "일회용 프로세스 (이 제품)",
        "one process for one passage (this product)",
    ),
    Design.NAIVE: ("게이트 안에서 그대로", "inside the gate process, no care taken"),
    Design.ZEROED: ("게이트 안에서, 배열을 지움", "inside the gate, every named array overwritten"),
    Design.REUSED: ("검증기 하나를 계속 사용", "one verifier process for many passages"),
}
_KINDS: Final = {
    "image": ("사진·프레임·얼굴 조각·신경망 입력", "pictures, frames, crops, network inputs"),
    "vector": ("얼굴 특징 벡터와 템플릿", "identity vectors and templates"),
    "key": ("복호화 키", "content keys"),
    "text": ("PIN과 글자로 찍힌 수", "PINs and printed numbers"),
}
_OUTSIDE_KO: Final = (
    "root 권한과 커널 자체",
    "펌웨어와 장치: 카메라 자체 메모리, 그래픽 카드 메모리",
    "프로세스가 커널에 돌려준 메모리 (init_on_free=1일 때만 커널이 지움)",
    "검색보다 짧게 있다가 파일도 프로세스도 남기지 않은 기록",
)
_HOST: Final = (
    ("init_on_free", "커널이 돌려받은 메모리를 지움", "kernel clears memory it gets back"),
    ("swap_off", "스왑 꺼짐", "no swap"),
    ("core_dumps_off", "코어 덤프 꺼짐", "no core dumps"),
    ("hibernation_off", "최대 절전 꺼짐", "no hibernation"),
)


@dataclass(frozen=True)
class Row:
    """One target in the table."""

    scan: Scan
    residues: int
    expected: int
    needles: tuple[tuple[str, int], ...]

    @property
    def megabytes(self) -> str:
        """How much was searched."""
        return f"{self.scan.bytes_scanned / 1e6:,.1f}"


def _rows(outcome: Outcome) -> list[Row]:
    rows = []
    for scan in outcome.report.scans:
        found = outcome.found_in(scan.target)
        needles = tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))
        rows.append(Row(scan, sum(found.values()), outcome.expected_in(scan.target), needles))
    return sorted(rows, key=lambda row: -row.residues)


def page(outcomes: Sequence[Outcome]) -> str:
    """Return the HTML of one report. It holds no picture, vector, key or PIN, and no script.

    Args:
        outcomes: one, or one for each design.
    """
    environment = Environment(
        loader=PackageLoader("gate.probe", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own = next((one for one in outcomes if one.design is Design.SINGLE_USE), outcomes[0])
    return environment.get_template("report.html").render(
        own=own,
        outcomes=outcomes,
        rows={one.design: _rows(one) for one in outcomes},
        designs=_DESIGNS,
        kinds=_KINDS,
        outside=list(zip(_OUTSIDE_KO, OUTSIDE, strict=True)),
        host=[(ko, en, getattr(own.host, name)) for name, ko, en in _HOST],
        needles_found={one.design: len({h.needle for h in one.report.hits}) for one in outcomes},
        most=max(1, *(one.residues for one in outcomes)),
    )
