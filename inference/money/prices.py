"""What a call costs: dollars from measured token usage, by a table of published prices with their source and date.

Money is in whole nano-dollars (1e-9 dollars), so that sums are exact. A price that is missing here is taken from the
package genai-prices where it is installed (the extra `prices`), or added with `add_price`, or with `load_prices`
(`--prices FILE`) from a file of such tables, `long` and cache prices being optional:

    [[prices]]
    model = "claude-haiku-6"
    input = 0.10          # dollars per million tokens
    output = 0.50
    source = "platform.claude.com/docs/en/about-claude/pricing"
    date = "2027-01"
    long = { input = 0.50, output = 2.50 }
"""

from __future__ import annotations

import datetime
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import ArgumentParser

LONG_PROMPT_TOKENS = 100_000
OVERHEAD_TOKENS = 500  # what a provider adds to a prompt of its own: the frame of the conversation, of the schema
CACHED_FROM_TOKENS = 512  # a shorter prompt is not cached by Haiku 5.5, without a word
HALF_IN_BATCHES = ("anthropic", "google", "openai")
NANO_PER_MILLIONTH = 1000  # a dollar per million tokens is 1,000 nano-dollars per token


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, or of several added up. The prompt is the sum of its four parts.

    `cache_write_tokens` are those written to the cache for five minutes, `cache_write_1h_tokens` for an hour.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_read_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        ours, theirs = asdict(self), asdict(other)
        return Usage(**{name: ours[name] + theirs[name] for name in ours})

    @property
    def prompt_tokens(self) -> int:
        """All input tokens, cached or not."""
        return self.input_tokens + self.cache_write_tokens + self.cache_write_1h_tokens + self.cache_read_tokens

    def to_dict(self) -> dict[str, int]:
        """As rows of labels carry it: what is not 0."""
        return {name: count for name, count in asdict(self).items() if count}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Usage:
        """What `to_dict` gave. Raises ValueError if a value is not a count of tokens."""
        known = [field.name for field in fields(cls)]
        for name, count in values.items():
            if name not in known or type(count) is not int or count < 0:
                raise ValueError(
                    f"{name} = {count!r} is not a count of tokens; expected whole numbers for {', '.join(known)}"
                )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per million tokens, by kind, and where and when they were published.

    A cache price that is not given is the dearest in use, as a share of `input`: 1.25 to write for five minutes, 2
    for an hour, 1 to read. `batch` is the share of the price that a call in a batch costs. `long` has the prices of
    all tokens of a call whose prompt is of more than 100,000 tokens, where they differ. Raises ValueError if a
    number is not a valid price.
    """

    input: float
    output: float
    source: str
    date: str
    cache_write: float | None = None
    cache_write_1h: float | None = None
    cache_read: float | None = None
    batch: float = 0.5
    long: Price | None = None
    note: str = ""

    def __post_init__(self) -> None:
        for name in ("input", "output", "cache_write", "cache_write_1h", "cache_read", "batch"):
            value = getattr(self, name)
            if value is None and name.startswith("cache_"):
                continue
            if type(value) not in (int, float) or not 0 <= value < math.inf:
                raise ValueError(f"the price {name} must be a number of at least 0, got {value!r}")
        if self.batch > 1:
            raise ValueError(f"batch is a share of the price, at most 1, got {self.batch!r}")

    def rates(self) -> tuple[Fraction, ...]:
        """Dollars per million tokens, exactly as written, in the order of Usage's fields."""
        paid = Fraction(str(self.input))
        cached = (self.cache_write, "1.25"), (self.cache_write_1h, "2"), (self.cache_read, "1")
        written = [paid * Fraction(share) if rate is None else Fraction(str(rate)) for rate, share in cached]
        return paid, Fraction(str(self.output)), *written


_PRICING = "platform.claude.com/docs/en/about-claude/pricing"
_HAIKU = "platform.claude.com/docs/en/models/haiku-5-5/overview"
_LUNA = "third parties' tables, not checked at the source; it reasons unless told not to"
_NANO = "developers.openai.com/api/docs/models/gpt-5.4-nano; dollars as in third parties' tables"
_LITE = "ai.google.dev/gemini-api/docs/pricing, a third party's copy; its cache price was not checked"

_HAIKU_LONG = Price(0.50, 2.50, _HAIKU, "2026-10", 0.625, 1.00, 0.05)
_HAIKU_45 = Price(1.00, 5.00, _PRICING, "2026-08", 1.25, 2.00, 0.10)

PRICES: dict[str, Price] = {
    "claude-haiku-5-5": Price(0.10, 0.50, _HAIKU, "2026-10", 0.125, 0.20, 0.01, long=_HAIKU_LONG),
    "claude-haiku-4-5": _HAIKU_45,
    "claude-haiku-4-5-20251001": _HAIKU_45,
    "claude-3-5-haiku-20241022": Price(
        0.80, 4.00, _PRICING, "2025-12, a third party's copy", 1.00, 1.60, 0.08, note="retired 2026-02-19"
    ),
    "claude-3-haiku-20240307": Price(0.25, 1.25, _PRICING, "2026-02", 0.30, 0.50, 0.03, note="retired 2026-04-20"),
    "claude-3-5-sonnet-20241022": Price(
        3.00, 15.00, _PRICING, "2025-03, a third party's copy", 3.75, 6.00, 0.30, note="retired in 2025"
    ),
    "gpt-6-luna": Price(0.10, 0.50, _LUNA, "2026-11", cache_read=0.01),
    "gpt-5.4-nano": Price(0.20, 1.25, _NANO, "2026-11", cache_read=0.02),
    "gemini-3.5-flash-lite": Price(0.30, 2.50, _LITE, "2026-10"),
}


def add_price(model: str, price: Price) -> None:
    """Make a model known, or replace its price."""
    PRICES[model] = price


def load_prices(path: str | Path) -> dict[str, Price]:
    """Add every price of a TOML file, or none if one is invalid, and return them by model.

    Raises ValueError if the file or a price in it is invalid, OSError if it cannot be read.
    """
    try:
        values = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
        entries = values.pop("prices", None)
        if values or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError("expected nothing but [[prices]] tables")
        read = dict(_entry(entry) for entry in entries)
    except ValueError as error:  # TOML and Unicode errors are ValueErrors too
        raise ValueError(f"{path}: {error}") from error
    PRICES.update(read)
    return read


def _entry(values: dict[str, Any]) -> tuple[str, Price]:
    model = values.pop("model", None)
    if not isinstance(model, str) or not model:
        raise ValueError(f"a price needs a model, got {values!r}")
    try:
        long = values.pop("long", None)
        if long is not None:
            values["long"] = Price(**{"source": values.get("source"), "date": values.get("date"), **long})
        price = Price(**values)
        if not all(isinstance(text, str) and text for text in (price.source, price.date)):
            raise ValueError("source and date must be strings")
    except (TypeError, ValueError) as error:
        known = ", ".join(field.name for field in fields(Price))
        raise ValueError(f"the price of {model}: {error}; keys are {known}") from error
    return model, price


def add_prices_flag(parser: ArgumentParser) -> None:
    """Give a command the flag --prices FILE: `load_prices` reads the file while the command line is parsed."""
    from argparse import ArgumentTypeError

    def load(path: str) -> dict[str, Price]:
        try:
            return load_prices(path)
        except (ValueError, OSError) as error:
            raise ArgumentTypeError(str(error)) from error

    parser.add_argument("--prices", type=load, metavar="FILE", help="a TOML file of [[prices]] to add or replace")


def price_of(model: str) -> Price:
    """The price of a model. Raises ValueError if neither the table nor genai-prices has it."""
    if model not in PRICES:
        found = _published(model)
        if found is None:
            raise ValueError(
                f"no price for the model {model!r}; known are {', '.join(sorted(PRICES))}, and more with "
                f'pip install "monoku[prices]". Add it with --prices FILE, where FILE has [[prices]], '
                f'model = "{model}", input = ..., output = ... (dollars per million tokens), source = "...", '
                'date = "..."; in Python with add_price or load_prices of inference.money.prices'
            )
        PRICES[model] = found
    return PRICES[model]


def _published(model: str) -> Price | None:
    """The price that genai-prices has for the very name of a model, or for the name without its date."""
    try:
        import genai_prices
    except ImportError:
        return None

    def paid(prompt: int) -> Any:
        usage, now = genai_prices.Usage(input_tokens=prompt, output_tokens=1000), datetime.datetime.now(datetime.UTC)
        day = (now + datetime.timedelta(hours=hour) for hour in range(24))  # some charge less at night
        found = (genai_prices.calc_price(usage, model, genai_request_timestamp=moment) for moment in day)
        return max(found, key=lambda price: price.total_price)

    try:
        found = paid(1000)
    except LookupError:
        return None
    if re.sub(r"[-@]\d{4}-?\d{2}-?\d{2}$", "", model) != found.model.id:
        return None  # it guesses from the beginning of a name
    source, date = f"genai-prices, {found.provider.name}", f"version {genai_prices.__version__}"
    usual = float(found.input_price * 1000), float(found.output_price * 1000)
    most = paid(10_000_000)
    long = float(most.input_price / 10), float(most.output_price * 1000)
    batch = 0.5 if found.provider.id in HALF_IN_BATCHES else 1.0
    return Price(*usual, source, date, batch=batch, long=None if long == usual else Price(*long, source, date))


def cost(model: str, usage: Usage, batch: bool = False) -> int:
    """Nano-dollars that one answer's `usage` was charged, rounded up. Raises ValueError if the model is unknown."""
    price = price_of(model)
    band = price.long if price.long and usage.prompt_tokens > LONG_PROMPT_TOKENS else price
    # A server may report more cached tokens than it had: what is left of its prompt then costs nothing, not less.
    counts = [max(0, count) for count in asdict(usage).values()]
    total = sum((count * rate for count, rate in zip(counts, band.rates(), strict=True)), Fraction(0))
    return _nano(total, price, batch)


def worst_case(model: str, prompt_bytes: int, max_tokens: int, batch: bool = False) -> int:
    """Nano-dollars that no call can exceed whose prompt, schema included, has so many bytes of UTF-8.

    No tokenizer makes more than one token of a byte; all of them are taken to be charged at the dearest rate, that of
    writing to the cache as a rule.
    """
    price = price_of(model)
    tokens = prompt_bytes + OVERHEAD_TOKENS
    bands = [price, price.long] if price.long and tokens > LONG_PROMPT_TOKENS else [price]
    rates = [band.rates() for band in bands]
    dearest = max(max(prompt, *cached) for prompt, _, *cached in rates)
    return _nano(tokens * dearest + max_tokens * max(band[1] for band in rates), price, batch)


def _nano(total: Fraction, price: Price, batch: bool) -> int:
    share = Fraction(str(price.batch)) if batch else 1
    return math.ceil(total * share * NANO_PER_MILLIONTH)


def dollars(nano: int) -> float:
    """Nano-dollars as dollars."""
    return nano / 1e9


def shown(nano: int) -> str:
    """Nano-dollars for a person to read."""
    return f"${dollars(nano):.6f}".rstrip("0").rstrip(".")
