"""Captions as tokens: known words whole, new ones by pieces that training has seen, near-misses told."""

import numpy as np
import pytest

from driftback.data.vocabulary import PADDING, UNKNOWN, Vocabulary, unheard, words

CAPTIONS = [
    "red circle",
    "blue circle",
    "Red square",
    "blue square",
    "flag of kazakhstan",
    "flag of uzbekistan",
    "pakistan",
]


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.learn(CAPTIONS)


def spelt(vocabulary: Vocabulary, text: str) -> list[str]:
    return [("?", *vocabulary.tokens)[k - 1] for k in vocabulary.numbers(text)]


def test_words() -> None:
    assert words("A red  Heart, ＸＬ: 1f3fb-1f3fc") == ["red", "heart", ",", "xl", ":", "1f3fb", "-", "1f3fc"]
    assert words("a") == ["a"], "an article alone is a letter"
    assert words("") == []


def test_known_words_are_whole_and_new_ones_are_cut(vocabulary: Vocabulary) -> None:
    assert spelt(vocabulary, "the red square") == ["red", "square"]
    assert spelt(vocabulary, "flag of kazakhstan") == ["flag", "of", "kazakhstan"]
    pieces = spelt(vocabulary, "kazakistan")
    assert len(pieces) > 1
    assert "".join(piece.lstrip("+") for piece in pieces) == "kazakistan"
    assert [piece.startswith("+") for piece in pieces] == [False] + [True] * (len(pieces) - 1)
    assert any(len(piece) > 2 for piece in pieces), "what several words share is one piece"


def test_every_token_is_trained(vocabulary: Vocabulary) -> None:
    used = {number for caption in CAPTIONS for number in vocabulary.numbers(caption)}
    pieces = set(vocabulary.spelt()[sorted(used)].ravel().tolist())
    assert used | pieces == set(range(len(vocabulary))) - {UNKNOWN}


def test_words_of_one_caption_can_be_spelt(vocabulary: Vocabulary) -> None:
    rare = vocabulary.tokens[len(vocabulary.tokens) - vocabulary.rare :]
    assert rare == ("kazakhstan", "pakistan", "uzbekistan")
    table = vocabulary.spelt()
    assert table.shape[0] == len(vocabulary)
    for number, token in enumerate(vocabulary.tokens, 2):
        pieces = [vocabulary.tokens[k - 2] for k in table[number] if k != PADDING]
        if token in rare:
            assert len(pieces) > 1
            assert "".join(piece.lstrip("+") for piece in pieces) == token
        else:
            assert pieces == [token]


def test_where_most_words_occur_once_none_is_a_token() -> None:
    """Scripts without spaces: a caption is one word, and its token would be the number of an item."""
    written = Vocabulary.learn([f"{chr(0x4E00 + k)}{chr(0x4E00 + k + 1)}{chr(0x4E00 + k + 2)}" for k in range(40)])
    assert written.rare == 0
    assert all(len(token.lstrip("+")) < 3 for token in written.tokens)
    named = Vocabulary.learn([*["red circle"] * 9, "red x9f3a7", "red antidisestablishmentarianism", "red fox"])
    assert named.tokens[len(named.tokens) - named.rare :] == ("fox",)


def test_a_rare_word_is_known_whole_or_not_at_all() -> None:
    known = Vocabulary.learn([*["red circle"] * 9, "red car", "red cart"])
    assert {"car", "cart"} <= set(known.tokens)
    assert spelt(known, "car cart") == ["car", "cart"]
    assert "car" not in spelt(known, "carts"), "a new word is no training word with an ending"
    assert "".join(piece.lstrip("+") for piece in spelt(known, "cart carr")) == "cartcarr"


def test_only_so_many_words_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("driftback.data.vocabulary.MOST_WORDS", 4)
    few = Vocabulary.learn(CAPTIONS)
    assert few.rare == 0
    assert {"blue", "circle", "flag", "of"} <= set(few.tokens), "the commonest, and of these the first"
    assert "red" not in few.tokens


def test_what_is_new_is_cut_or_unknown(vocabulary: Vocabulary) -> None:
    assert "".join(piece.lstrip("+") for piece in spelt(vocabulary, "pakkazstan")) == "pakkazstan"
    assert vocabulary.numbers("ωψ") == [UNKNOWN]
    assert vocabulary.numbers("") == []


def test_rows_are_padded_and_cut(vocabulary: Vocabulary) -> None:
    rows = vocabulary.encode(["red", "", "red circle blue square"], 3)
    assert rows.dtype == np.int64
    assert rows[0].tolist() == [*vocabulary.numbers("red"), PADDING, PADDING]
    assert rows[1].tolist() == [PADDING] * 3
    assert rows[2].tolist() == vocabulary.numbers("red circle blue")


def test_order_and_case_of_captions_do_not_matter() -> None:
    assert Vocabulary.learn(CAPTIONS[::-1]) == Vocabulary.learn([one.upper() for one in CAPTIONS])


def test_near_misses_are_named() -> None:
    known = {word for caption in CAPTIONS for word in words(caption)}
    assert unheard("a rad circel", known) == {"rad": ["red"], "circel": ["circle"]}
    assert unheard("red, square!", known) == {}
    assert unheard("xyzzy", known) == {"xyzzy": []}
