"""What the enrolment station says to the person, in Korean and English."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from enrollment.notice import Language
from models.types import Advice

_ADVICE: dict[Advice, dict[str, str]] = {
    Advice.NO_FACE: {
        "ko": "얼굴이 보이지 않습니다. 카메라를 봐 주세요",
        "en": "no face in view; look at the camera",
    },
    Advice.MULTIPLE_FACES: {
        "ko": "한 사람만 화면에 있어야 합니다",
        "en": "more than one face in view; only one person, please",
    },
    Advice.STEP_CLOSER: {"ko": "조금 더 가까이 오세요", "en": "the face is too small; step closer"},
    Advice.STEP_BACK: {
        "ko": "조금 뒤로 물러나 주세요",
        "en": "the face is too large; step back",
    },
    Advice.MORE_LIGHT: {"ko": "더 밝은 곳이 필요합니다", "en": "too dark; more light on the face"},
    Advice.LESS_LIGHT: {"ko": "빛이 너무 강합니다", "en": "too bright; less light on the face"},
    Advice.HOLD_STILL: {
        "ko": "흔들렸습니다. 잠시 가만히 계세요",
        "en": "the picture is blurred; hold still",
    },
    Advice.LOOK_STRAIGHT: {"ko": "정면을 봐 주세요", "en": "look straight at the camera"},
    Advice.CENTRE: {"ko": "화면 가운데로 와 주세요", "en": "move to the centre"},
}


def advice_words(advice: Advice, language: str) -> str:
    """Return one line of advice in "ko" or "en"; empty for Advice.NONE."""
    return _ADVICE.get(advice, {}).get(language, "")


def card_kind_words(*, face: bool, language: Language) -> str:
    """Say which card is being made. Both are said alike: neither is the lesser card."""
    return _KINDS[language][face]


def issued_words(card: Path, until: datetime, *, face: bool, language: Language) -> str:
    """Say that a card was issued."""
    if language is Language.KO:
        lanes = "PIN + 얼굴" if face else "PIN"
        return f"카드를 만들었습니다: {card}, {until:%Y-%m-%d}까지 유효, 확인 방법: {lanes}"
    lanes = "PIN + face" if face else "PIN"
    return f"issued {card}, valid until {until:%Y-%m-%d}, lanes: {lanes}"


def receipt_words(receipt: Path, language: Language) -> str:
    """Say where the person's receipt lies."""
    if language is Language.KO:
        return f"본인에게 드리는 동의 확인서: {receipt}"
    return f"consent receipt for the person: {receipt}"


PHOTOS_LEFT = {
    Language.KO: "사진 파일은 건드리지 않았습니다. 필요 없으면 직접 지워 주세요.",
    Language.EN: "the photograph files were not touched; delete them if you need them no more",
}
_KINDS = {
    Language.KO: {
        True: "얼굴과 PIN으로 쓰는 카드를 만듭니다.",
        False: "PIN으로 쓰는 카드를 만듭니다.",
    },
    Language.EN: {True: "Making a card with face and PIN.", False: "Making a card with PIN."},
}
