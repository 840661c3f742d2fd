import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from training.student.mixture import PARTS, Mixture, load, mixture


def rows_around(centres: torch.Tensor, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` embeddings near each centre, scaled to length 16 as the student's are, and their one-hot targets."""
    noise = torch.randn(count * len(centres), centres.shape[1], generator=torch.Generator().manual_seed(seed))
    rows = nn.functional.normalize(centres.repeat(count, 1) + 0.1 * noise, dim=-1) * 16
    return rows, torch.eye(len(centres)).repeat(count, 1)


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_answers_are_probabilities_at_every_share(seed: int, share: float, labels: int) -> None:
    torch.manual_seed(seed)
    features, target = rows_around(torch.randn(labels, 8), 12, seed)
    made = mixture(nn.Linear(8, labels), features, target, torch.randn(labels, 8), share)
    assert np.allclose(made(features).exp().sum(1).detach(), 1, atol=1e-4)


def test_without_a_share_it_answers_as_its_linear_head_does() -> None:
    torch.manual_seed(0)
    features, target = rows_around(torch.randn(3, 8), 12, 0)
    head = nn.Linear(8, 3)
    made = mixture(head, features, target, torch.randn(3, 8), 0.0)
    assert torch.allclose(made(features).exp(), head(features).softmax(-1), atol=1e-5)


def test_the_centres_alone_find_the_intents_whatever_the_head_says() -> None:
    torch.manual_seed(1)
    features, target = rows_around(torch.randn(4, 8), 20, 1)
    made = mixture(nn.Linear(8, 4), features, target, torch.randn(4, 8), 1.0)
    assert (made(features).argmax(1) == target.argmax(1)).float().mean() > 0.95


def test_an_intent_with_few_rows_has_its_mean_for_every_part_and_no_text_alone_is_a_centre() -> None:
    torch.manual_seed(2)
    features, target = rows_around(torch.randn(2, 8), 2 * PARTS, 2)
    made = mixture(nn.Linear(8, 2), features, target, torch.randn(2, 8), 0.5)
    means, parts = made.linear.weight[2:4], made.linear.weight[4:].unflatten(0, (2, PARTS))
    for i in range(2):
        assert torch.allclose(nn.functional.normalize(parts[i], dim=-1), nn.functional.normalize(means[i], dim=0))


def test_one_row_far_from_the_others_of_its_intent_does_not_become_a_centre() -> None:
    torch.manual_seed(3)
    features, target = rows_around(torch.eye(8)[:2], 20, 3)
    features[0] = 16 * torch.eye(8)[7]
    made = mixture(nn.Linear(8, 2), features, target, torch.zeros(2, 8), 0.5)
    parts = nn.functional.normalize(made.linear.weight[4:], dim=-1)
    alone = nn.functional.normalize(features[0] - features.mean(0), dim=0)
    assert (parts @ alone).max() < 0.9


def test_an_intent_with_one_row_has_its_name_for_a_centre_and_a_row_of_no_weight_counts_for_none() -> None:
    torch.manual_seed(4)
    features, target = rows_around(torch.eye(8)[:3], 10, 4)
    target[2::3] = 0
    target[2, 2] = 1
    names = torch.randn(3, 8)
    made = mixture(nn.Linear(8, 3), features, target, names, 0.5)
    centre = nn.functional.normalize(made.linear.weight[3 + 2], dim=0)
    assert torch.allclose(centre, nn.functional.normalize(names[2] - names.mean(0), dim=0), atol=1e-5)


def test_an_intent_that_is_one_text_many_times_has_no_clusters() -> None:
    features = 16 * torch.eye(8)[:2].repeat(20, 1)
    made = mixture(nn.Linear(8, 2), features, torch.eye(2).repeat(20, 1), torch.eye(8)[:2], 1.0)
    assert made(features).argmax(1).tolist() == [0, 1] * 20


def test_what_was_saved_answers_the_same() -> None:
    made = Mixture(8, 3, 0.4).eval()
    again = load({name: value.clone() for name, value in made.state_dict().items()}, ("a", "b", "c"))
    rows = torch.randn(5, 8)
    assert torch.equal(made(rows), again(rows))
