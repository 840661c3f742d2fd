import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inference.bundle.scores import largest, softmax

logits = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.floats(-50, 50))


@given(logits=logits)
def test_each_row_of_several_is_exactly_what_it_is_alone(logits: np.ndarray) -> None:
    assert softmax(logits).tolist() == [softmax(row).tolist() for row in logits]


@given(logits=logits)
def test_probabilities_add_up_to_one_and_keep_the_order(logits: np.ndarray) -> None:
    found = softmax(logits)
    assert np.allclose(found.sum(-1), 1)
    assert (found[np.arange(len(found)), logits.argmax(-1)] == found.max(-1)).all()


@given(
    scores=arrays(np.float64, st.integers(1, 30), elements=st.sampled_from([0.0, 0.1, 0.2, 0.5])), n=st.integers(0, 9)
)
def test_the_largest_are_those_of_a_stable_sort(scores: np.ndarray, n: int) -> None:
    assert largest(scores, n) == np.argsort(-scores, kind="stable")[:n].tolist()
