"""What stands on the pages of types: sentences as runs of tokens, curves as pictures."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure

from common.plots import STYLE, svg
from evaluations.latent_types.typed_corpus import TypedCorpus
from runs import read_metrics
from training.report import CURVES, curves, draw_curve


def typed_runs(corpus: TypedCorpus, sentence: int) -> Iterator[tuple[int, list[str]]]:
    """A sentence's tokens: (type, [word]) for each typed one, (0, words) for a stretch of untyped ones."""
    start, end = corpus.bounds[sentence : sentence + 2]
    pairs = zip(corpus.type_ids[start:end].tolist(), corpus.tokens(start, end), strict=True)
    for type_id, run in groupby(pairs, key=lambda pair: pair[0]):
        words = [word for _, word in run]
        yield from [(0, words)] if type_id == 0 else [(type_id, [word]) for word in words]


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
