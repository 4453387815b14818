"""What a person is asked at the enrolment desk: again when unclear, never guessed, never judged."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from enrollment.conversation import PIN_ENTRIES_MAX, Terminal, ask_consent, ask_pin
from enrollment.errors import EnrolmentRefused, WrongInput
from enrollment.notice import Language, explain

NOTICE = {
    lang: explain(lang, ("가", "A"), ("나", "B"), datetime(2027, 3, 1, tzinfo=UTC))
    for lang in Language
}


class Teletype(io.StringIO):
    def isatty(self) -> bool:
        return True


class Desk:
    """A person who types these lines and these secrets."""

    def __init__(self, typed: str, *secrets: str, columns: int = 80) -> None:
        self._out, self._secrets, self.prompts = io.StringIO(), iter(secrets), list[str]()
        self.terminal = Terminal(self._out, Teletype(typed), self._secret, columns)

    def _secret(self, prompt: str) -> str:
        self.prompts.append(prompt)
        for secret in self._secrets:
            return secret
        raise EOFError

    @property
    def shown(self) -> str:
        return self._out.getvalue()

    @property
    def secrets_left(self) -> Iterator[str]:
        return self._secrets


@pytest.mark.parametrize(
    ("language", "typed", "agreed", "asked"),
    [
        (Language.EN, "yes\n", True, 1),
        (Language.EN, " Y \n", True, 1),
        (Language.EN, "N\n", False, 1),
        (Language.KO, "예\n", True, 1),
        (Language.KO, "네\n", True, 1),
        (Language.KO, "아니오\n", False, 1),
        (Language.KO, "아니요\n", False, 1),
        (Language.EN, "\n", False, 1),
        (Language.EN, "", False, 1),
        (Language.EN, "ok\nyes\n", True, 2),
        (Language.KO, "blah\nyess\n아니오\n예\n", False, 3),
        (Language.KO, "blah\n\n", False, 2),
        (Language.KO, "blah", False, 2),
    ],
)
def test_only_a_clear_yes_is_consent(
    language: Language, typed: str, agreed: bool, asked: int
) -> None:
    desk = Desk(typed)
    assert ask_consent(desk.terminal, NOTICE[language], given=False) is agreed
    assert desk.shown.split()[: len(NOTICE[language].text.split())] == NOTICE[language].text.split()
    assert desk.shown.count("?") == 1
    assert desk.shown.count("[") == asked


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(str.strip))
def test_no_other_word_is_taken_for_an_answer(word: str) -> None:
    known = {"y", "yes", "예", "네", "n", "no", "아니요", "아니오"}
    desk = Desk(f"{word}\nyes\n")
    agreed = ask_consent(desk.terminal, NOTICE[Language.EN], given=False)
    assert agreed is (word.strip().lower() not in {"n", "no", "아니요", "아니오"})
    assert desk.shown.count("[") == (1 if word.strip().lower() in known else 2)


def test_half_a_syllable_is_asked_again() -> None:
    desk = Desk("")
    typed = io.TextIOWrapper(io.BufferedReader(Typed(b"\xec\x98\n", b"yes\n")), "utf-8")
    terminal = Terminal(desk.terminal.out, typed, desk.terminal.read_secret)
    assert ask_consent(terminal, NOTICE[Language.KO], given=False) is True


class Typed(io.RawIOBase):
    """A terminal that gives one line at each read, as the line discipline does."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = iter(lines)

    def readable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        line = next(self._lines, b"")
        buffer[: len(line)] = line
        return len(line)


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("columns", [30, 40, 80, 120])
def test_the_explanation_breaks_between_words_only(language: Language, columns: int) -> None:
    desk = Desk("\n", columns=columns)
    ask_consent(desk.terminal, NOTICE[language], given=False)
    lines = desk.shown.splitlines()[:-1]  # the last one is the prompt
    assert max(cell_len(line) for line in lines) <= columns
    said = f"{NOTICE[language].text} {NOTICE[language].question}"
    assert " ".join(lines).split() == said.split()


@pytest.mark.parametrize("language", Language)
def test_the_explanation_does_not_promise_to_delete_files(language: Language) -> None:
    says = {Language.KO: "사진 파일은 건드리지 않습니다", Language.EN: "yours to delete"}
    assert says[language] in NOTICE[language].text


def test_a_pin_is_asked_twice_and_never_shown() -> None:
    desk = Desk("", "2468", "2468")
    assert ask_pin(desk.terminal, Language.KO, from_stdin=False) == "2468"
    assert desk.prompts == ["PIN(숫자 4~12자리): ", "PIN 다시 한 번: "]
    assert desk.shown == ""


def test_a_mistyped_pin_is_asked_again() -> None:
    desk = Desk("", "24", "2468", "2469", "1357", "1357")
    assert ask_pin(desk.terminal, Language.EN, from_stdin=False) == "1357"
    assert "4 to 12 digits" in desk.shown
    assert "differ" in desk.shown
    assert not any(secret in desk.shown for secret in ("2468", "2469", "1357"))


def test_after_three_entries_it_ends() -> None:
    desk = Desk("", *["24"] * PIN_ENTRIES_MAX, "2468", "2468")
    with pytest.raises(WrongInput, match="3 tries"):
        ask_pin(desk.terminal, Language.EN, from_stdin=False)
    assert list(desk.secrets_left) == ["2468", "2468"]


def test_a_pin_with_pin_stdin_is_asked_once() -> None:
    with pytest.raises(WrongInput, match="no PIN"):
        ask_pin(Desk("", "24", "2468").terminal, Language.EN, from_stdin=True)
    with pytest.raises(WrongInput, match="no PIN was chosen"):
        ask_pin(Desk("").terminal, Language.EN, from_stdin=False)  # Ctrl-D
    piped = Terminal(io.StringIO(), io.StringIO("2468\n"), Desk("").terminal.read_secret)
    assert ask_pin(piped, Language.EN, from_stdin=True) == "2468"
    with pytest.raises(EnrolmentRefused, match="nobody is here"):
        ask_pin(piped, Language.EN, from_stdin=False)
