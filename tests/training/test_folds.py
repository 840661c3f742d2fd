import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.rows import Row
from training.student.folds import FOLDS, SHARES, Opinion, folds, opinion, out_of_fold


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "g1", "g2", "g3"])), min_size=1, max_size=60))
def test_near_duplicates_are_never_parted_and_every_row_has_a_fold(kinds: list[tuple[str, str]]) -> None:
    rows = [Row(str(i), f"text {i}", label, group=group) for i, (label, group) in enumerate(kinds)]
    found = folds(rows)
    assert ((found >= 0) & (found < FOLDS)).all()
    for group in {row.group for row in rows} - {""}:
        assert len({found[i] for i, row in enumerate(rows) if row.group == group}) == 1


def test_every_intent_is_spread_over_all_folds() -> None:
    rows = [Row(str(i), f"text {i}", "ab"[i % 2]) for i in range(40)]
    found = folds(rows)
    for label in "ab":
        counts = np.bincount([found[i] for i, row in enumerate(rows) if row.label == label], minlength=FOLDS)
        assert counts.min() >= 4


def noisy(wrong: float, seed: int = 0) -> tuple[list[Row], torch.Tensor, torch.Tensor]:
    """Rows of two intents that lie apart, a share of them with the other's label."""
    rng = np.random.default_rng(seed)
    true = np.arange(120) % 2
    given = np.where(rng.random(120) < wrong, 1 - true, true)
    features = torch.tensor(np.eye(8)[true] + 0.05 * rng.normal(size=(120, 8)), dtype=torch.float32)
    rows = [Row(str(i), f"text {i}", "ab"[label]) for i, label in enumerate(given)]
    return rows, 16 * nn_normalize(features), torch.eye(2)[given]


def nn_normalize(features: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(features, dim=-1)


def test_rows_that_were_not_seen_tell_a_wrong_label_from_a_right_one() -> None:
    rows, features, target = noisy(0.15)
    names = 16 * torch.eye(8)[:2]
    unseen = out_of_fold(rows, features, target, torch.ones(len(rows)), names, 1e-2)
    true = np.arange(len(rows)) % 2
    assert unseen.shape == (2, len(rows), 2)
    assert np.allclose(unseen.sum(-1), 1, atol=1e-4)
    for said in unseen:
        assert (said.argmax(1) == true).mean() > 0.95
    found = opinion(unseen, target.numpy())
    assert 0.75 < found.agreement < 0.95


def test_a_weight_of_nothing_teaches_nothing() -> None:
    rows, features, target = noisy(0.0)
    target[:30] = 1 - target[:30]
    weight = torch.ones(len(rows))
    weight[:30] = 0
    unseen = out_of_fold(rows, features, target, weight, 16 * torch.eye(8)[:2], 1e-3)
    assert (unseen[0].argmax(1) == np.arange(len(rows)) % 2).mean() > 0.95


def test_labels_that_all_agree_need_no_centres() -> None:
    target = np.eye(3)[np.arange(30) % 3]
    assert opinion(np.stack([0.8 * target + 0.2 / 3] * 2), target) == Opinion(SHARES[0], 1.0)
