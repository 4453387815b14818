"""The explanation a person reads before the one question about faces, in Korean and English.

It says what Korea PIPA Art. 23 and 15(2) and GDPR Art. 13 ask for: who, what for, which items,
how long, the right to refuse and to withdraw, and that nothing worse follows from either.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Language(Enum):
    """The languages of the site (BCP 47)."""

    KO = "ko"
    EN = "en"


@dataclass(frozen=True)
class Notice:
    """The text as shown, and the question that follows it. Default answer: no.

    Each line is one item; how a screen wraps it is no part of the text.
    """

    language: Language
    text: str

    @property
    def question(self) -> str:
        """The one question; it asks about nothing but the face template."""
        return _QUESTIONS[self.language]

    @property
    def sha256(self) -> bytes:
        """32 bytes over the UTF-8 text, as the consent record carries it."""
        return hashlib.sha256(self.text.encode()).digest()


def explain(
    language: Language, controller: tuple[str, str], purpose: tuple[str, str], until: datetime
) -> Notice:
    """Return the explanation for one site.

    Args:
        language: the language the person chose.
        controller: who is responsible, Korean then English.
        purpose: what the gate is for, Korean then English.
        until: when the card and with it the template end.
    """
    which = 0 if language is Language.KO else 1
    text = _TEXTS[language].format(
        controller=controller[which], purpose=purpose[which], until=f"{until:%Y-%m-%d}"
    )
    return Notice(language, text)


_QUESTIONS = {
    Language.KO: "얼굴 정보(민감정보)를 위와 같이 처리하는 데 별도로 동의하십니까?",
    Language.EN: "Do you separately consent to this use of your face?",
}

_TEXTS = {
    Language.KO: """\
얼굴 확인에 대한 별도 동의 안내

처리하는 곳: {controller}
목적: {purpose}. 카드를 댄 사람이 카드 주인인지 1:1로만 확인합니다. 다른 용도로 쓰지 않습니다.
항목: 얼굴 특징정보(템플릿) 1개. 개인정보 보호법 제23조의 민감정보입니다.
보관 장소: 암호화하여 본인의 카드에만 저장합니다. 서버나 출입문에는 저장하지 않습니다.
사진과 카메라 영상: 이 프로그램이 거기서 만든 것은 등록하는 동안만 쓰고 바로 지웁니다. \
건네주신 사진 파일은 건드리지 않습니다. 그 파일을 지우는 일은 본인에게 달려 있습니다.
보유 기간: {until}까지 또는 동의를 철회할 때까지.
거부할 권리: 동의하지 않아도 됩니다. 같은 문을 같은 시간에 카드와 PIN으로 지나갑니다. \
불이익은 없으며, 거부했다는 사실도 기록하지 않습니다.
철회할 권리: 언제든지 철회할 수 있습니다. 철회하면 템플릿은 더 이상 열리지 않으며, 얼굴 정보가 \
없는 카드를 바로 다시 드립니다.
제공: 누구에게도 제공하지 않습니다.
""",
    Language.EN: """\
About separate consent to checking your face

Who: {controller}
What for: {purpose}. It only checks, one to one, that the person holding the card is its owner. \
It is used for nothing else.
What: one face template. It is special category (sensitive) data.
Where: encrypted, on your own card only. No server and no gate keeps it.
Photographs and camera pictures: what this program makes of them is used during enrolment only \
and wiped at once. Photograph files that you gave are not touched: they stay yours to delete.
How long: until {until}, or until you withdraw.
You may refuse. You then pass the same gates at the same hours with card and PIN. \
Nothing worse follows, and nobody records that you refused.
You may withdraw at any time. The template then no longer opens, and you get a card without a \
face at once.
Who else receives it: nobody.
""",
}
