"""The closed schema of the log: what a record can say, and nothing else. Pure.

A record is canonical JSON (RFC 8785 subset: ASCII, sorted keys, integers, booleans and words from
closed lists). There is no free text, no bytes, no float, so no name, score, exact time, template
or vector fits. Time is a batch of 15 minutes.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from gate.errors import LedgerFault
from gate.passage.decision import DenyReason, Lane
