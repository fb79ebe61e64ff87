"""Entities in any text, from a handful of examples."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from tqdm import tqdm

from common.errors import UserError, note
from common.hardware import pick_device
from common.seeds import seed_of
from evaluations.few_shot.data import Sentence, by_type
from evaluations.few_shot.formats import Examples, check_text, read_examples, word_spans
from evaluations.few_shot.methods import METHODS, Method
from evaluations.few_shot.scores import entities
from runs import read_record, read_summary

Texts = Sequence[str | Sequence[str]]  # sentences as texts, or as lists of words, as if with a space between words


class Entity(NamedTuple):
    """The characters [start, end) of a sentence, their type, the text, and the score: the probability of the type, by
    the softmax over the labels of the method's scores, averaged over the words; None for a method without scores. It
    orders entities of one support set; it is not calibrated."""

    start: int
    end: int
    label: str
    text: str
    score: float | None


class FewShotTagger:
    """A method that was trained on its source split, for tagging any text after a look at a support set.

        tagger = FewShotTagger.from_run("outputs/few-nerd/intra/NAME").fit("examples.txt")
        for found in tagger.predict(["Anne Lee met Bob in Paris."]): ...

    Words are separated as in `formats.word_spans`; of those beyond `max_length` word pieces, which are not tagged,
    `beyond` is the number in each sentence of the last call.
    """

    labels: list[str]

    def __init__(self, method: Method):
        self.method = method
        self.beyond: list[int] = []

    @classmethod
    def from_run(cls, run: str | Path, method: str = "container", device: str = "auto", **flags: Any) -> Self:
        """The tagger of a run's finished source training; UserError if it is not there, damaged or of another version.

        Args:
            run: OUTPUT/TYPE/NAME, as `evaluations.few_shot.train` made it.
            method: one of `METHODS` whose source training the run holds; `flags` of its own, as `label_names`.
        """
        if method not in METHODS:
            raise UserError(f"no method {method}; there are {', '.join(METHODS)}")
        run, kind = Path(run), METHODS[method]
        source = run / "source" / kind.SOURCE
        read_summary(source)
        recorded, known = read_record(source)["arguments"], {field.name for field in fields(kind.RECIPE)}
        if unknown := sorted({*recorded, *flags} - known):
            raise UserError(f"{source}: {method} has no argument {unknown[0]}")
        named = {"type": run.parent.name, "name": run.name, "method": method, "device": device}
        recipe = kind.RECIPE(**{**recorded, **named, **flags})
        loaded = kind.trained(source, recipe)
        loaded.to(pick_device(device))
        return cls(loaded)

    def fit(self, support: str | Path | Examples | Sequence[Sentence]) -> Self:
        """Adapt to examples, in place of those before: labelled sentences, or where they are, as
        `formats.read_examples` takes it; what that leaves out is printed. Labels `B-X` and `I-X` are `X`. UserError if
        no word is in an entity, or a sentence has not a label for each word."""
        if isinstance(support, str | Path):
            where, support = support, read_examples(str(support))
            if support.notes:
                note(f"{where}: {support}")
        if isinstance(support, Examples):  # whose labels are types already
            support = support.sentences
        else:
            support = by_type([Sentence(*sentence) for sentence in support])
        for number, (words, labels) in enumerate(support, 1):
            if len(words) != len(labels):
                raise UserError(f"sentence {number} of the support set: {len(words)} words and {len(labels)} labels")
        counts = Counter(kind for sentence in support for *_, kind in entities(sentence.labels))
        if not counts:
            raise UserError("the support set has no labelled entity")
        self.method.restore()
        self.labels = ["O", *sorted(counts)]
        self.method.recipe = replace(self.method.recipe, way=len(counts), shot=min(counts.values()))
        torch.manual_seed(seed_of(self.method.recipe.seed, 0))
        self.method.fit(support, self.labels)
        return self

    def predict(self, sentences: Texts, batch_size: int = 64, progress: bool = False) -> list[list[Entity]]:
        """The entities of each sentence, in their order, `batch_size` sentences at once."""
        return list(self.stream(sentences, batch_size, progress))

    def stream(self, sentences: Texts, batch_size: int = 64, progress: bool = False) -> Iterator[list[Entity]]:
        """As `predict`, one after another."""
        if isinstance(sentences, str):  # a sequence of strings, too: of its characters
            raise TypeError("sentences must be a list of texts, not one text")
        self.beyond = []
        with tqdm(total=len(sentences), desc="tagging", unit="sentence", disable=not progress) as bar:
            for begin in range(0, len(sentences), batch_size):
                batch = [spans_of(sentence) for sentence in sentences[begin : begin + batch_size]]
                for number, (text, _) in enumerate(batch, begin + 1):
                    check_text(text, f"sentence {number}")
                yield from self.tag(batch)
                bar.update(len(batch))

    def tag(self, batch: Sequence[tuple[str, list[tuple[int, int]]]]) -> Iterator[list[Entity]]:
        """The entities of texts with the spans of their words."""
        asked = [[text[begin:end] for begin, end in spans] for text, spans in batch if spans]
        tags = self.method.tag(asked) if asked else []
        found = iter(zip(tags, self.method.probabilities or [None] * len(tags), strict=True))
        for text, spans in batch:
            kinds, probabilities = next(found) if spans else ([], None)  # of the words; (length, Y)
            self.beyond.append(len(spans) - len(kinds))
            here = []
            for first, after, kind in sorted(entities(kinds)):
                start, end, score = spans[first][0], spans[after - 1][1], None
                if probabilities is not None:
                    score = probabilities[first:after, self.labels.index(kind)].mean().item()
                here.append(Entity(start, end, kind, text[start:end], score))
            yield here


def spans_of(sentence: str | Sequence[str]) -> tuple[str, list[tuple[int, int]]]:
    """A text, and where its words are; of words, the text with a space between them. A blank word is none."""
    if isinstance(sentence, str):
        return sentence, list(word_spans(sentence))
    spans, begin = list[tuple[int, int]](), 0
    for word in sentence:
        if word.strip():
            spans.append((begin, begin + len(word)))
        begin += len(word) + 1
    return " ".join(sentence), spans
