"""Captions: the vocabulary and the law of those that a model was trained on, and the rows that its network reads.

Two encoders read them: a transformer that is trained along, which takes tokens, and a frozen sentence encoder, whose
embeddings are taken as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from driftback.data.annotations import CAPTIONS
from driftback.data.dataset import Dataset
from driftback.data.vocabulary import Vocabulary, unheard, words
from driftback.errors import BadInput
from driftback.networks.embedding import MakeEncoder
from driftback.networks.minilm import SIZE, sentences
from driftback.networks.numbers import VectorEncoder
from driftback.networks.text import TextEncoder
from driftback.randomness import Rng
from driftback.recipes.classes import uniform

LONGEST = 32
"""At most so many tokens of a caption are read."""
ROOM = 4
"""A prompt may have so many tokens more than the longest training caption: new words are cut into pieces."""
MOST = 5_000
"""So many different captions are kept, for a model to draw from when it is not asked for one."""
SIGNS = 300
"""So many signs of each."""


class Reader(Protocol):
    """One way to read captions."""

    def rows(self, captions: Captions, texts: Sequence[str]) -> np.ndarray: ...

    def encoder(self, captions: Captions) -> MakeEncoder: ...


@dataclass(frozen=True)
class Trained:
    """Tokens (n, length) int64, read by a transformer that is trained along."""

    def rows(self, captions: Captions, texts: Sequence[str]) -> np.ndarray:
        return captions.vocabulary.encode(texts, captions.length)

    def encoder(self, captions: Captions) -> MakeEncoder:
        tokens, length = len(captions.vocabulary), captions.length
        spelling = torch.from_numpy(captions.vocabulary.spelt()) if captions.rare else None
        return lambda width: TextEncoder(tokens, length, width, spelling=spelling, rare=captions.rare)


@dataclass(frozen=True)
class Frozen:
    """Embeddings (n, 384) float32 by all-MiniLM-L6-v2, from a package with its weights."""

    def rows(self, captions: Captions, texts: Sequence[str]) -> np.ndarray:
        return sentences(texts)

    def encoder(self, captions: Captions) -> MakeEncoder:
        return lambda width: VectorEncoder(SIZE, width)


READERS: dict[str, Reader] = {"trained": Trained(), "minilm": Frozen()}
"""The text encoders by name."""

Lines = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda v: tuple(v.split("\n")) if isinstance(v, str) else v),
    PlainSerializer("\n".join),
]
"""Texts without line ends; one string in a file, so that a config stays readable."""
Blanks = Annotated[
    tuple[str, ...],
    BeforeValidator(lambda v: tuple(v.split()) if isinstance(v, str) else v),
    PlainSerializer(" ".join),
]
Counts = Annotated[
    tuple[int, ...],
    BeforeValidator(lambda v: tuple(map(int, v.split())) if isinstance(v, str) else v),
    PlainSerializer(lambda v: " ".join(map(str, v))),
]


class Captions(BaseModel):
    """The captions of a training: `tokens` of its vocabulary, of which the last `rare` are words that occurred once,
    the `length` that is read, different `texts`, and how many items have each, `counts`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["captions"] = "captions"
    encoder: Literal["trained", "minilm"] = "trained"
    tokens: Blanks
    rare: int = Field(default=0, ge=0)
    length: int = Field(ge=1, le=LONGEST)
    texts: Lines
    counts: Counts = Field(min_length=1)

    @model_validator(mode="after")
    def _each_is_counted(self) -> Captions:
        if len(self.texts) != len(self.counts):
            raise ValueError(f"{len(self.texts)} captions have {len(self.counts)} counts")
        if self.rare > len(self.tokens):
            raise ValueError(f"{self.rare} of {len(self.tokens)} tokens are said to be rare")
        return self

    argument: ClassVar[str] = "prompt"
    what: ClassVar[str] = "captions"
    column: ClassVar[str] = "caption"

    @classmethod
    def learn(cls, captions: Sequence[str], encoder: str) -> Captions:
        """What `captions` (n,) say, to be read by the encoder of this name."""
        if encoder not in READERS:
            raise BadInput(f"there is no text encoder '{encoder}'; choose one of {', '.join(READERS)}")
        vocabulary = Vocabulary.learn(captions)
        plain = Vocabulary(vocabulary.tokens[: len(vocabulary.tokens) - vocabulary.rare])
        length = max(len(plain.numbers(one)) for one in set(captions))
        # Line ends would tell two captions from one where the texts are written.
        texts = Counter(" ".join(one.split())[:SIGNS] for one in captions)
        kept = sorted(texts)
        if len(kept) > MOST:
            chosen = Rng(0).child("captions").generator().permutation(len(kept))[:MOST]
            kept = [kept[i] for i in np.sort(chosen)]
        return cls(
            encoder=encoder,  # type: ignore[arg-type]  # pydantic holds it to the names above
            tokens=vocabulary.tokens,
            rare=vocabulary.rare,
            length=min(length + ROOM, LONGEST),
            texts=tuple(kept),
            counts=tuple(texts[one] for one in kept),
        )

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens by number."""
        return Vocabulary(self.tokens, self.rare)

    @cached_property
    def heard(self) -> frozenset[str]:
        """The words that a training caption is known to have."""
        return frozenset(word for text in self.texts for word in words(text)) | {
            token for token in self.tokens if not token.startswith("+")
        }

    def network(self) -> MakeEncoder:
        """What makes the encoder of a network."""
        return READERS[self.encoder].encoder(self)

    def rows(self, told: tuple[str, ...]) -> np.ndarray:
        """What the network reads of captions (n,)."""
        return READERS[self.encoder].rows(self, told)

    def words(self, told: tuple[str, ...]) -> tuple[str, ...]:
        """Captions for people."""
        return told

    def columns(self, told: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        """Captions by the name that is read of a folder where none is given."""
        return {CAPTIONS[0]: told}

    def told(self, asked: Any, n: int) -> tuple[str, ...]:
        """One sentence for all, or one each (n,), as captions (n,)."""
        if isinstance(asked, str):
            return (" ".join(asked.split()),) * n
        try:
            texts = tuple(asked)
        except TypeError:
            raise BadInput(f"a prompt is a sentence, not {asked!r}") from None
        if len(texts) != n:
            raise BadInput(f"{len(texts)} prompts were given for {n} items; give one sentence, or one per item")
        if wrong := [one for one in texts if not isinstance(one, str)]:
            raise BadInput(f"a prompt is a sentence, not {wrong[0]!r}")
        return tuple(" ".join(one.split()) for one in texts)

    def drawn(self, n: int, seed: int) -> tuple[str, ...]:
        """Captions (n,) drawn as in the training data."""
        shares = np.cumsum(self.counts) / sum(self.counts)
        places = np.searchsorted(shares, uniform(n, seed, "caption"), side="right")
        return tuple(self.texts[k] for k in np.minimum(places, len(shares) - 1))

    def doubts(self, told: tuple[str, ...]) -> tuple[str, ...]:
        """A line for each word that no training caption has, with those that look like it, and for what is cut off."""
        said = []
        for text in dict.fromkeys(told):
            for word, near in unheard(text, self.heard).items():
                hint = f"; known words like it: {', '.join(near)}" if near else ""
                said.append(f"'{word}' is in no training caption{hint}")
            if READERS[self.encoder] == Trained() and len(self.vocabulary.numbers(text)) > self.length:
                said.append(f"only the beginning of '{text[:40]} ...' is read: captions here have {self.length} tokens")
        return tuple(dict.fromkeys(said))

    def beside(self, dataset: Dataset) -> tuple[str, ...] | None:
        """The captions of a dataset."""
        return dataset.captions

    def take(self, told: tuple[str, ...], index: np.ndarray) -> tuple[str, ...]:
        """Those with these indices."""
        return tuple(told[i] for i in index.tolist())

    def facts(self) -> list[str]:
        """What is known, in words."""
        return [f"captions by the {self.encoder} encoder", f"{len(self.texts):,} different ones"]
