import argparse
import math
import sys
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.money import prices
from inference.money.prices import (
    PRICES,
    Price,
    Usage,
    add_price,
    add_prices_flag,
    cost,
    dollars,
    load_prices,
    price_of,
    worst_case,
)

HAIKU = "claude-haiku-5-5"
COUNTS = st.integers(0, 300_000)
USAGES = st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
MODELS = st.sampled_from(sorted(PRICES))


@pytest.fixture(autouse=True)
def _own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "PRICES", dict(PRICES))


@pytest.mark.parametrize(
    ("usage", "batch", "nano"),
    [
        (Usage(input_tokens=1), False, 100),
        (Usage(output_tokens=1), False, 500),
        (Usage(cache_write_tokens=1), False, 125),
        (Usage(cache_write_1h_tokens=1), False, 200),
        (Usage(cache_read_tokens=1), False, 10),
        (Usage(40, 15, cache_read_tokens=2500), False, 4_000 + 7_500 + 25_000),
        (Usage(40, 15, cache_read_tokens=2500), True, 18_250),
        (Usage(cache_write_tokens=1), True, 63),
        (Usage(100_000, 1), False, 10_000_500),
        (Usage(100_001, 1), False, 50_000_500 + 2_500),
        (Usage(1, 1, 50_000, 25_000, 25_000), False, 500 + 2_500 + 31_250_000 + 25_000_000 + 1_250_000),
        (Usage(), False, 0),
    ],
)
def test_haiku_costs_what_its_page_says_and_more_above_100k_tokens(usage: Usage, batch: bool, nano: int) -> None:
    assert cost(HAIKU, usage, batch=batch) == nano


@pytest.mark.parametrize(
    ("model", "monthly"),
    [("claude-3-5-sonnet-20241022", 225.0), ("claude-3-haiku-20240307", 18.75), ("claude-haiku-4-5", 75.0)],
)
def test_older_models_keep_their_prices(model: str, monthly: float) -> None:
    assert dollars(cost(model, Usage(200, 10)) * 300_000) == monthly


def test_every_price_has_a_source_and_a_date_and_retired_models_say_so() -> None:
    assert all(price.source and price.date for price in PRICES.values())
    retired = {model for model, price in PRICES.items() if price.note.startswith("retired")}
    assert retired == {model for model in PRICES if model.startswith("claude-3")}


# Nano-dollars per token as on Haiku's page, in the order of Usage's fields; a long prompt costs five times as much.
PER_TOKEN = (100, 500, 125, 200, 10)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, st.booleans())
def test_a_cost_is_exact_and_rounded_up_once(a: int, b: int, c: int, d: int, e: int, batch: bool) -> None:
    exact = sum(count * rate for count, rate in zip((a, b, c, d, e), PER_TOKEN, strict=True))
    exact *= 5 if a + c + d + e > 100_000 else 1
    assert cost(HAIKU, Usage(a, b, c, d, e), batch) == ((exact + 1) // 2 if batch else exact)


@given(MODELS, st.integers(0, 300_000), st.integers(0, 5000), st.data(), st.booleans())
def test_no_call_exceeds_its_worst_case(model: str, size: int, most: int, data: st.DataObject, batch: bool) -> None:
    left = size + prices.OVERHEAD_TOKENS
    parts = []
    for _ in range(4):
        parts.append(data.draw(st.integers(0, left)))
        left -= parts[-1]
    usage = Usage(parts[0], data.draw(st.integers(0, most)), *parts[1:])
    assert cost(model, usage, batch) <= worst_case(model, size, most, batch)


def test_the_worst_case_takes_the_dearest_rate_whichever_it_is() -> None:
    odd = Price(2, 3, "here", "now", cache_write=1, cache_write_1h=1, cache_read=5, long=Price(1, 1, "here", "now"))
    add_price("odd", odd)
    assert worst_case("odd", 1_000_000, 10) == 1_000_500 * 5_000 + 10 * 3_000


@given(USAGES, USAGES)
def test_usage_adds_up_and_survives_a_file(one: Usage, two: Usage) -> None:
    assert (one + two).prompt_tokens == one.prompt_tokens + two.prompt_tokens
    assert (one + two).output_tokens == one.output_tokens + two.output_tokens
    assert Usage.from_dict(one.to_dict()) == one
    assert 0 not in one.to_dict().values()


@pytest.mark.parametrize("values", [{"tokens": 1}, {"input_tokens": -1}, {"input_tokens": 1.0}, {"input_tokens": True}])
def test_what_is_no_usage_is_named(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="is not a count of tokens"):
        Usage.from_dict(values)


def test_a_server_that_counts_wrongly_never_lowers_a_cost() -> None:
    assert cost(HAIKU, Usage(-50, 10, cache_read_tokens=100)) == cost(HAIKU, Usage(0, 10, cache_read_tokens=100))


def test_an_unknown_model_says_how_to_add_it_and_then_is_known() -> None:
    for ask in (price_of, lambda model: cost(model, Usage(1)), lambda model: worst_case(model, 1, 1)):
        with pytest.raises(ValueError, match=r"'own'.*claude-haiku-5-5.*--prices FILE.*model = \"own\".*add_price"):
            ask("own")
    add_price("own", Price(1, 2, "the invoice", "2026-11"))
    assert cost("own", Usage(1, 1)) == 3000


def test_what_is_not_given_of_a_price_is_the_dearest_in_use() -> None:
    assert Price(0.3, 1, "here", "now").rates() == tuple(map(Fraction, ("0.3", "1", "0.375", "0.6", "0.3")))


@pytest.mark.parametrize(
    "values",
    [{"input": -1}, {"output": math.nan}, {"input": "1"}, {"cache_read": math.inf}, {"input": None}, {"batch": 2}],
)
def test_what_is_no_price_is_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        Price(**{"input": 1, "output": 1, "source": "", "date": "", **values})  # type: ignore[arg-type]


GOOD = """
[[prices]]
model = "gpt-7.1-nano"
input = 0.05
output = 0.4
source = "the price page"
date = "2027-01"
cache_read = 0.005
long = { input = 0.1, output = 0.8 }
"""


def test_prices_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(GOOD)
    assert load_prices(path) == {"gpt-7.1-nano": price_of("gpt-7.1-nano")}
    assert cost("gpt-7.1-nano", Usage(200, 10, cache_read_tokens=1000)) == 10_000 + 4_000 + 5_000
    assert cost("gpt-7.1-nano", Usage(200_000, 10)) == 20_000_000 + 8_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("input = 1", r"\[\[prices\]\]"),
        ("", r"\[\[prices\]\]"),
        ("[prices]\ninput = 1", r"\[\[prices\]\]"),
        ("[[prices", "TOML|declaration"),
        (GOOD + "[[prices]]\ninput = 1", "needs a model"),
        (GOOD + GOOD.replace("output = 0.4", ""), "gpt-7.1-nano.*output"),
        (GOOD + "colour = 3", "gpt-7.1-nano.*colour.*keys are input"),
        (GOOD.replace("0.05", '"0.05"'), "gpt-7.1-nano.*input must be a number"),
        (GOOD.replace('"2027-01"', "2027-01-01"), "gpt-7.1-nano.*date"),
        (GOOD.replace("{ input = 0.1, output = 0.8 }", "3"), "gpt-7.1-nano"),
    ],
)
def test_a_file_with_an_error_is_named_and_changes_nothing(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    before = dict(prices.PRICES)
    with pytest.raises(ValueError, match=f"prices.toml: .*(?:{complaint})"):
        load_prices(path)
    assert before == prices.PRICES


def test_a_command_reads_prices_before_it_does_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_prices_flag(parser)
    path = tmp_path / "prices.toml"
    path.write_text(GOOD)
    parser.parse_args(["--prices", str(path)])
    assert price_of("gpt-7.1-nano").output == 0.4
    path.write_text("[[prices]]")
    for wrong, complaint in ((path, "a price needs a model"), (tmp_path / "absent.toml", "No such file")):
        with pytest.raises(SystemExit, match="2"):
            parser.parse_args(["--prices", str(wrong)])
        said = capsys.readouterr().err
        assert complaint in said
        assert str(wrong) in said


def test_a_price_that_is_missing_here_is_taken_from_genai_prices() -> None:
    price = price_of("gpt-4.1-nano-2025-04-14")
    assert (price.input, price.output) == (0.1, 0.4)
    assert price.source.startswith("genai-prices")
    sonnet = price_of("claude-sonnet-4-5")
    assert sonnet.long is not None
    assert sonnet.long.input > sonnet.input  # it has no third price: what lies between is charged at the dearer one


@pytest.mark.parametrize("model", ["gpt-4.1-nano-of-mine", "claude-haiku-9"])
def test_a_name_that_genai_prices_only_guesses_has_no_price(model: str) -> None:
    with pytest.raises(ValueError, match="no price for the model"):
        price_of(model)


def test_the_price_of_a_model_that_is_cheaper_at_night_is_that_of_the_day() -> None:
    assert price_of("deepseek-chat").input >= 0.27


def test_without_genai_prices_the_table_alone_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert price_of(HAIKU).input == 0.1
    with pytest.raises(ValueError, match=r"pip install .monoku\[prices\]"):
        price_of("gpt-4.1-mini")
