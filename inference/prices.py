"""What a call costs: dollars from measured token usage, by a table of published prices with their date and source.

Money is in whole nano-dollars (1e-9 dollars), so that sums are exact.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

LONG_PROMPT_TOKENS = 100_000
OVERHEAD_TOKENS = 500  # what a provider adds to a prompt of its own: the schema, the frame of the conversation
BATCH_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer, or of several added up. The input is the sum of its four parts."""

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
    def from_dict(cls, values: dict[str, int]) -> Usage:
        """What `to_dict` gave."""
        return cls(**values)


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens, by kind, and where and when they were published.

    Cache prices default to what Anthropic charges in relation to input: 1.25, 2 and 0.1 times. `long` holds the prices
    of a prompt of more than 100,000 tokens, where they differ.
    """

    input: float
    output: float
    source: str
    date: str
    cache_write: float | None = None
    cache_write_1h: float | None = None
    cache_read: float | None = None
    long: Price | None = None

    def rates(self) -> tuple[float, float, float, float, float]:
        """Per million tokens, in the order of Usage's fields."""
        write = 1.25 * self.input if self.cache_write is None else self.cache_write
        hour = 2 * self.input if self.cache_write_1h is None else self.cache_write_1h
        read = 0.1 * self.input if self.cache_read is None else self.cache_read
        return self.input, self.output, write, hour, read


_HAIKU_PAGE = "platform.claude.com/docs/en/models/haiku-5-5/overview"
_PRICING = "platform.claude.com/docs/en/about-claude/pricing"
_THIRD = "third parties' tables, not checked at the source"
_HAIKU_45 = Price(1.0, 5.0, _PRICING, "2026-08")
_HAIKU_3 = Price(0.25, 1.25, _PRICING, "2026-02; retired 2026-04-20", 0.30, 0.50, 0.03)

PRICES: dict[str, Price] = {
    "claude-haiku-5-5": Price(
        0.10, 0.50, _HAIKU_PAGE, "2026-10", 0.125, 0.20, 0.01, Price(0.50, 2.50, _HAIKU_PAGE, "2026-10")
    ),
    "claude-haiku-4-5": _HAIKU_45,
    "claude-haiku-4-5-20251001": _HAIKU_45,
    "claude-3-haiku-20240307": _HAIKU_3,
    "claude-3-5-sonnet-20241022": Price(3.0, 15.0, _PRICING, "2024-10; retired"),
    "gpt-6-luna": Price(0.10, 0.50, _THIRD, "2026-11", cache_read=0.01),
    "gpt-5.4-nano": Price(0.20, 1.25, _THIRD, "2026-11", cache_read=0.20),
    "gemini-3.5-flash-lite": Price(0.30, 2.50, "ai.google.dev/gemini-api/docs/pricing", "2026-10", cache_read=0.30),
}


def add_price(model: str, price: Price) -> None:
    """Make a model known, or replace its price."""
    PRICES[model] = price


def price_of(model: str) -> Price:
    """The price of a model. Raises ValueError for one that is not in the table."""
    if model not in PRICES:
        raise ValueError(
            f"no price for the model {model!r}; known are {', '.join(sorted(PRICES))}. Add one with "
            f"inference.prices.add_price({model!r}, Price(input=..., output=..., source=..., date=...)), in dollars per "
            "million tokens"
        )
    return PRICES[model]


def cost(model: str, usage: Usage, batch: bool = False) -> int:
    """Nano-dollars that `usage` was charged, rounded up."""
    price = price_of(model)
    if usage.prompt_tokens > LONG_PROMPT_TOKENS and price.long:
        price = price.long
    tokens = tuple(asdict(usage).values())
    # A dollar per million tokens is 1,000 nano-dollars per token; in whole millionths of those, the sum is exact.
    millionths = sum(count * round(rate * 1e9) for count, rate in zip(tokens, price.rates(), strict=True))
    if batch:
        millionths = round(millionths * BATCH_SHARE)
    return -(-millionths // 1_000_000)


def worst_case(model: str, prompt_bytes: int, max_tokens: int, batch: bool = False) -> int:
    """Nano-dollars that a call cannot exceed: a token per byte, all of it written to the dearest cache."""
    usage = Usage(output_tokens=max_tokens)
    return cost(model, replace(usage, cache_write_1h_tokens=prompt_bytes + OVERHEAD_TOKENS), batch)
