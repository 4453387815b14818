"""What the kiosk says. Korean first, English under it; never a name, a score or a reason."""

from __future__ import annotations

from dataclasses import dataclass

from gate.console.deps import Screen
from models.types import Advice


@dataclass(frozen=True)
class Words:
    """One thing to say, with its icon (an id of templates/icons.svg)."""

    icon: str
    ko: str
    en: str
    more_ko: str = ""
    more_en: str = ""


NO_LINK = Words(
    "no-link",
    "연결이 끊겼습니다",
    "No connection",
    "출입문과 이어져 있지 않습니다. 직원에게 알려 주세요.",
    "This screen has lost the gate. Please tell the staff.",
)
"""Shown by the page itself until the gate speaks, and whenever it stops speaking."""

SCREENS = {
    Screen.OUT_OF_ORDER: Words(
        "out-of-order",
        "지금은 사용할 수 없습니다",
        "Out of order",
        "다른 출입구를 이용하거나 직원에게 알려 주세요.",
        "Please use another gate, or tell the staff.",
    ),
    Screen.CARD_ONLY: Words(
        "card",
        "카드를 대 주세요",
        "Tap your card",
        "여기서는 얼굴을 확인하지 않습니다. 카드와 비밀번호로 지나갑니다.",
        "No face check here. You pass with your card and PIN.",
    ),
    Screen.IDLE: Words(
        "card",
        "카드를 대 주세요",
        "Tap your card",
        "얼굴이나 비밀번호, 편한 방법으로 지나가세요.",
        "Then pass with your face or your PIN, as you like.",
    ),
    Screen.READING_CARD: Words(
        "reading",
        "카드를 읽고 있습니다",
        "Reading your card",
        "카드를 그대로 대고 계세요.",
        "Please keep it there.",
    ),
    Screen.LOOK: Words(
        "look",
        "카메라를 봐 주세요",
        "Look at the camera",
        "사진은 남지 않습니다.",
        "No picture is kept.",
    ),
    Screen.PIN: Words(
        "pin",
        "비밀번호를 눌러 주세요",
        "Enter your PIN",
        "숫자 자리는 매번 바뀝니다.",
        "The digits change places each time.",
    ),
    Screen.PIN_AGAIN: Words(
        "pin",
        "비밀번호를 다시 눌러 주세요",
        "Enter your PIN again",
        "천천히 누르셔도 됩니다.",
        "Take your time.",
    ),
    Screen.CHECKING: Words(
        "checking", "확인하고 있습니다", "Checking", "잠시만 기다려 주세요.", "One moment, please."
    ),
    Screen.OPEN: Words(
        "open", "들어가세요", "Please go in", "한 분씩 지나가 주세요.", "One person at a time."
    ),
    Screen.REFUSED: Words(
        "refused",
        "지금은 열리지 않습니다",
        "Not open this time",
        "카드를 다시 대거나 직원에게 말씀해 주세요.",
        "Tap your card again, or ask the staff.",
    ),
    Screen.OTHER_LANE: Words(
        "pin",
        "비밀번호로 지나갈 수 있습니다",
        "You can pass with your PIN",
        "같은 문, 같은 속도입니다. 천천히 누르세요.",
        "The same gate, just as fast. Take your time.",
    ),
}

ADVICE = {
    Advice.NO_FACE: Words("centre", "카메라 앞에 서 주세요", "Stand in front of the camera"),
    Advice.MULTIPLE_FACES: Words("one", "한 분만 서 주세요", "One person only, please"),
    Advice.STEP_CLOSER: Words("closer", "조금 더 가까이 와 주세요", "Step a little closer"),
    Advice.STEP_BACK: Words("back", "조금 뒤로 가 주세요", "Step back a little"),
    Advice.MORE_LIGHT: Words("light", "얼굴을 밝은 쪽으로 돌려 주세요", "Turn towards the light"),
    Advice.LESS_LIGHT: Words(
        "light", "너무 밝습니다. 조금 비켜 서 주세요", "Step out of the glare"
    ),
    Advice.HOLD_STILL: Words("still", "잠깐 멈춰 주세요", "Hold still for a moment"),
    Advice.LOOK_STRAIGHT: Words("look", "정면을 봐 주세요", "Look straight ahead"),
    Advice.CENTRE: Words("centre", "가운데로 서 주세요", "Move to the middle"),
}

PIN_CHOICE = Words(
    "pin",
    "비밀번호로 지나가기",
    "Use PIN instead",
    "카메라를 쓰지 않습니다.",
    "Without the camera.",
)
CHOICE_SCREENS = (Screen.LOOK,)
"""Where the PIN lane can be chosen, as prominently as the face lane."""
LEAVE_SCREENS = (
    Screen.READING_CARD,
    Screen.LOOK,
    Screen.PIN,
    Screen.PIN_AGAIN,
    Screen.CHECKING,
    Screen.OTHER_LANE,
)
