import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.processors import TemplateProcessing

from inference import Bundle
from inference.bundle.tokens import Tokens
from inference.common.text import repair
from tests.encoders import ENCODERS

MOST = 12
KINDS = ["as it is", "with capitals", "with a separator", "with a word added", "with a limit"]
ASCII = st.text(st.characters(max_codepoint=0x7F), max_size=60)
WORDS = st.lists(
    st.sampled_from(["stop", "Stop!", "the", "in-voice's", "nonstop", "[CLS]", "[email]", "a_b", "\t", "é", "x" * 120]),
    max_size=20,
).map(" ".join)
ANY_TEXT = ASCII | WORDS | st.text(max_size=40) | st.text(st.characters(), max_size=40)


def plain(content: bytes, most: int) -> Tokenizer:
    """The library alone."""
    tokenizer = Tokenizer.from_buffer(content)
    tokenizer.no_padding()
    tokenizer.enable_truncation(most)
    return tokenizer


@pytest.fixture(scope="module")
def content(tiny_home: Path) -> bytes:
    return Bundle.load(tiny_home).tokenizer


@pytest.fixture(scope="module", params=KINDS)
def files(request: pytest.FixtureRequest, content: bytes) -> bytes:
    """The tokenizer, and some of which what a word becomes is or is not the same everywhere."""
    tokenizer = Tokenizer.from_str(content.decode())
    if request.param == "with capitals":
        tokenizer.normalizer = BertNormalizer(lowercase=False)
    if request.param == "with a separator":
        specials = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=specials)
    if request.param == "with a word added":
        tokenizer.add_tokens(["op th"])
    file = json.loads(tokenizer.to_str())
    if request.param == "with a limit":
        file["model"]["max_input_chars_per_word"] = 3
    return json.dumps(file).encode()


@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT, most=st.integers(3, 40))
def test_the_ids_are_the_librarys_for_any_text(files: bytes, text: str, most: int) -> None:
    made, library = Tokens(files, most), plain(files, most)
    assert made.ids(text) == library.encode(repair(text)).ids


@settings(max_examples=300, deadline=None)
@given(word=st.text("abcdeginoprstuvxz0123456789-'#_", min_size=1, max_size=40), most=st.integers(3, 40))
def test_the_pieces_of_a_word_are_the_librarys(content: bytes, word: str, most: int) -> None:
    assert Tokens(content, most).ids(word) == plain(content, most).encode(word).ids


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # of torch's own modules for two of them
@pytest.mark.parametrize("architecture", ENCODERS)
def test_the_ids_are_the_librarys_for_any_encoder(architecture: str, tmp_path: Path) -> None:
    file = (ENCODERS[architecture](tmp_path) / "tokenizer.json").read_bytes()
    made, library, rng = Tokens(file, MOST), plain(file, MOST), random.Random(0)
    signs = "abc XYZ019 .,'-_[]\t\u00e9\u6771"
    for _ in range(200):
        text = "".join(rng.choices(signs, k=rng.randrange(30)))
        assert made.ids(text) == library.encode(text).ids


def test_what_a_caller_does_to_ids_changes_no_later_ones(content: bytes) -> None:
    made = Tokens(content, MOST)
    for text in ("stop", "", "stop the invoice"):
        first = made.ids(text)
        first.append(-1)
        first[0] = -2
        assert made.ids(text) == plain(content, MOST).encode(text).ids


@pytest.mark.parametrize("broken", [b"", b"{}", b"\xff\xfe", b'{"version": "1.0"}'])
def test_an_invalid_file_raises(broken: bytes) -> None:
    with pytest.raises(Exception, match=r"\S"):
        Tokens(broken, MOST)
