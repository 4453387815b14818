"""From sightings to one verdict: the rules, frame by frame."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gate.verifier.pipeline import GUIDANCE_MAX, Guide, Look, LookRules, Seen
from gate.verifier.wire import Verdict
from models.types import Advice

PAD = LookRules(match_min_cos=0.5, live_min=0.8)
NO_PAD = LookRules(match_min_cos=0.5, live_min=None)
OWNER, OTHER = Seen(0.7, 0.9), Seen(0.2, 0.9)
DOUBTFUL, ATTACK = Seen(0.7, 0.6), Seen(0.7, 0.1)
NOBODY, CROWD, FAR = Advice.NO_FACE, Advice.MULTIPLE_FACES, Advice.STEP_CLOSER
Frame = Advice | Seen


def look(frames: list[Frame], rules: LookRules = PAD) -> Verdict | None:
    """One frame every 10 ms, no deadline."""
    pending = Look(rules, math.inf)
    for index, frame in enumerate(frames):
        verdict = pending.see(index * 10, frame)
        if verdict is not None:
            assert index == len(frames) - 1, "the verdict came early"
            return verdict
    return None


def end(frames: list[Frame], rules: LookRules = PAD) -> Verdict:
    pending = Look(rules, math.inf)
    for frame in frames:
        assert pending.see(0, frame) is None
    return pending.end()


def test_two_agreeing_sightings_match() -> None:
    assert look([OWNER]) is None
    assert look([OWNER, OWNER]) is Verdict.MATCH
    assert look([OWNER], LookRules(0.5, 0.8, agreeing=1)) is Verdict.MATCH


def test_poor_frames_between_do_not_matter_but_another_face_does() -> None:
    assert look([OWNER, FAR, Advice.HOLD_STILL, OWNER]) is Verdict.MATCH
    for between in (OTHER, NOBODY, CROWD, DOUBTFUL):
        assert look([OWNER, between, OWNER]) is None
        assert look([OWNER, between, OWNER, OWNER]) is Verdict.MATCH


def test_one_certain_attack_denies_whatever_else_was_seen() -> None:
    assert look([OWNER, ATTACK]) is Verdict.PRESENTATION_ATTACK
    assert look([Seen(0.99, math.nan)]) is Verdict.PRESENTATION_ATTACK
    assert look([Seen(0.99, None)]) is Verdict.PRESENTATION_ATTACK, "the pack promised liveness"


def test_a_doubtful_face_never_matches_and_is_an_attack_at_the_end() -> None:
    assert look([DOUBTFUL] * 50) is None
    assert end([DOUBTFUL, OWNER]) is Verdict.PRESENTATION_ATTACK


def test_a_pack_without_liveness_says_nothing_about_attacks() -> None:
    assert look([Seen(0.7, None)] * 2, NO_PAD) is Verdict.MATCH


def test_a_no_match_needs_several_sightings() -> None:
    assert look([OTHER] * 4) is None
    assert look([OTHER] * 5) is Verdict.NO_MATCH
    assert end([OTHER]) is Verdict.NO_MATCH
    assert look([Seen(math.nan, 0.9)] * 5) is Verdict.NO_MATCH


def test_two_faces_get_guidance_first_and_a_denial_if_they_stay() -> None:
    assert look([CROWD] * 7) is None
    assert look([CROWD] * 8) is Verdict.MULTIPLE_FACES
    assert look([CROWD] * 7 + [NOBODY] + [CROWD] * 7) is None
    assert end([CROWD]) is Verdict.MULTIPLE_FACES


def test_the_deadline_says_what_was_missing() -> None:
    assert end([]) is Verdict.NO_FACE
    assert end([NOBODY] * 3) is Verdict.NO_FACE
    assert end([NOBODY, FAR]) is Verdict.LOW_QUALITY
    assert end([OWNER]) is Verdict.LOW_QUALITY


def test_a_match_after_the_deadline_is_no_match() -> None:
    late = Look(PAD, 100)
    assert late.see(50, OWNER) is None
    assert late.see(101, OWNER) is Verdict.LOW_QUALITY
    denied = Look(PAD, 100)
    assert denied.see(101, ATTACK) is Verdict.PRESENTATION_ATTACK


frames = st.lists(
    st.one_of(
        st.sampled_from(Advice),
        st.builds(Seen, st.floats(allow_infinity=False), st.one_of(st.none(), st.floats(0, 1))),
    ),
    max_size=40,
)


@given(frames)
def test_no_sequence_matches_without_two_live_matching_neighbours(sequence: list[Frame]) -> None:
    pending = Look(PAD, math.inf)
    for index, frame in enumerate(sequence):
        verdict = pending.see(0, frame)
        if verdict is Verdict.MATCH:
            sightings = [f for f in sequence[: index + 1] if isinstance(f, Seen)][-2:]
            assert len(sightings) == 2
            for seen in sightings:
                assert seen.score_cos >= PAD.match_min_cos
                assert seen.live_score is not None
                assert seen.live_score >= 0.8
        if verdict is not None:
            return


def test_guidance_comes_when_it_changes_and_not_too_often() -> None:
    guide = Guide()
    assert guide.say(0, Advice.NONE) is None
    assert guide.say(10, NOBODY) is NOBODY
    assert guide.say(20, NOBODY) is None
    assert guide.say(100, FAR) is None
    assert guide.say(320, FAR) is FAR
    assert guide.say(700, Advice.NONE) is Advice.NONE


@given(st.lists(st.sampled_from(Advice), max_size=300))
def test_guidance_never_exceeds_what_the_pool_allows(advice: list[Advice]) -> None:
    guide = Guide()
    sent = [guide.say(index * 1000, what) for index, what in enumerate(advice)]
    assert sum(what is not None for what in sent) <= GUIDANCE_MAX
