"""The token ids of texts: by the `tokenizers` library, and those of plain texts by BERT's rules with a dictionary."""

from __future__ import annotations

import re

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from inference.common.text import repair

MOST_LETTERS = 100  # of a word that BERT takes to pieces
LONGEST_WORD = 16  # that is taken to pieces here: what a word costs grows as its length's square
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
        if self._by_words:
            self._vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
            model = self._tokenizer.model
            self._unknown, self._within = [self._vocabulary[model.unk_token]], model.continuing_subword_prefix

    def ids(self, text: str) -> list[int]:
        """The token ids of a text, the first ones where it has too many."""
        # A special token is written with a bracket, and is found before words are.
        if not self._by_words or not text.isascii() or not text.isprintable() or "[" in text:
            return self._of(text)
        ids, vocabulary = self._first.copy(), self._vocabulary
        for word in _WORDS.findall(text.lower() if self._lower else text):
            token = vocabulary.get(word)
            if token is not None:
                ids.append(token)
            elif len(word) <= LONGEST_WORD:
                ids += self._pieces(word)
            else:
                return self._of(text)
        return ids[: self._most]

    def _pieces(self, word: str) -> list[int]:
        """A word's longest beginning that is in the vocabulary, then the rest's: WordPiece (Wu et al. 2016)."""
        found, rest, before = [], word, ""
        while rest:
            for size in range(len(rest), 0, -1):
                token = self._vocabulary.get(before + rest[:size])
                if token is not None:
                    break
            else:
                return self._unknown
            found.append(token)
            rest, before = rest[size:], self._within
        return found

    def _of(self, text: str) -> list[int]:
        try:
            return list(self._tokenizer.encode(text).ids)
        except TypeError:  # a lone surrogate is no Unicode text
            return list(self._tokenizer.encode(repair(text)).ids)


def _by_words(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer is of BERT's kind, and its template puts a fixed beginning before a text, and no end."""
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    beginning, word = tokenizer.encode("").ids, tokenizer.encode("a", add_special_tokens=False).ids
    return (
        isinstance(tokenizer.normalizer, BertNormalizer)
        and isinstance(tokenizer.pre_tokenizer, BertPreTokenizer)
        and isinstance(tokenizer.model, WordPiece)
        and tokenizer.model.max_input_chars_per_word >= MOST_LETTERS
        and tokenizer.token_to_id(tokenizer.model.unk_token) is not None
        and all(content.startswith("[") for content in added)
        and tokenizer.encode("a").ids == beginning + word
    )
