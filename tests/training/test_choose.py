from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.classifier import Classifier
from tests.tiny import tiny_rows
from training.lifecycle.choose import choose

TEXTS = [f"{row['text']} {word}" for row in tiny_rows()[::12] for word in ("ok", "soon", "now")]


@pytest.fixture(scope="module")
def champion(tiny_home: Path) -> Classifier:
    return Classifier.load(tiny_home)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(TEXTS), min_size=1).map(sorted), st.integers(0, 60))
def test_of_each_intent_the_least_sure_are_chosen_and_intents_take_turns(
    champion: Classifier, texts: list[str], budget: int
) -> None:
    chosen = choose(champion, texts, budget)
    assert len(chosen) == len(set(chosen)) == min(budget, len(texts))
    said = {text: champion.predict(text) for text in texts}
    taken: dict[str, int] = {}
    for intent in {prediction.intent for prediction in said.values()}:
        least_first = sorted((said[text].confidence, text) for text in texts if said[text].intent == intent)
        mine = [text for text in chosen if said[text].intent == intent]
        assert mine == [text for _, text in least_first[: len(mine)]]
        if len(mine) < len(least_first):
            taken[intent] = len(mine)
    longest = max((sum(said[text].intent == name for text in chosen) for name in taken), default=0)
    assert all(longest - count <= 1 for count in taken.values())


@given(st.permutations(TEXTS[:20]), st.integers(0, 20))
def test_without_a_champion_the_choice_depends_on_the_texts_alone(texts: list[str], budget: int) -> None:
    chosen = choose(None, texts, budget)
    assert chosen == choose(None, TEXTS[:20], budget) == choose(None, TEXTS[:20], 20)[:budget]
    assert len(set(chosen)) == budget
