"""What `Cascade.load` puts together: redactor, taxonomy, cache and log; and whether they work."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

from inference.bundle.manifest import BundleError
from inference.bundle.redact import Redactor, load_redactor
from inference.bundle.taxonomy import Taxonomy
from inference.cache.memory import MemoryCache, normalise
from inference.cache.shared import Cache, RedisCache
from inference.common.fork import attempt
from inference.common.places import spill_folder
from inference.log.decision_log import DecisionLog, LogError
from inference.money.ledger import Ledger, LedgerDown
from inference.serving.policy import Policy
from inference.serving.tier import Tier
from inference.teachers.prompt import Prompt

_log = logging.getLogger("monoku.serving")


def choose_redactor(policy: Policy, tier: Tier | None) -> Redactor:
    """The policy's, else the bundle's, else the built-in one."""
    if tier is not None and not policy.redactor:
        return tier.classifier.redact
    return load_redactor(policy.redactor or "builtin")


def choose_taxonomy(given: str | Path | Taxonomy | None, root: Path, tier: Tier | None) -> Taxonomy:
    """The bundle's taxonomy, else the given one, read where it is a file. Raises BundleError if there is none."""
    if tier is not None:
        _warn_of_other(given, root, tier.taxonomy)
        return tier.taxonomy
    if given is None:
        raise BundleError(f"{root} has no bundle yet: give a taxonomy to start with a teacher alone")
    return _read(given)


def _warn_of_other(given: str | Path | Taxonomy | None, root: Path, served: Taxonomy) -> None:
    """It was for the time before there was a bundle, so it may be gone by now."""
    with contextlib.suppress(OSError, ValueError):
        if given is not None and set(_read(given).names) != set(served.names):
            _log.warning("%s has a bundle, whose intents are served; those of the taxonomy given are others", root.name)


def _read(given: str | Path | Taxonomy) -> Taxonomy:
    return given if isinstance(given, Taxonomy) else Taxonomy.load(Path(given))


def make_cache(policy: Policy, taxonomy: Taxonomy, redact: Redactor) -> Cache | None:
    """The memory of this process, with Redis behind it where the policy names one; None for a size of 0."""
    if not policy.cache_size:
        return None
    memory = MemoryCache(policy.cache_size, policy.cache_ttl_s)
    if not policy.redis:
        return Cache(memory)
    # What a local answer depends on beside its bundle: another strategy or target may not take it.
    target = "own" if policy.target is None else f"{policy.target:g}"
    prefix = f"monoku:{Prompt.of(taxonomy).id}:{policy.strategy}:{target}"

    def prepare(text: str) -> str:
        return normalise(redact(text))

    limits = (policy.cache_ttl_s, policy.redis_timeout_ms)
    return Cache(memory, RedisCache(policy.redis, prefix, *limits, labels=taxonomy.names, prepare=prepare))


def make_log(policy: Policy, home: Path) -> DecisionLog | None:
    """The decision log that the policy names, or the one in `home`; None where the policy wants none."""
    if policy.log == "none":
        return None
    spill = spill_folder(policy.spill, home)
    return DecisionLog(policy.log or home / "decisions.db", spill=spill, retention_days=policy.retention_days)


def check_stores(policy: Policy, log: DecisionLog | None, ledger: Ledger | None, cache: Cache | None) -> None:
    """Use every store once. Without a teacher there is no ledger, and the log is not needed.

    Raises ValueError where one does not work, or warns where the policy says so. That Redis is out of reach or slow is
    never more than a warning, its own: it may be over soon, and costs no more than answers that are not shared.
    """
    wrong = []
    for store, setting in ((log if ledger else None, "log"), (ledger, "ledger")):
        try:
            if store is not None:
                store.check()
        except (LogError, LedgerDown) as error:
            wrong.append(f"{error} (give another place with {setting}=)")
    trouble, for_good = cache.redis.check() if cache is not None and cache.redis is not None else ("", False)
    if for_good:
        wrong.append(f"Redis {trouble} (with redis=)")
    if wrong and policy.stores == "warn":
        for text in wrong:
            _log.warning("%s", text)
    elif wrong:
        for part in (log, ledger, cache.redis if cache else None):
            if part is not None:
                attempt(part.close)
        raise ValueError("; ".join(wrong) + '; to start all the same, set stores="warn"')
