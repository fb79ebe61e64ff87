"""What stands on the pages of types: sentences with their types, rebuilt sentences, curves."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import groupby
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from transformers import PreTrainedTokenizerBase

from common.plots import STYLE, svg
from evaluations.latent_types.typed_corpus import TypedCorpus
from model import SparseLTForPreTraining
from model.describe import bleu, describe
from runs import read_metrics
from training.report import CURVES, curves, draw_curve

Pieces = list[tuple[str, bool]]  # (text, whether the other sentence has it too)


def typed_runs(corpus: TypedCorpus, sentence: int) -> Iterator[tuple[int, list[str]]]:
    """A sentence's tokens: (type, [word]) for each typed one, (0, words) for a stretch of untyped ones."""
    start, end = corpus.bounds[sentence : sentence + 2]
    pairs = zip(corpus.type_ids[start:end].tolist(), corpus.tokens(start, end), strict=True)
    for type_id, run in groupby(pairs, key=lambda pair: pair[0]):
        words = [word for _, word in run]
        yield from [(0, words)] if type_id == 0 else [(type_id, [word]) for word in words]


@dataclass
class Reconstruction:
    """One sentence of the corpus, as it was and as it was rebuilt."""

    line: int
    original: Pieces
    rebuilt: Pieces


def differences(original: list[str], rebuilt: list[str]) -> tuple[Pieces, Pieces]:
    """Both word sequences cut into stretches that they share and stretches that they do not."""
    operations = SequenceMatcher(None, original, rebuilt, autojunk=False).get_opcodes()
    left = [(" ".join(original[a:b]), kind == "equal") for kind, a, b, _, _ in operations if a < b]
    right = [(" ".join(rebuilt[c:d]), kind == "equal") for kind, _, _, c, d in operations if c < d]
    return left, right


def reconstruct(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    lines: list[int],
    sentences: list[list[int]],
    max_length: int,
) -> tuple[list[Reconstruction], float]:
    """Greedy reconstructions of sentences of ids, and their corpus BLEU in percent, as `pretrain.py` validates it."""
    texts = [str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in sentences]
    described = list(describe(model, tokenizer, texts, max_length))
    found = [
        Reconstruction(line, *differences(d.sentence.split(), d.reconstruction.split()))
        for line, d in zip(lines, described, strict=True)
    ]
    return found, bleu([d.sentence for d in described], [d.reconstruction for d in described])


def curve_pictures(run_directory: Path) -> list[Markup]:
    """A small SVG of each curve of a run, coloured by the page it stands in; none where nothing was recorded."""
    training, validation = curves(read_metrics(run_directory))
    pictures = []
    for number, name in enumerate(training | validation):
        with rc_context(STYLE):
            figure = Figure(figsize=(3, 2), layout="constrained")
            draw_curve(figure.add_subplot(), name, training.get(name, []), validation.get(name, []))
        text = svg(figure, transparent=True)
        text = text[text.index("<svg") :].replace("#000000", "currentColor")
        # matplotlib's ids repeat from picture to picture
        text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>curve{number}-", text)
        text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
        label = escape(CURVES.get(name, name))
        pictures.append(Markup(text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)))
    return pictures
