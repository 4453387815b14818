"""What the log promises, what it cannot show, and how each step of a verification is called."""

from __future__ import annotations

from gate.console.record_words import Pair

PROMISES: tuple[Pair, ...] = (
    (
        "모든 결정은 문이 움직이기 전에 먼저 기록됩니다. 기록할 수 없으면 문은 열리지 않습니다.",
        "Every decision is written down before anything moves. What cannot be written is not done.",
    ),
    (
        "이름, 얼굴, 점수, 정확한 시각이 들어갈 자리가 없습니다. 시각은 15분 단위로만 남습니다.",
        "There is no room for a name, a face, a score or an exact time. "
        "Only the quarter of an hour is kept.",
    ),
    (
        "한 번 쓰인 기록을 고치거나 빼거나 끼워 넣으면 서명된 확인점과 맞지 않게 됩니다.",
        "A record that is later changed, removed or slipped in no longer fits the signed "
        "checkpoints.",
    ),
    (
        "누구나 이 문의 도움 없이, 우리가 만들지 않은 도구로도 확인할 수 있습니다.",
        "Anyone can check it without this gate, also with tools that we did not make.",
    ),
)
LIMITS: tuple[Pair, ...] = (
    (
        "서명된 기록 하나만으로는 다른 기록을 따로 보여 주지 않았다는 것을 알 수 없습니다. "
        "그러니 아래 확인점을 문 밖에 보관했다가 나중에 견주세요.",
        "A signed log alone cannot show that nobody was shown another one. "
        "Keep the checkpoint below outside the gate and compare it later.",
    ),
    (
        "이 화면의 확인은 이 문의 컴퓨터가 합니다. 믿을 수 있는 확인은 "
        "내려받은 기록을 다른 컴퓨터에서 확인하는 것입니다.",
        "The check on this page is done by the gate's own machine. "
        "The one to trust is yours: download the log and check it elsewhere.",
    ),
)
STEPS: dict[int, Pair] = {
    1: ("최신 확인점에 이 키의 서명이 있다", "the newest checkpoint is signed by this key"),
    2: ("확인점의 출처가 키의 이름과 같다", "its origin is the name of the key"),
    3: ("확인점의 크기가 기록 수와 같다", "its size is the number of records"),
    4: ("순번이 0부터 빠짐없이 이어진다", "sequence numbers run from 0 without a gap"),
    5: ("모든 기록이 닫힌 형식에 맞는다", "every record fits the closed schema"),
    6: ("다시 계산한 뿌리값이 서명된 값과 같다", "the root, computed anew, is the signed one"),
    7: ("이전 확인점이 모두 이 기록의 앞부분이다", "every earlier checkpoint fits this log"),
    8: ("감사인이 보관한 확인점과도 맞는다", "checkpoints kept by the auditor fit (offline only)"),
    9: ("문이 만들 수 있는 순서로 적혀 있다", "records stand in an order a gate can produce"),
    10: ("파일에 다른 것이 없다", "the file holds nothing else"),
    11: (
        "증인이 함께 서명한 확인점이 이 기록의 것이다",
        "checkpoints that witnesses co-signed are of this log",
    ),
}
"""The steps of gate.ledger.verify, by their numbers."""
KEPT_STEP = 8
"""Needs checkpoints from outside, so this page cannot do it."""
