"""Captions as tokens: whole words where training has seen them, pieces of words where they are new.

A word of the training captions is a token. Other words are cut, from the left, into the longest pieces known (Wu et al.
2016, arXiv 1609.08144, section 4.1); pieces are runs of letters that several words share, and single letters. A piece
that goes on within a word is marked by '+'. A word that occurs once can be spelt by its pieces as well, which is how a
network learns the pieces (compare Kudo 2018, 'Subword regularization', arXiv 1804.10959); where most words do, as in
scripts without spaces or identifiers, none of them is a token, for it would be no more than an item's number.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

PADDING, UNKNOWN = 0, 1
"""Behind a caption's end; a sign that no training caption has. Known tokens have the numbers from 2 on."""
MOST_WORDS, MOST_PIECES = 4096, 1024
LONGEST = 5
"""Pieces have two to so many letters."""
RARE = 0.25
"""Words that occur once are tokens where they are at most this share of all words,"""
NAME = re.compile(r"[^\W\d_]{1,20}")
"""and look like this."""
SHARED = 3
"""So many different words have a piece."""


def words(text: str) -> list[str]:
    """The words and signs of `text`, in lower case; an article at its beginning says nothing, and is left out."""
    found = re.findall(r"\w+|[^\w\s]", unicodedata.normalize("NFKC", text).lower())
    return found[1:] if len(found) > 1 and found[0] in ("a", "an", "the") else found


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by number, from 2 on: `tokens` holds words, beginnings of words, and, marked by '+', what goes on. The
    last `rare` of them are words that occurred once, which are known whole or not at all.
    """

    tokens: tuple[str, ...]
    rare: int = 0

    @classmethod
    def learn(cls, captions: Iterable[str]) -> Vocabulary:
        """The vocabulary of `captions`: only what these need, so that every token is trained."""
        counts = Counter(word for caption in captions for word in words(caption))
        whole = sorted(counts, key=lambda w: (-counts[w], w))[:MOST_WORDS]
        common = [word for word in whole if counts[word] > 1]
        shared = Counter(piece for word in counts for piece in set(_pieces(word)))
        useful = sorted(
            (p for p, n in shared.items() if n >= SHARED), key=lambda p: (-shared[p] * (len(p.lstrip("+")) - 1), p)
        )
        letters = {"+" * (i > 0) + letter for word in counts for i, letter in enumerate(word)}
        known = dict.fromkeys((*common, *useful[:MOST_PIECES], *sorted(letters)))
        every = cls(tuple(known))
        used = {number for word in counts for number in every._cut(word)}
        tokens = [token for number, token in enumerate(every.tokens, 2) if number in used]
        once = [word for word in whole if counts[word] == 1 and NAME.fullmatch(word)]
        rare = sorted(set(once) - set(tokens)) if len(once) <= RARE * counts.total() else []
        return cls((*tokens, *rare), len(rare))

    def __len__(self) -> int:
        """How many tokens there are, with padding and the unknown one."""
        return len(self.tokens) + 2

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens[: len(self.tokens) - self.rare], 2)}

    @cached_property
    def _whole(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens, 2) if token not in self._numbers}

    def _cut(self, word: str) -> Iterator[int]:
        if not any(letter in self._numbers for letter in _marked(word)):
            yield UNKNOWN  # one for a word in letters that are not known at all
            return
        mark, rest = "", word
        while rest:
            size = next((k for k in range(len(rest), 0, -1) if mark + rest[:k] in self._numbers), 0)
            yield self._numbers[mark + rest[:size]] if size else UNKNOWN
            mark, rest = "+", rest[size or 1 :]

    def numbers(self, text: str) -> list[int]:
        """The tokens of `text` by number, as many as it takes."""
        known = self._whole
        return [number for word in words(text) for number in ([known[word]] if word in known else self._cut(word))]

    def spelt(self) -> np.ndarray:
        """What each token is without the rare words: int64 (tokens, longest), padded with 0 behind; itself, or the
        pieces of a rare word.
        """
        first = len(self) - self.rare
        rows = [[number] for number in range(first)] + [list(self._cut(word)) for word in self.tokens[first - 2 :]]
        out = np.full((len(rows), max(map(len, rows))), PADDING, np.int64)
        for row, numbers in zip(out, rows, strict=True):
            row[: len(numbers)] = numbers
        return out

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """The tokens of `texts`, int64 (n, length): cut off at `length`, padded with 0 behind."""
        out = np.full((len(texts), length), PADDING, np.int64)
        known: dict[str, list[int]] = {}
        for row, text in zip(out, texts, strict=True):
            if text not in known:
                known[text] = self.numbers(text)[:length]
            row[: len(known[text])] = known[text]
        return out


def _marked(word: str) -> Iterator[str]:
    """Every run of letters of `word`, as a token would name it."""
    for start in range(len(word)):
        for end in range(start + 1, len(word) + 1):
            yield "+" * (start > 0) + word[start:end]


def _pieces(word: str) -> Iterator[str]:
    for start in range(len(word)):
        for size in range(2, LONGEST + 1):
            if start + size <= len(word) and size < len(word):
                yield "+" * (start > 0) + word[start : start + size]


def unheard(text: str, known: Iterable[str]) -> dict[str, list[str]]:
    """The words of `text` that are not among the words `known`, each with at most three that look like it."""
    heard = set(known)
    return {
        word: difflib.get_close_matches(word, heard, 3, 0.6)
        for word in dict.fromkeys(words(text))
        if word not in heard and re.match(r"\w", word)
    }
