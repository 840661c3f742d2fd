import shutil
from collections import Counter
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import Bundle
from inference.bundle.engine import BATCHES, TOKENS_AT_ONCE, Engine, of_equal_length
from inference.bundle.manifest import MODEL, read_manifest, resolve, seal

texts = st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=16), max_size=30)


@given(texts=texts, most=st.integers(1, 100))
def test_every_text_is_in_one_batch_of_one_length_and_few_tokens(texts: list[list[int]], most: int) -> None:
    batches = list(of_equal_length(texts, most))
    assert Counter(place for batch in batches for place in batch) == Counter(range(len(texts)))
    for batch in batches:
        lengths = {len(texts[place]) for place in batch}
        assert len(lengths) == 1
        assert len(batch) == 1 or len(batch) * lengths.pop() <= most


@pytest.fixture(scope="module")
def marked(tiny_home: Path) -> Engine:
    return Engine(Bundle.load(tiny_home), 1)


def unmarked(home: Path, copy: Path) -> Bundle:
    """A copy of a bundle whose model says nothing of batches, as older ones do."""
    shutil.copytree(home, copy)
    folder = resolve(copy)
    model = onnx.load(folder / MODEL)
    assert [item.key for item in model.metadata_props].count(BATCHES) == 1
    del model.metadata_props[:]
    onnx.save(model, folder / MODEL)
    seal(folder, read_manifest(folder))
    return Bundle.load(copy)


@settings(max_examples=60, deadline=None)
@given(texts=texts)
def test_texts_together_have_the_logits_of_each_alone(marked: Engine, texts: list[list[int]]) -> None:
    together = marked.logits_of_many(texts)
    assert together.shape == (len(texts), marked.session.get_outputs()[0].shape[-1])
    assert together.tolist() == [marked.logits(ids).tolist() for ids in texts]


@pytest.mark.parametrize(("mark", "threads", "runs"), [(True, 1, 4), (True, 2, 40), (False, 1, 40)])
def test_a_batch_is_asked_about_at_once_only_where_it_changes_nothing(
    tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: bool, threads: int, runs: int
) -> None:
    bundle = Bundle.load(tiny_home) if mark else unmarked(tiny_home, tmp_path / "unmarked")
    engine = Engine(bundle, threads)
    session, asked = engine.session, []

    class Counted:
        def run(self, outputs, given):
            asked.append(given["input_ids"].shape)
            return session.run(outputs, given)

        def get_outputs(self):
            return session.get_outputs()

    monkeypatch.setattr(engine, "session", Counted())
    ids = [[5, 6, 7][:length] + [8] * 3 for length in (0, 1, 2, 3) for _ in range(10)]
    together = engine.logits_of_many(ids)
    assert len(asked) == runs
    assert together.tolist() == [engine.logits(one).tolist() for one in ids]


def test_a_batch_holds_no_more_tokens_than_it_may(marked: Engine) -> None:
    length = 10
    batches = list(of_equal_length([[1] * length] * 200, TOKENS_AT_ONCE))
    assert max(len(batch) for batch in batches) == TOKENS_AT_ONCE // length
