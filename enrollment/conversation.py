"""What the station asks a person: the one consent question, and a PIN. Nothing is echoed."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from enrollment.capture_wire import Progress
from enrollment.errors import EnrolmentRefused
from enrollment.gathering import Step
from enrollment.notice import Language, Notice
from enrollment.words import advice_words
from gate.template.pin import is_pin

_YES = {Language.KO: {"y", "yes", "예", "네"}, Language.EN: {"y", "yes"}}
_CHOICE = {Language.KO: "[예/아니요, 기본: 아니요]", Language.EN: "[yes/no, default: no]"}
_STEPS = {
    Step.TAKEN: {"ko": "좋습니다", "en": "good"},
    Step.SOMEBODY_ELSE: {"ko": "다른 사람으로 보입니다", "en": "looks like somebody else"},
    Step.NOT_LIVE: {"ko": "사진으로 보입니다", "en": "looks like a picture of a face"},
}


@dataclass(frozen=True)
class Terminal:
    """Where the conversation happens. Results never go here."""

    out: TextIO
    stdin: TextIO
    read_secret: Callable[[str], str]

    @property
    def interactive(self) -> bool:
        """Whether a person sits here."""
        return self.stdin.isatty()

    def say(self, text: str) -> None:
        """Print one or more lines for the person."""
        self.out.write(text.rstrip("\n") + "\n")
        self.out.flush()


def this_terminal() -> Terminal:
    """Return the terminal this program runs in."""
    return Terminal(sys.stderr, sys.stdin, lambda prompt: getpass.getpass(prompt, sys.stderr))


def ask_consent(terminal: Terminal, notice: Notice, *, given: bool) -> bool:
    """Show the explanation, then ask the one question. No answer means no.

    Args:
        terminal: where.
        notice: shown in full, always, before any answer counts.
        given: the officer states that the person, having read it, consented (no terminal).

    Raises:
        EnrolmentRefused: nobody is there to be asked.
    """
    terminal.say(notice.text)
    terminal.say(notice.question)
    if given:
        return True
    if not terminal.interactive:
        raise EnrolmentRefused(
            "nobody is here to answer the consent question",
            "run it in a terminal, add --i-consent if the person consented, or use --decline",
        )
    terminal.out.write(_CHOICE[notice.language] + " ")
    terminal.out.flush()
    return terminal.stdin.readline().strip().lower() in _YES[notice.language]


def ask_pin(terminal: Terminal, *, from_stdin: bool) -> str:
    """Return the PIN that the person chose. Nothing that is typed at a terminal is echoed.

    Raises:
        EnrolmentRefused: not 4 to 12 digits, two different entries, or nobody to ask.
    """
    if from_stdin:
        # One line, as the option says; but whoever types it here is not to be read over the
        # shoulder.
        pin = (
            terminal.read_secret("PIN (4-12): ")
            if terminal.interactive
            else terminal.stdin.readline().rstrip("\r\n")
        )
    elif not terminal.interactive:
        raise EnrolmentRefused(
            "nobody is here to choose a PIN", "run it in a terminal, or pipe it with --pin-stdin"
        )
    else:
        pin = terminal.read_secret("PIN (4-12): ")
        if is_pin(pin) and terminal.read_secret("PIN again / 한 번 더: ") != pin:
            raise EnrolmentRefused("the two PINs differ", "try again")
    if not is_pin(pin):
        raise EnrolmentRefused("that is no PIN", "a PIN is 4 to 12 digits")
    return pin


def progress_to(terminal: Terminal, language: Language) -> Callable[[Progress], None]:
    """Return a reporter that turns each frame into one line of advice, without repeating."""
    last = ""

    def report(progress: Progress) -> None:
        nonlocal last
        words = advice_words(progress.advice, language.value)
        said = _STEPS.get(progress.step, {}).get(language.value, "")
        line = f"  {progress.taken} {said or words}"
        if line != last:
            terminal.say(line)
        last = line

    return report
