"""Does a model draw what its captions say: emoji of 32 x 32 pixels, split by base caption, judged by a classifier.

One model is fitted to the captions by `driftback.fit`. Skin tones are variants of one base caption ('1f3fb' and its
like at the end), and one base caption is on one side of the split. (a) For captions that were trained on: the share of
samples whose category, one of ten, a classifier finds. It is trained on the real training pictures, not on samples; its
accuracy on real pictures of held-out captions stands beside, and on the training pictures. (b) For combinations of a
colour and a shape that were seen apart only (`NEW`, held out together): the share with the right colour, by the rule of
`colour`, with the right category, and with both; the real pictures of these captions stand beside. See
docs/benchmarks.md for the data; it is looked for in ../../shared/data, or where --data says.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from colorsys import rgb_to_hsv
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from workers.machine import machine

import driftback as db
from driftback.data import load, split
from driftback.data.dataset import Dataset

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "shared" / "data" / "emoji32_google.npz"
NEW = (
    "green heart",
    "purple heart",
    "orange heart",
    "large blue circle",
    "large yellow circle",
    "large red square",
    "large orange square",
    "large purple square",
    "green book",
    "orange book",
)
"""Held out together: each of their colours and shapes is in other captions, which are all trained on."""
SHAPES = ("heart", "circle", "square", "book")
HUES = {
    "red": (340.0, 18.0),
    "orange": (18.0, 42.0),
    "yellow": (42.0, 68.0),
    "green": (68.0, 170.0),
    "blue": (170.0, 255.0),
    "purple": (255.0, 325.0),
}
"""Degrees on the circle of hues, from and up to."""
COLOURED = 0.35
"""A pixel counts as coloured from so much saturation and value on; the others are white, black and grey."""


def base(caption: str) -> str:
    """The caption without its skin tones."""
    return re.sub(r"( 1f3f[b-f](-1f3f[b-f])?)+$", "", caption)


def colour(picture: np.ndarray) -> str:
    """The colour that most of the coloured pixels of `picture` (h, w, 3) uint8 have; "none" where under 2 % are."""
    hsv = np.array([rgb_to_hsv(*pixel) for pixel in picture.reshape(-1, 3) / 255.0])
    clear = hsv[(hsv[:, 1] >= COLOURED) & (hsv[:, 2] >= COLOURED)]
    if len(clear) < 0.02 * len(hsv):
        return "none"
    hue = 360 * clear[:, 0]
    found = {
        name: int(((hue >= low) & (hue < high)).sum() if low < high else ((hue >= low) | (hue < high)).sum())
        for name, (low, high) in HUES.items()
    }
    return max(found, key=lambda name: found[name])


def asked_colour(caption: str) -> str:
    """The colour that a caption asks for."""
    return next(name for name in HUES if name in caption.split())


def groups(captions: list[str]) -> np.ndarray:
    """Codes (n,): one for each base caption, and one for all new combinations."""
    names = ["new combinations" if base(caption) in NEW else base(caption) for caption in captions]
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def coloured(caption: str) -> bool:
    """Whether a caption is a colour and one of the shapes."""
    words = caption.split()
    return words[-1] in SHAPES and any(word in HUES for word in words)


def parts(x: np.ndarray, captions: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which items are trained on, and which are not: as driftback splits them, but all of `NEW` is held out, and no
    other caption of a colour and a shape.
    """
    codes = groups(captions)
    held = np.array([base(caption) in NEW for caption in captions])
    rest = np.flatnonzero(~held)
    train, out = split(load(x[rest], caption=[captions[i] for i in rest], group=codes[rest]))
    known = np.array([coloured(caption) for caption in captions])
    train, out = rest[train], rest[out]
    return np.concatenate([train, out[known[out]]]), np.concatenate([out[~known[out]], np.flatnonzero(held)])


class Judge(nn.Module):
    """A small convolutional classifier of pictures (n, 3, 32, 32) in -1 .. 1."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (3, 32, 64, 128)
        self.body = nn.Sequential(
            *(
                layer
                for a, b in pairwise(widths)
                for layer in (nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            )
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 16, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def pixels(x: np.ndarray) -> Tensor:
    """Pictures (n, 32, 32, 3) uint8 as the judge takes them."""
    return torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).float() / 127.5 - 1


def judge(x: np.ndarray, y: np.ndarray, classes: int, *, epochs: int, seed: int = 0) -> Judge:
    """A judge trained on real pictures, mirrored and moved by up to two pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network, pictures, labels = Judge(classes), pixels(x), torch.from_numpy(y)
        steps = epochs * -(-len(x) // 64)
        optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
        for _ in range(steps):
            some = torch.randint(len(x), (64,))
            batch = pictures[some]
            batch = torch.where(torch.rand(64, 1, 1, 1) < 0.5, batch.flip(-1), batch)
            shift = torch.randint(-2, 3, (2,)).tolist()
            loss = nn.functional.cross_entropy(network(batch.roll(shift, (-2, -1))), labels[some])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.no_grad()
def seen(network: Judge, x: np.ndarray) -> np.ndarray:
    """The class of each picture by the judge."""
    return torch.cat([network(part).argmax(1) for part in pixels(x).split(256)]).numpy()


def share(right: np.ndarray) -> dict:
    """A share with its standard error."""
    p = float(np.mean(right))
    return {"share": round(p, 4), "standard_error": round((p * (1 - p) / len(right)) ** 0.5, 4), "n": len(right)}


def over(rows: list[np.ndarray]) -> dict:
    """A share over captions, with the standard error that a few captions leave: samples of one are alike."""
    means = np.array([row.mean() for row in rows])
    error = float(means.std(ddof=1) / len(means) ** 0.5)
    return {"share": round(float(means.mean()), 4), "standard_error": round(error, 4), "n": sum(map(len, rows))}


def known(model: db.Model, network: Judge, data: Dataset, y: np.ndarray, n: int, **guidance: object) -> dict:
    """(a) Samples on `n` captions that were trained on, drawn from the training items."""
    some = np.random.default_rng(0).permutation(len(data))[:n]
    drawn = model.sample(n, prompt=[data.captions[i] for i in some], seed=1, **guidance)
    right = seen(network, drawn) == y[some]
    found = {name: share(right[y[some] == k]) for k, name in enumerate(data.classes) if (y[some] == k).any()}
    return {"right_category": share(right), "by_category": found}


def new(
    model: db.Model, network: Judge, x: np.ndarray, y: np.ndarray, captions: list[str], n: int, **guidance: object
) -> dict:
    """(b) Samples on new combinations, `n` of each, beside the real pictures of these captions."""
    found, all_of = {}, {"right_colour": [], "right_category": [], "both": []}
    asked = [caption for caption in NEW for _ in range(n)]
    every = model.sample(len(asked), prompt=asked, seed=2, **guidance)
    for place, caption in enumerate(NEW):
        (real,) = np.flatnonzero(np.array(captions) == caption)
        drawn = every[place * n : (place + 1) * n]
        tinted = np.array([colour(picture) == asked_colour(caption) for picture in drawn])
        kind = seen(network, drawn) == y[real]
        rows = {"right_colour": tinted, "right_category": kind, "both": tinted & kind}
        for name, row in rows.items():
            all_of[name].append(row)
        found[caption] = {name: round(float(row.mean()), 3) for name, row in rows.items()} | {
            "real_colour": colour(x[real]),
            "real_category_right": bool(seen(network, x[real : real + 1])[0] == y[real]),
        }
    return {name: over(rows) for name, rows in all_of.items()} | {"by_caption": found}


def measured(options: argparse.Namespace) -> dict:
    """Fit, draw and judge; everything that was measured."""
    with np.load(options.data) as file:
        x, captions, category = file["x"], file["t"].tolist(), file["c"]
    names, y = np.unique(category, return_inverse=True)
    train, held = parts(x, captions)
    words = {word for i in train for word in captions[i].split()}
    unseen = {caption: sorted(set(caption.split()) - words) for caption in NEW}
    data = Dataset(x[train], y[train], "pictures", tuple(names.tolist()), captions=tuple(captions[i] for i in train))
    network = judge(x[train], y[train], len(names), epochs=options.epochs)
    began = time.perf_counter()
    # Everything in `train` is trained on: what is held out has been taken away already.
    budget = {"steps": options.steps} if options.steps else {"minutes": options.minutes}
    budget |= {"network": options.network} if options.network else {}
    model = db.fit(
        x[train], captions=list(data.captions), held_out=0.0, text_encoder=options.text_encoder, seed=0, **budget
    )
    fitting = time.perf_counter() - began
    if options.keep:
        model.save(options.keep, force=True)
    pushed = {
        name: {"steps": options.sampling_steps} | how
        for name, how in {
            "no guidance": {"autoguidance": 0.0},
            "guidance 1": {"guidance": 1.0},
            "guidance 3": {"guidance": 3.0},
            "guidance 1 within 0.2:2": {"guidance": 1.0, "guidance_interval": (0.2, 2.0)},
            "autoguidance 1": {"autoguidance": 1.0},
        }.items()
    }
    return {
        "fit": {
            "minutes": options.minutes,
            "seconds": round(fitting, 1),
            "steps": model.config.plan.steps,
            "items": model.config.items,
            "network": model.config.network.model_dump(),
            "text_encoder": model.config.condition.encoder,
            "tokens": len(model.config.condition.tokens),
            "sampling_steps": options.sampling_steps,
        },
        "judge": {
            "training pictures": share(seen(network, x[train]) == y[train]),
            "held-out pictures": share(seen(network, x[held]) == y[held]),
        },
        "words_of_new_captions_not_in_training": {c: w for c, w in unseen.items() if w},
        "trained_captions": {
            name: known(model, network, data, y[train], options.samples, **how) for name, how in pushed.items()
        },
        "new_combinations": {
            name: new(model, network, x, y, captions, options.each, **how) for name, how in pushed.items()
        },
    }


def table(result: dict) -> str:
    """The results as lines to read."""
    lines = [f"judge: {name} {found['share']:.3f}" for name, found in result["judge"].items()]
    for name in result["trained_captions"]:
        a, b = result["trained_captions"][name]["right_category"], result["new_combinations"][name]
        lines.append(
            f"{name}: right category on trained captions {a['share']:.3f} ± {a['standard_error']:.3f}; on new "
            f"combinations right colour {b['right_colour']['share']:.2f}, category {b['right_category']['share']:.2f}, "
            f"both {b['both']['share']:.2f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Run everything and write the raw results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="for the fit; default 30")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--network", help="a preset or a kind, as fit --network has it")
    parser.add_argument("--epochs", type=int, default=40, help="of the judge; default 40")
    parser.add_argument("--samples", type=int, default=512, help="on trained captions; default 512")
    parser.add_argument("--each", type=int, default=16, help="on each new combination; default 16")
    parser.add_argument("--sampling-steps", type=int, default=20, help="of Heun's rule; default 20")
    parser.add_argument("--text-encoder", default="trained", help="trained or minilm")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--keep", type=Path, help="a folder for the model")
    parser.add_argument("--out", type=Path, default=HERE / "results" / f"{date.today()}-emoji.json")
    options = parser.parse_args()
    if not options.data.is_file():
        parser.exit(0, f"{options.data} is missing: the emoji are not measured; give --data\n")
    found = measured(options)
    print(table(found), flush=True)
    options.out.parent.mkdir(exist_ok=True)
    facts = {"date": str(date.today()), "machine": machine(torch.get_num_threads()), "torch": torch.__version__}
    options.out.write_text(json.dumps(facts | {"data": options.data.name} | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
