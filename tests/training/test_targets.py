import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from training.data.rows import Row
from training.student.targets import Target, dense

LABELS = ["a", "b", "c", "d"]
INDEX = {label: i for i, label in enumerate(LABELS)}


def test_targets_are_one_hot_or_shares() -> None:
    rows = [Row("1", "x", "b"), Row("2", "y", "a", shares={"a": 0.5, "b": 0.5})]
    targets = [Target.of(row, {"a": 0, "b": 1}) for row in rows]
    assert dense(targets).tolist() == [[0, 1], [0.5, 0.5]]
    assert [target.best for target in targets] == [1, 0]


@given(
    st.dictionaries(st.sampled_from(LABELS), st.integers(1, 9), min_size=1),
    st.floats(0, 0.99),
)
def test_a_target_is_a_distribution_with_the_votes_in_their_order(votes: dict[str, int], smoothing: float) -> None:
    total = sum(votes.values())
    shares = {label: count / total for label, count in votes.items()}
    target = Target.of(Row("1", "x", next(iter(votes)), shares=shares), INDEX, smoothing)
    found = dense([target])[0]
    wanted = np.array([shares.get(label, 0.0) for label in LABELS]) * (1 - smoothing) + smoothing / len(LABELS)
    assert np.allclose(found, wanted, atol=1e-6)
    assert wanted[target.best] == wanted.max()
