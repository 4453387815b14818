"""Records in human words, Korean and English."""

from __future__ import annotations

from firmware_bridge.ports import Crossing, OpenResult
from gate.ledger.record import (
    Act,
    AdminAct,
    AdminActed,
    CardKeyDestroyed,
    Cleared,
    Decided,
    Enrolled,
    FaultCode,
    Faulted,
    HostSeen,
    KeyPurpose,
    KeyUsed,
    Missed,
    Mode,
    Moved,
    PolicyChanged,
    Probed,
    Pruned,
    Record,
    SelfTested,
    Started,
    Stopped,
    VerifierDied,
)
from gate.passage.decision import DenyReason, Lane
from gate.template.outcome import KeyOutcome

Pair = tuple[str, str]
"""Korean, English."""

REASONS: dict[DenyReason, Pair] = {
    DenyReason.CARD_UNREADABLE: ("카드를 읽지 못함", "card could not be read"),
    DenyReason.CARD_UNTRUSTED: ("믿을 수 없는 발급자", "card issuer not trusted"),
    DenyReason.CARD_EXPIRED: ("기한이 지난 카드", "card expired"),
    DenyReason.CARD_NOT_YET_VALID: ("아직 유효하지 않은 카드", "card not yet valid"),
    DenyReason.CARD_TAMPERED: ("내용이 바뀐 카드", "card content was changed"),
    DenyReason.CARD_CLONED: ("복제된 카드", "copied card: wrong device key"),
    DenyReason.CARD_REVOKED: ("취소된 카드", "card revoked"),
    DenyReason.STATUS_UNKNOWN: ("취소 목록이 없거나 오래됨", "status list missing or stale"),
    DenyReason.NOT_ALLOWED_HERE: ("이 구역의 권한 없음", "card not allowed in this zone"),
    DenyReason.NO_MATCH: ("카드의 얼굴과 맞지 않음", "face did not match the card"),
    DenyReason.NO_FACE: ("얼굴이 보이지 않음", "no face in view"),
    DenyReason.MULTIPLE_FACES: ("두 사람 이상이 보임", "more than one face in view"),
    DenyReason.PRESENTATION_ATTACK: (
        "실제 사람인지 확인되지 않음",
        "not shown to be a live person",
    ),
    DenyReason.LOW_QUALITY: ("화질 부족", "picture not good enough"),
    DenyReason.CONSENT_WITHDRAWN: ("동의가 철회됨", "consent withdrawn"),
    DenyReason.TEMPLATE_REJECTED: ("템플릿이 열리지 않음", "template did not open"),
    DenyReason.WRONG_PIN: ("틀린 비밀번호", "wrong PIN"),
    DenyReason.PIN_LOCKED: ("비밀번호 잠김", "PIN locked"),
    DenyReason.PIN_TIMEOUT: ("비밀번호 시간 초과", "no PIN in time"),
    DenyReason.NO_PIN_ON_CARD: ("카드에 비밀번호 없음", "no PIN on the card"),
    DenyReason.TIMED_OUT: ("시간 초과", "time was over"),
    DenyReason.KEY_UNAVAILABLE: ("키를 쓸 수 없음", "key not available"),
    DenyReason.VERIFIER_FAULT: ("확인 프로세스 고장", "verifier fault"),
    DenyReason.CAMERA_FAULT: ("카메라 고장", "camera fault"),
    DenyReason.TURNSTILE_OFFLINE: ("출입문 연결 끊김", "turnstile not connected"),
    DenyReason.LEDGER_UNAVAILABLE: ("기록할 수 없음", "log could not be written"),
    DenyReason.SHUTTING_DOWN: ("종료 중", "gate was shutting down"),
    DenyReason.INTERNAL_FAULT: ("내부 고장", "internal fault"),
}
LANES: dict[Lane, Pair] = {
    Lane.FACE: ("얼굴", "face lane"),
    Lane.PIN: ("비밀번호", "PIN lane"),
    Lane.NONE: ("방법을 고르기 전", "before a lane began"),
}
RESULTS: dict[OpenResult, Pair] = {
    OpenResult.OPENED: ("열림", "opened"),
    OpenResult.REFUSED: ("출입문이 거절함", "the turnstile refused"),
    OpenResult.NOT_DELIVERED: ("명령이 닿지 않음", "the command did not arrive"),
    OpenResult.UNKNOWN: ("결과를 알 수 없음", "result not known"),
}
CROSSINGS: dict[Crossing, Pair] = {
    Crossing.ONE: ("한 사람이 지나감", "one person crossed"),
    Crossing.TAILGATING: ("두 사람 이상이 지나감", "more than one person crossed"),
    Crossing.NOBODY: ("아무도 지나가지 않음", "nobody crossed"),
    Crossing.UNOBSERVED: ("통과를 보지 못함", "crossing not observed"),
}
FAULTS: dict[FaultCode, Pair] = {
    FaultCode.CAMERA: ("카메라 없음", "no camera"),
    FaultCode.READER: ("카드 단말기 고장", "card reader fault"),
    FaultCode.TURNSTILE_OFFLINE: ("출입문 연결 끊김", "turnstile not connected"),
    FaultCode.TURNSTILE_WRONG_KEY: ("출입문의 키가 다름", "turnstile has another key"),
    FaultCode.TAMPER: ("출입문이 열려 있거나 건드려짐", "turnstile tamper alarm"),
    FaultCode.FIRE: ("화재 신호", "fire signal"),
    FaultCode.VERIFIER_SPAWN: ("확인 프로세스를 시작할 수 없음", "no verifier could start"),
    FaultCode.VERIFIER_KILLED: ("확인 프로세스가 강제로 끝남", "a verifier was killed"),
    FaultCode.VERIFIER_CONTRACT: ("확인 프로세스가 규칙을 어김", "a verifier broke its contract"),
    FaultCode.KEY_AGENT_DEAD: ("키 프로세스가 끝남", "the key agent is gone"),
    FaultCode.POLICY_EXPIRED: ("정책 기한이 지남", "policy expired"),
    FaultCode.DEPLOYMENT_EXPIRED: ("도입 승인 기한이 지남", "deployment record expired"),
    FaultCode.STATUS_LIST_STALE: ("취소 목록이 오래됨", "status list is stale"),
    FaultCode.INTERNAL: ("내부 고장", "internal fault"),
}
ACTS: dict[Act, Pair] = {
    Act.ISSUED: ("카드 발급", "card issued"),
    Act.RENEWED: ("카드 갱신", "card renewed"),
    Act.WITHDRAWN: ("동의 철회", "consent withdrawn"),
    Act.REVOKED: ("카드 취소", "card revoked"),
}
PURPOSES: dict[KeyPurpose, Pair] = {
    KeyPurpose.TEMPLATE: ("얼굴 템플릿", "face template"),
    KeyPurpose.PIN: ("비밀번호", "PIN"),
}
OUTCOMES: dict[KeyOutcome, Pair] = {
    KeyOutcome.RELEASED: ("내줌", "released"),
    KeyOutcome.REFUSED: ("이 카드로는 열리지 않음", "does not open for this card"),
    KeyOutcome.RATE_LIMITED: ("너무 잦아 거절함", "refused: too many in a short time"),
    KeyOutcome.SECOND: ("같은 카드에 두 번째라 거절함", "refused: second time for one tap"),
    KeyOutcome.FAILED: ("키 프로세스 고장", "key agent fault"),
}
ADMIN_ACTS: dict[AdminAct, Pair] = {
    AdminAct.SETTINGS_CHANGED: ("설정이 바뀜", "settings were changed"),
    AdminAct.DEPLOYMENT_REPLACED: ("도입 승인서가 바뀜", "deployment record was replaced"),
    AdminAct.TRUST_REPLACED: ("믿는 발급자가 바뀜", "trusted issuers were changed"),
    AdminAct.STATUS_LIST_REPLACED: ("취소 목록이 바뀜", "status list was replaced"),
    AdminAct.TEMPLATE_KEYS_CHANGED: ("템플릿 키가 바뀜", "template keys were changed"),
    AdminAct.DOOR_KEY_CHANGED: ("출입문 키가 바뀜", "door key was changed"),
    AdminAct.MODELS_CHANGED: ("모델이 바뀜", "models were changed"),
}
MODES: dict[Mode, Pair] = {Mode.DEMO: ("시연", "demo"), Mode.PRODUCTION: ("운영", "production")}
YES_NO: tuple[Pair, Pair] = (("아니요", "no"), ("예", "yes"))


def kind(record: Record) -> Pair:
    """Return what sort of record it is."""
    match record:
        case Started():
            return "시작", "started"
        case HostSeen():
            return "컴퓨터 상태", "host"
        case SelfTested():
            return "격리 자가 시험", "sandbox self-test"
        case CardKeyDestroyed():
            return "가명 키 파기", "pseudonym key destroyed"
        case KeyUsed():
            return "키 사용", "key use"
        case Decided(granted=True):
            return "허용", "granted"
        case Decided():
            return "거절", "denied"
        case Moved():
            return "출입문", "turnstile"
        case VerifierDied():
            return "확인 프로세스 종료", "verifier ended"
        case Faulted():
            return "고장", "fault"
        case Cleared():
            return "고장 끝", "fault over"
        case Missed():
            return "빠진 기록", "records missing"
        case PolicyChanged():
            return "정책 변경", "policy change"
        case AdminActed():
            return "관리자 변경", "administration"
        case Enrolled():
            return "등록", "enrolment"
        case Probed():
            return "잔여 정보 검사", "retention probe"
        case Pruned():
            return "오래된 기록 삭제", "pruned"
        case Stopped():
            return "정지", "stopped"


def sentence(record: Record) -> Pair:
    """Return what the record says."""
    match record:
        case Started(mode=mode, pack=pack, policy=policy, sandbox_ok=sandbox, key_agent_ok=key):
            return (
                f"{MODES[mode][0]} · 모델 {pack.value} · 격리 {YES_NO[sandbox][0]} · "
                f"키 프로세스 {YES_NO[key][0]} · 정책 {policy[:12]}…",
                f"{MODES[mode][1]} · models {pack.value} · sandbox {YES_NO[sandbox][1]} · "
                f"key agent {YES_NO[key][1]} · policy {policy[:12]}…",
            )
        case HostSeen() as host:
            return _host(host)
        case SelfTested(tried=tried, held=held):
            return f"탈출 시도 {tried}번 중 {held}번 막음", f"{held} of {tried} escapes held"
        case CardKeyDestroyed(cards=cards):
            return f"가명 {cards}개를 이제 아무도 풀 수 없음", f"{cards} pseudonyms, now nobody's"
        case KeyUsed(purpose=purpose, outcome=outcome):
            return _joined(PURPOSES[purpose], OUTCOMES[outcome])
        case Decided(reason=reason, lane=lane, card=card):
            said = LANES[lane] if reason is None else _joined(REASONS[reason], LANES[lane])
            return _joined(said, _card(card)) if card else said
        case Moved(result=result, crossing=crossing):
            return _joined(RESULTS[result], CROSSINGS[crossing])
        case VerifierDied() as died:
            locked = died.no_new_privs and not died.dumpable and died.core_limit_zero
            seconds = f"{died.lifetime_ds / 10:.1f}"
            return (
                f"수명 {seconds}초 · 종료 코드 {died.exit_code} · 잠금 {YES_NO[locked][0]} · "
                f"받은 {died.bytes_in} B · 보낸 {died.bytes_out} B",
                f"lived {seconds} s · exit {died.exit_code} · locked down {YES_NO[locked][1]} · "
                f"{died.bytes_in} B in · {died.bytes_out} B out",
            )
        case Faulted(code=code):
            return FAULTS[code]
        case Cleared(code=code):
            return FAULTS[code]
        case Missed(records=records):
            return f"기록 {records}개를 쓰지 못함", f"{records} records could not be written"
        case PolicyChanged(policy=policy):
            return f"정책 {policy[:12]}…", f"policy {policy[:12]}…"
        case AdminActed(act=admin_act):
            return ADMIN_ACTS[admin_act]
        case Enrolled(act=act):
            return ACTS[act]
        case Probed(controls_planted=0):
            return "검사가 끝나지 못하여 아무것도 보여 주지 못함", "failed: it has shown nothing"
        case Probed() as p:
            found = f"{p.controls_found}/{p.controls_planted}"
            return (
                f"찾을 것 {p.needles} · 대조 조각 발견 {found} · 남은 조각 {p.residues} · "
                f"살핀 곳 {p.searched} · 못 살핀 곳 {p.not_searched}",
                f"{p.needles} looked for · {found} controls found · {p.residues} left over · "
                f"{p.searched} places searched · {p.not_searched} not",
            )
        case Pruned(below=below):
            return f"{below}번 앞의 기록 내용", f"contents of records before {below}"
        case Stopped(clean=clean):
            return ("정상 종료", "clean end") if clean else ("통과 도중 종료", "cut short")


def _joined(one: Pair, other: Pair) -> Pair:
    return f"{one[0]} · {other[0]}", f"{one[1]} · {other[1]}"


def _card(number: int) -> Pair:
    return f"오늘 거절된 카드 {number}번", f"card {number} of those denied today"


def _host(host: HostSeen) -> Pair:
    conditions = (
        (host.init_on_free, "해제한 메모리를 지움", "clears freed memory"),
        (host.swap_off, "스왑이 꺼져 있음", "swap is off"),
        (host.core_dumps_off, "코어 덤프가 꺼져 있음", "core dumps are off"),
        (host.hibernation_off, "최대 절전이 꺼져 있음", "hibernation is off"),
    )
    return (
        " · ".join(f"{ko}: {YES_NO[shown][0]}" for shown, ko, _ in conditions),
        " · ".join(f"{en}: {YES_NO[shown][1]}" for shown, _, en in conditions),
    )
