"""Noise as thumbs make it: what a message looks like when it was typed in a hurry. Every change keeps the intent."""

from __future__ import annotations

import random
import re

KEYBOARD = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: "".join(row[max(0, i - 1) : i] + row[i + 1 : i + 2]) for row in KEYBOARD for i, letter in enumerate(row)
}
LETTERS_PER_SLIP = 25
SHORTEST_WORD = 4  # a slip in a shorter word often makes another word
SHORTHAND = {
    "please": "pls", "you": "u", "your": "ur", "are": "r", "thanks": "thx", "account": "acc", "password": "pw",
    "because": "cuz", "before": "b4", "people": "ppl", "message": "msg", "tomorrow": "tmrw", "with": "w", "and": "n",
}  # fmt: skip


def slip(word: str, rng: random.Random) -> str:
    """`word` with one slip of a thumb: two letters swapped, one left out, doubled, or hit on the key beside it."""
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice(NEIGHBOURS.get(word[i], word[i])) + word[i + 1 :]


def with_typos(text: str, rng: random.Random) -> str:
    """About one slip per 25 letters, one at the least, in words of four letters or more."""
    words = re.split(r"(\s+)", text)
    places = [i for i, word in enumerate(words) if word.isalpha() and len(word) >= SHORTEST_WORD]
    for i in rng.sample(places, min(len(places), max(1, len(text) // LETTERS_PER_SLIP))):
        words[i] = slip(words[i], rng)
    return "".join(words)


def without_punctuation(text: str, rng: random.Random) -> str:
    """Letters, digits and spaces alone, as many people type on a phone."""
    return re.sub(r"[^\w\s]", "", text)


def in_shorthand(text: str, rng: random.Random) -> str:
    """Common words as phones shorten them."""
    return re.sub(r"[A-Za-z]+", lambda found: SHORTHAND.get(found[0].lower(), found[0]), text)


def add_noise(text: str, rng: random.Random) -> str:
    """Some of the kinds of noise at once, as they meet in life; never an empty text."""
    noisy = text
    if rng.random() < 0.1:
        noisy = noisy.upper()
    elif rng.random() < 0.5:
        noisy = noisy.lower()
    for share, change in ((0.4, without_punctuation), (0.3, in_shorthand), (0.7, with_typos)):
        if rng.random() < share:
            noisy = change(noisy, rng)
    return noisy.strip() or text


def in_a_hurry(text: str, rng: random.Random) -> str:
    """Lower case, no punctuation, and slips: the worst that is still common."""
    return with_typos(without_punctuation(text.lower(), rng), rng).strip() or text
