"""What the station asks a person: the one consent question, and a PIN. Nothing is echoed."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.text import Text

from enrollment.capture_wire import Progress
from enrollment.errors import EnrolmentRefused, WrongInput
from enrollment.gathering import Step
from enrollment.notice import Language, Notice
from enrollment.words import advice_words
from gate.template.pin import is_pin

PIN_ENTRIES_MAX = 3
_YES = {"y", "yes", "예", "네"}
_NO = {"n", "no", "아니요", "아니오", ""}
_CHOICE = {Language.KO: "[예/아니오, 기본: 아니오]", Language.EN: "[yes/no, default: no]"}
_UNCLEAR = {
    Language.KO: "'예' 또는 '아니오'로 답해 주세요.",
    Language.EN: "Please answer yes or no.",
}
_PIN = {Language.KO: "PIN(숫자 4~12자리): ", Language.EN: "PIN (4 to 12 digits): "}
_PIN_AGAIN = {Language.KO: "PIN 다시 한 번: ", Language.EN: "PIN again: "}
_PIN_FORM = {
    Language.KO: "PIN은 숫자 4~12자리입니다. 다시 입력해 주세요.",
    Language.EN: "A PIN is 4 to 12 digits. Please choose again.",
}
_PIN_DIFFERS = {
    Language.KO: "두 번 입력한 PIN이 다릅니다. 처음부터 다시 입력해 주세요.",
    Language.EN: "The two PINs differ. Please choose again.",
}
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
    columns: int = 80
    """How many cells a line has; a Hangul syllable takes two."""

    @property
    def interactive(self) -> bool:
        """Whether a person sits here."""
        return self.stdin.isatty()

    def say(self, text: str) -> None:
        """Print one or more lines for the person."""
        self.out.write(text.rstrip("\n") + "\n")
        self.out.flush()

    def explain(self, text: str) -> None:
        """Print prose, broken between words where the line ends."""
        lines = Text(text.rstrip("\n")).wrap(Console(file=self.out), self.columns)
        self.say("\n".join(line.plain.rstrip() for line in lines))


def this_terminal() -> Terminal:
    """Return the terminal this program runs in."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        columns = 0
    return Terminal(
        sys.stderr,
        sys.stdin,
        lambda prompt: getpass.getpass(prompt, sys.stderr),
        columns or 80,  # a serial line knows no width
    )


def ask_consent(terminal: Terminal, notice: Notice, *, given: bool) -> bool:
    """Show the explanation, then ask the one question until the answer is clear.

    An empty line means no, and so does the end of input.

    Args:
        terminal: where.
        notice: shown in full, always, before any answer counts.
        given: the officer states that the person, having read it, consented (no terminal).

    Raises:
        EnrolmentRefused: nobody is there to be asked.
    """
    terminal.explain(notice.text)
    terminal.explain(notice.question)
    if given:
        return True
    if not terminal.interactive:
        raise EnrolmentRefused(
            "nobody is here to answer the consent question",
            "run it in a terminal, add --i-consent if the person consented, or use --decline",
        )
    while True:
        terminal.out.write(_CHOICE[notice.language] + " ")
        terminal.out.flush()
        try:
            answer = terminal.stdin.readline().strip().lower()
        except UnicodeDecodeError:  # half a Hangul syllable, after a backspace
            answer = "?"
        if answer in _YES or answer in _NO:
            return answer in _YES
        terminal.say(_UNCLEAR[notice.language])


def ask_pin(terminal: Terminal, language: Language, *, from_stdin: bool) -> str:
    """Return the PIN that the person chose. Nothing that is typed at a terminal is echoed.

    Raises:
        WrongInput: not 4 to 12 digits on stdin, or no PIN after PIN_ENTRIES_MAX entries.
        EnrolmentRefused: nobody to ask.
    """
    try:
        return _pin(terminal, language, from_stdin=from_stdin)
    except EOFError:
        raise WrongInput("no PIN was chosen", "a PIN is 4 to 12 digits") from None


def _pin(terminal: Terminal, language: Language, *, from_stdin: bool) -> str:
    if from_stdin:
        # One line, as the option says; but whoever types it here is not to be read over the
        # shoulder.
        try:
            pin = (
                terminal.read_secret(_PIN[language])
                if terminal.interactive
                else terminal.stdin.readline().rstrip("\r\n")
            )
        except UnicodeDecodeError:
            pin = ""
        if not is_pin(pin):
            raise WrongInput("that is no PIN", "a PIN is 4 to 12 digits")
        return pin
    if not terminal.interactive:
        raise EnrolmentRefused(
            "nobody is here to choose a PIN", "run it in a terminal, or pipe it with --pin-stdin"
        )
    for _ in range(PIN_ENTRIES_MAX):
        pin = terminal.read_secret(_PIN[language])
        if not is_pin(pin):
            terminal.say(_PIN_FORM[language])
        elif terminal.read_secret(_PIN_AGAIN[language]) != pin:
            terminal.say(_PIN_DIFFERS[language])
        else:
            return pin
    raise WrongInput(
        f"no PIN was chosen in {PIN_ENTRIES_MAX} tries", "begin again; a PIN is 4 to 12 digits"
    )


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
