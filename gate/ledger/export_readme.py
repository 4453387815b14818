"""What stands in README.txt of an export. Korean and English."""

README = """\
이 폴더는 한 출입 게이트의 전체 기록입니다
==========================================
이 안에는 이름, 얼굴, 카드 번호, 점수, 정확한 시각이 없습니다. 시각은 15분 단위 번호(batch)뿐입니다.

파일
  tile/              C2SP tlog-tiles 형식: 해시 256개씩의 타일과 tile/entries/ 의 기록 묶음.
                     투명성 로그 도구는 checkpoint와 이 폴더만 읽습니다.
  entries.jsonl      한 줄에 기록 하나. 줄 바꿈을 뺀 바이트가 머클 트리의 잎입니다. 보존 기간이 지나
                     지워진 기록은 빈 줄이고, 그 해시는 tile/0/ 에 남아 있습니다.
  checkpoint         서명된 최신 체크포인트: 출처, 기록 수, 루트, 서명
  checkpoints.jsonl  지금까지의 체크포인트(오래된 것부터, 한 줄에 JSON 문자열 하나)
  cosigned.jsonl     증인(witness)마다 마지막으로 함께 서명한 체크포인트. 서명한 시각은 이미 끝난
                     15분의 체크포인트에 대한 것이므로 기록보다 더 많은 것을 말하지 않습니다.
  vkey               게이트의 공개 검증 키

확인 방법
  1. vkey를 이 폴더가 아닌 곳(투명성 페이지, 현장 안내문)에서 받은 키와 비교하십시오.
  2. gate ledger verify 이 폴더 --vkey "키"
  3. 우리 프로그램을 믿지 않아도 됩니다. checkpoint는 C2SP signed-note(Ed25519) 형식이고,
     루트는 RFC 9162 2.1.1의 머클 해시입니다. Go의 golang.org/x/mod/sumdb/note 와 tlog,
     또는 다른 투명성 로그 도구로 직접 확인할 수 있습니다.
  4. 전에 받아 둔 checkpoint가 있으면 함께 넣으십시오. 기록이 잘리거나 바뀌었는지 알 수 있습니다.
     gate ledger verify 이 폴더 --vkey "키" --kept 보관한_checkpoint (여러 번 쓸 수 있습니다)
     로그 하나만으로는 두 가지 역사를 보여 주는 속임수를 알 수 없습니다. 믿는 증인의 키를
     --witness "키" 로 넣으면 그 증인에게 다른 역사를 보여 주지 않았음을 알 수 있습니다.
  5. 이번 checkpoint를 안전한 곳에 보관하십시오.
  자세한 순서: 프로젝트의 docs/verify-it-yourself.md

This folder is the whole log of one entry gate
==============================================
It holds no name, face, card number, score or exact time: only a quarter-of-an-hour number (batch).

Files
  tile/              C2SP tlog-tiles: tiles of 256 hashes, and bundles of records in tile/entries/.
                     A transparency-log tool reads the checkpoint and this folder, nothing else.
  entries.jsonl      one record a line; its bytes without the line feed are a leaf of the tree. A
                     record that was deleted with age is an empty line; its hash is in tile/0/.
  checkpoint         the newest signed checkpoint: origin, number of records, root, signature
  checkpoints.jsonl  the checkpoints so far (oldest first, one JSON string a line)
  cosigned.jsonl     what each witness co-signed last. A witness's time is exact, but it is of a
                     checkpoint whose quarter of an hour was over: it tells no more than the log.
  vkey               the gate's public verifier key

How to verify
  1. Compare vkey with the key you got elsewhere (transparency page, sign at the site).
  2. gate ledger verify THIS_FOLDER --vkey "KEY"
  3. You need not trust our program. checkpoint is a C2SP signed-note (Ed25519), the root is the
     Merkle tree hash of RFC 9162 section 2.1.1. Go's golang.org/x/mod/sumdb/note and tlog, or
     any other transparency-log tool, can check them.
  4. Add the checkpoints you kept from before: they show a log that was cut or rewritten. A log
     alone cannot show that it tells two people two histories; name witnesses that you trust:
     --witness "KEY" shows that none of them was told another one.
     gate ledger verify THIS_FOLDER --vkey "KEY" --kept KEPT_CHECKPOINT (may be repeated)
  5. Keep this checkpoint in a safe place.
  Step by step: docs/verify-it-yourself.md of the project
"""
