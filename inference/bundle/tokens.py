"""The token ids of texts. Those of a word are remembered where they depend on nothing else, as in BERT's tokenizers."""

from __future__ import annotations

import re

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from inference.common.text import repair

MOST_WORDS = 16_384  # remembered at once, some 3 MB
LONGEST_WORD = 24
# What BERT's tokenizers make of printable ASCII: spaces part it, and each sign is a word of its own.
_WORDS = re.compile(r"[A-Za-z0-9]+|[^A-Za-z0-9 ]")


class Tokens:
    """A tokenizer of the `tokenizers` library, which reads at most `most` tokens of a text and does not pad.

    `content` is its tokenizer.json. Raises what the library does where that is invalid.
    """

    def __init__(self, content: bytes, most: int) -> None:
        self._tokenizer = Tokenizer.from_buffer(content)
        # The file's own padding and truncation are its author's: all-MiniLM-L6-v2 pads every text to 128 tokens.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(most)
        self._most = most
        self._by_words = _by_words(self._tokenizer)
        self._lower = self._by_words and self._tokenizer.normalizer.lowercase
        self._first = list(self._tokenizer.encode("").ids)
        # A word of the vocabulary is one token: a classifier that was just loaded need not learn it.
        self._whole = self._tokenizer.get_vocab(with_added_tokens=False) if self._by_words else {}
        self._known: dict[str, list[int]] = {}  # of the other words

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, the first ones where it has too many."""
        # A special token is written with a bracket, and is found before words are.
        if not self._by_words or not text.isascii() or not text.isprintable() or "[" in text:
            return self._of(text)
        ids, whole, known = self._first.copy(), self._whole, self._known
        for word in _WORDS.findall(text.lower() if self._lower else text):
            token = whole.get(word)
            if token is not None:
                ids.append(token)
            else:
                ids += known.get(word) or self._learned(word)
        return ids[: self._most]

    def _learned(self, word: str) -> list[int]:
        found = self._of(word)[len(self._first) :]
        if len(word) <= LONGEST_WORD:
            if len(self._known) >= MOST_WORDS:
                self._known.clear()  # simpler than to find out which are rare, and as fast
            self._known[word] = found
        return found

    def _of(self, text: str) -> list[int]:
        try:
            return list(self._tokenizer.encode(text).ids)
        except TypeError:  # a lone surrogate is no Unicode text
            return list(self._tokenizer.encode(repair(text)).ids)


def _by_words(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer makes of each word what it makes of it alone, after the beginning that every text has."""
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    beginning, word = tokenizer.encode("").ids, tokenizer.encode("a", add_special_tokens=False).ids
    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.model, WordPiece)
        and all(content.startswith("[") for content in added)
        and tokenizer.encode("a").ids == beginning + word
    )
