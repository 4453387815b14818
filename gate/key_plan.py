"""From the configuration to a running key agent, for `gate run`, `check-config` and `keys`."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping

from gate.errors import ConfigError
from gate.key_supervision import SupervisedKeyAgent
from gate.settings import Settings
from gate.template.agent_client import HeldKey, KeyAgent
from gate.template.key_source import KeyPlan


def plan_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> KeyPlan:
    """Return what the key agent needs to find its keys. No key and no passphrase is read here.

    Raises:
        ConfigError: `token_dir` is no folder.
    """
    keys = settings.keys
    if keys.token_dir is not None and not keys.token_dir.is_dir():
        raise ConfigError(
            f"[keys] token_dir {keys.token_dir} is no folder",
            "name the folder in which the token's module keeps its files",
        )
    return KeyPlan(
        sources=[str(source) for source in keys.template_keys],
        passphrase=keys.passphrase_file,
        credentials=environ.get("CREDENTIALS_DIRECTORY"),
        tpm=str(keys.tpm),
        token_dir=None if keys.token_dir is None else str(keys.token_dir),
        module_environment=keys.module_environment,
        refuse_demo=settings.gate.mode != "demo",
    )


def ask_at_terminal(what: str) -> str | None:
    """Ask the person at the terminal, without echo. None when there is none.

    The answer goes to the key agent and is not kept, so an agent that dies later is only started
    again without anybody when its passphrase is in a file or a credential.
    """
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(f"passphrase or PIN of {what} (not shown): ")


def self_tested(plan: KeyPlan) -> tuple[HeldKey, ...]:
    """Start a key agent, which tries each key, and end it again; return what it held.

    Raises:
        ConfigError: a key is unusable.
        KeyAgentFault: the agent did not come up.
    """
    agent = KeyAgent.start(plan, ask=ask_at_terminal)
    agent.close()
    return agent.keys


def supervised(settings: Settings) -> SupervisedKeyAgent:
    """Start the key agent of this configuration, to be kept running.

    Raises:
        ConfigError: a key is unusable.
        KeyAgentFault: the agent did not come up.
    """
    plan = plan_of(settings)
    return SupervisedKeyAgent(
        lambda: KeyAgent.start(plan, ask=ask_at_terminal), lambda: KeyAgent.start(plan)
    )
