import copy
import os
import pickle
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import Bundle, Classifier, Prediction
from inference.bundle.manifest import resolve, seal
from inference.bundle.taxonomy import Rule
from inference.common.text import repair
from tests.ruled import add_rules


@pytest.fixture(scope="module")
def classifier(tiny_home: Path) -> Classifier:
    return Classifier.load(tiny_home)


@pytest.fixture(scope="module")
def ruled(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    """A classifier at 95 % one of whose two rules has earned that."""
    rules = Rule("0.96", "account", ("stop", "jane")), Rule("0.90", "unknown", ("invoice",))
    return Classifier.load(add_rules(tiny_home, tmp_path_factory.mktemp("ruled") / "tiny", *rules))


ANY_TEXT = st.text(max_size=80) | st.text(st.characters(), max_size=40)
WORDS = st.lists(st.sampled_from(["stop", "the", "invoice", "Stop!", "nonstop", "zebra", "\n"]), max_size=8).map(
    " ".join
)
STOPPED = Prediction("account", 0.96, True, (), "rules")


def check(prediction: Prediction, classifier: Classifier) -> None:
    assert prediction.intent in classifier.labels
    assert 0 <= prediction.confidence <= 1
    assert isinstance(prediction.accepted, bool)
    shares = [prediction.confidence, *(share for _, share in prediction.alternatives)]
    assert shares == sorted(shares, reverse=True)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(ANY_TEXT, max_size=12))
def test_predict_many_equals_predict_exactly(classifier: Classifier, texts: list[str]) -> None:
    assert classifier.predict_many(texts) == [classifier.predict(text) for text in texts]
    assert classifier.predict_many(texts[::-1]) == [classifier.predict(text) for text in texts[::-1]]
    together = classifier.probabilities_of_many(iter(texts))
    assert together.shape == (len(texts), len(classifier.labels))
    assert together.tolist() == [classifier.probabilities(text).tolist() for text in texts]


@settings(max_examples=100, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_gets_an_answer(classifier: Classifier, text: str) -> None:
    check(classifier.predict(text), classifier)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\x00\x01\x1b[31m",
        "\ud83d",
        "a\udfffb",
        "😀🏳️‍🌈👨‍👩‍👧",
        "\u202eأريد استرداد أموالي\u202c",
        "退款" * 50,
        "x" * 1_000_000,
        "refund my invoice " * 60_000,
        " " * 1_000_000 + "refund the invoice",
        "\n" * 5000,
        "[CLS] [SEP] [MASK] [PAD]",
    ],
)
def test_odd_texts_get_an_answer(classifier: Classifier, text: str) -> None:
    check(classifier.predict(text), classifier)


def test_white_space_before_a_long_text_does_not_hide_it(classifier: Classifier) -> None:
    plain = classifier.predict("refund the invoice")
    assert classifier.predict(" " * 1_000_000 + "refund the invoice") == plain


@pytest.mark.parametrize("text", [None, b"refund", 3, ["refund"]])
def test_what_is_no_text_is_refused(classifier: Classifier, text: object) -> None:
    with pytest.raises(TypeError, match=f"got {type(text).__name__}"):
        classifier.predict(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("one", ["predict", "probabilities"])
def test_one_string_is_not_many_texts(classifier: Classifier, one: str) -> None:
    many = {"predict": classifier.predict_many, "probabilities": classifier.probabilities_of_many}[one]
    with pytest.raises(TypeError, match=f"takes several texts; for one text call {one}"):
        many("refund")


@given(st.text(st.characters(), max_size=20))
def test_repair_leaves_good_text_alone_and_mends_the_rest(text: str) -> None:
    mended = repair(text)
    mended.encode("utf-8")
    if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        assert mended == text


def test_probabilities_add_up_and_follow_the_temperature(classifier: Classifier) -> None:
    scores = classifier.probabilities("check the invoice")
    assert scores.dtype == np.float64
    assert scores.shape == (len(classifier.labels),)
    assert scores.sum() == pytest.approx(1)


def test_a_short_text_runs_as_few_tokens(classifier: Classifier) -> None:
    assert len(classifier._engine.ids("refund")) < 5  # type: ignore[union-attr]


def test_acceptance_is_strictly_above_the_certified_threshold(tiny_home: Path) -> None:
    for certificate in Bundle.load(tiny_home).manifest.certificates:
        classifier = Classifier.load(tiny_home, target=certificate.target)
        for text in ("refund the invoice", "blah", "reset my password", "the zebra"):
            prediction = classifier.predict(text)
            above = certificate.accept_above
            assert prediction.accepted == (above is not None and prediction.confidence > above)


def test_a_certified_rule_answers_before_the_student(ruled: Classifier) -> None:
    assert ruled.predict("stop the invoice") == STOPPED
    answer = ruled.predict("send the invoice")  # that rule has not earned this target
    assert (answer.source, answer.intent) == ("student", "payments")
    loose = ruled.at(0.90)
    assert loose.predict("send the invoice") == Prediction("unknown", 0.90, True, (), "rules")
    assert loose.predict("stop the invoice") == STOPPED


def test_where_nothing_is_certified_no_rule_answers(ruled: Classifier, classifier: Classifier) -> None:
    strict = ruled.at(0.97)
    assert strict.predict("stop the invoice") == replace(classifier.predict("stop the invoice"), accepted=False)


@settings(max_examples=60, deadline=None)
@given(text=ANY_TEXT | WORDS)
def test_decide_equals_predict_and_without_a_rule_so_does_the_student(
    ruled: Classifier, classifier: Classifier, text: str
) -> None:
    answer, scores = ruled.predict(text), ruled.probabilities(text)
    assert scores.tolist() == classifier.probabilities(text).tolist()
    assert answer == ruled.decide(text, scores)
    assert ruled.best_guess(text) == (ruled.labels[int(scores.argmax())], scores.max())
    if answer.source == "student":
        assert (answer.intent, answer.confidence) == ruled.best_guess(text)
        assert answer.accepted == (answer.confidence > 0.9)
    else:
        assert answer == STOPPED


def test_a_rule_reads_the_redacted_text(ruled: Classifier) -> None:
    assert ruled.predict("jane wants the zebra") == STOPPED
    assert ruled.predict("write to jane@example.org").source == "student"


def test_a_rule_reads_more_of_a_long_text_than_the_student_but_not_all(ruled: Classifier) -> None:
    assert ruled.predict("zebra " * 4000 + "stop") == STOPPED
    assert ruled.predict(" " * 20_000 + "stop") == STOPPED
    assert ruled.predict("zebra " * 400_000 + "stop").source == "student"


@pytest.mark.parametrize("text", [None, b"stop", 3, ["stop"]])
def test_a_rule_changes_nothing_about_what_is_refused(ruled: Classifier, text: object) -> None:
    with pytest.raises(TypeError, match=f"a query must be a str, got {type(text).__name__}"):
        ruled.predict(text)  # type: ignore[arg-type]


def test_another_target_shares_the_loaded_model(ruled: Classifier) -> None:
    for target in (0.90, 0.95, 0.97):
        fresh, shared = Classifier.load(ruled.bundle.root, target), ruled.at(target)
        assert shared.certificate == fresh.certificate
        assert shared._engine is ruled._engine
        for text in ("stop the invoice", "send the invoice", "zebra"):
            assert shared.predict(text) == fresh.predict(text)
    with pytest.raises(ValueError, match=r"no certificate for target 0\.5"):
        ruled.at(0.5)


def test_arguments_that_are_off_raise_at_once(tiny_home: Path) -> None:
    with pytest.raises(ValueError, match=r"no certificate for target 0\.5"):
        Classifier.load(tiny_home, target=0.5)
    for threads in (0, 1.5, True):
        with pytest.raises(ValueError, match="threads"):
            Classifier.load(tiny_home, threads=threads)  # type: ignore[arg-type]


def test_threads_share_a_classifier(classifier: Classifier) -> None:
    texts = [f"check the invoice number {i}" for i in range(50)]
    expected = classifier.predict_many(texts)
    results: list[list[Prediction]] = []
    threads = [threading.Thread(target=lambda: results.append(classifier.predict_many(texts))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 8


def test_two_threads_per_text_answer_the_same(tiny_home: Path, classifier: Classifier) -> None:
    wide = Classifier.load(tiny_home, threads=2)
    for text in ("check the invoice", "the zebra right now", ""):
        assert wide.predict(text) == classifier.predict(text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_forked_child_answers_while_the_parent_is_busy(tiny_home: Path, threads: int) -> None:
    classifier = Classifier.load(tiny_home, threads=threads)
    expected = classifier.predict("check the invoice")
    stop = threading.Event()

    def keep_busy() -> None:
        while not stop.is_set():
            classifier.predict("the parent goes on with its work")

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os._exit(0 if classifier.predict("check the invoice") == expected else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        busy.join()


FORKS = """
import copy, ctypes, multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor
from inference import Classifier

TEXT = "check the invoice"
WAYS = ("os.fork", "C fork", "preexec_fn", "pool fork", "pool spawn", "pool forkserver")

def check(classifier, expected):
    assert classifier.predict(TEXT) == expected

def run(way, uses, finish, classifier, expected):
    # What a child does: it uses the classifier, or it does not and ends all the same.
    work = lambda: check(classifier, expected) if uses else None
    if way == "preexec_fn":
        return subprocess.run(["true"], preexec_fn=work, timeout=50).returncode
    if way.startswith("pool"):
        context = multiprocessing.get_context(way.removeprefix("pool "))
        with ProcessPoolExecutor(1, context) as pool:
            return pool.submit(check, classifier, expected).result() if uses else pool.submit(abs, 0).result()
    # A C library's fork runs none of Python's hooks.
    process = os.fork() if way == "os.fork" else ctypes.PyDLL(None).fork()
    if process == 0:
        work()
        finish(0)
    return os.waitpid(process, 0)[1]

if __name__ == "__main__":
    classifier = Classifier.load(sys.argv[1], threads=int(sys.argv[2]))
    expected = classifier.predict(TEXT)
    for way in WAYS:
        for uses, finish in ((False, os._exit), (False, sys.exit), (True, sys.exit)):
            if status := run(way, uses, finish, classifier, expected):
                sys.exit(f"{way}: the child ended with {status}")
    check(classifier, expected)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_kind_of_child_answers_equally_and_ends_by_itself(tiny_home: Path, tmp_path: Path, threads: int) -> None:
    program = tmp_path / "forks.py"
    program.write_text(FORKS)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONWARNINGS": "ignore"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # importing the classifier here has set it for all programs
    command = [sys.executable, str(program), str(tiny_home), str(threads)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_pickled_it_answers_equally_with_its_folder_and_without(tiny_home: Path, tmp_path: Path) -> None:
    home = shutil.copytree(tiny_home, tmp_path / "moved")
    pickled = pickle.dumps(Classifier.load(home, target=0.9, threads=2, redactor=str.upper))
    expected = Classifier.load(home, target=0.9, threads=2, redactor=str.upper).predict("check the invoice")
    for _ in range(2):
        found = pickle.loads(pickled)
        assert (found.threads, found.certificate.target, found.redact) == (2, 0.9, str.upper)
        assert found.predict("check the invoice") == expected
        shutil.rmtree(home, ignore_errors=True)


def test_pickled_it_stays_the_same_though_its_folder_serves_another_bundle(tiny_home: Path, tmp_path: Path) -> None:
    home = shutil.copytree(resolve(tiny_home), tmp_path / "moved")
    classifier = Classifier.load(home)
    pickled = pickle.dumps(classifier)
    (home / "manifest.json").unlink()
    seal(home, replace(classifier.bundle.manifest, temperature=7.0, files={}))
    assert pickle.loads(pickled).predict("check the invoice") == classifier.predict("check the invoice")


def test_a_deep_copy_answers_equally(classifier: Classifier) -> None:
    assert copy.deepcopy(classifier).predict("check the invoice") == classifier.predict("check the invoice")


def test_a_redactor_that_cannot_be_pickled_is_named(tiny_home: Path) -> None:
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(Classifier.load(tiny_home, redactor=lambda text: text))


def test_inference_imports_nothing_heavy(tiny_home: Path) -> None:
    program = f"""
import sys
from inference import Classifier
Classifier.load({str(tiny_home)!r}).predict("hello")
heavy = {{"torch", "transformers", "datasets", "sklearn", "optimum", "training", "evaluate", "onnx", "matplotlib"}}
print(sorted(heavy & {{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.soak
def test_memory_does_not_grow_with_the_number_of_answers(classifier: Classifier) -> None:
    texts = [f"refund {i} " * (1 + i % 40) for i in range(1000)]
    resident = []
    for _ in range(6):
        for _ in range(20):
            classifier.predict_many(texts)
        resident.append(resident_bytes())
    assert resident[-1] - resident[1] < 5e6, resident


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_without_a_target_the_bundles_own_is_used(tiny_home: Path, tmp_path: Path) -> None:
    home = add_rules(tiny_home, tmp_path / "tiny")
    root = resolve(home)
    seal(root, replace(Bundle.load(root).manifest, target=0.9))
    own = Classifier.load(home).certificate
    assert own is not None
    assert own.target == 0.9
    assert copy.copy(Classifier.load(home)).certificate == own


def test_an_intent_that_is_never_accepted_stays_the_answer_and_is_not_accepted(ruled: Classifier) -> None:
    never = ruled.at(0.95, replace(ruled.bundle.manifest, never_accepted=("account", "payments")))
    for text in ("stop", "check the invoice please", "an invoice", "a password"):
        before, after = ruled.predict(text), never.predict(text)
        assert replace(before, accepted=False) == after
        assert never.decide(text, never.probabilities(text)) == after
    assert ruled.predict("stop").accepted
    other = next(text for text in ("feed the zebra", "a sonnet please", "volcano") if ruled.predict(text).accepted)
    assert never.predict(other).accepted == (never.predict(other).intent == "unknown")
