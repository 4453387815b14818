"""What the enrolment station says to the person, in Korean and English."""

from __future__ import annotations

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
