from benchmarks.price import CALLS_A_DAY, cell


def test_auto_keeps_within_its_budget_and_falls_once_little_is_left_to_learn() -> None:
    found = cell("auto", 1_000, 0, 2)
    assert 0.8 * CALLS_A_DAY < found["first"] < 1.1 * CALLS_A_DAY
    assert found["later"] < 0.7 * CALLS_A_DAY
    assert 0 < found["median"] < 30


def test_a_fixed_rate_changes_never() -> None:
    found = cell("1 %", 1_000, 0, 1)
    assert found["changes"] == 0
    assert 6 < found["later"] < 14
