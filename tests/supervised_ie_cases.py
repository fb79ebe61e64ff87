"""Thirty sentences that use everything the format has, and a small random BERT, for the tests of the extractor."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from evaluations.supervised_ie import prepare
from evaluations.supervised_ie.data import Entity, Event, Relation, Sentence, read_sentences, write_sentences

NAMES = ["anna", "bob", "carla", "dmitri", "eve", "farid"]
PLACES = ["paris", "lima", "oslo", "new york"]
GROUPS = ["the police", "unicef", "acme corp"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """So small tensors gain nothing from more, and lose much where other work wants the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def sentences() -> list[Sentence]:
    """Meetings and attacks with one to three people, in places, of groups; some sentences hold nothing."""
    generator = np.random.default_rng(3)
    made = []
    for number in range(30):
        tokens, entities, relations, events = [], [], [], []

        def say(text, tokens=tokens):
            tokens += text.split()
            return len(tokens) - len(text.split()), len(tokens)

        def name(of, kind, mention="NAM", entities=entities, say=say):
            entities.append(Entity(*say(str(generator.choice(of))), kind, mention))
            return len(entities) - 1

        if number % 6 == 0:
            say("it was quiet today .")
        elif number % 2:
            first = name(NAMES, "PER")
            trigger = say("held talks with" if number % 3 else "met")
            second = name(["him", "her"] if number % 5 == 0 else NAMES, "PER", "PRO" if number % 5 == 0 else "NAM")
            say("in")
            place = name(PLACES, "GPE")
            events.append(Event(*trigger, "Meet", ((first, "Entity"), (second, "Entity"), (place, "Place"))))
            relations.append(Relation("PER-SOC", first, second))
        else:
            group = name(GROUPS, "ORG", "NOM")
            trigger = say("attacked")
            victim = name(NAMES, "PER")
            events.append(Event(*trigger, "Attack", ((group, "Attacker"), (victim, "Target"))))
            say("of")
            place = name(PLACES, "GPE")
            relations.append(Relation("Live_In", victim, place))
            if number % 4 == 0:
                events.append(Event(*say("killing"), "Die", ((group, "Agent"), (name(NAMES, "PER"), "Victim"))))
        made.append(Sentence(f"doc-{number // 3}", f"s-{number}", tokens, entities, relations, events))
    return made


def write_encoder(directory: Path, layers: int = 3) -> None:
    """A BERT of a few layers, 64 wide, with random weights and a vocabulary of letters, as a plain directory."""
    letters = "abcdefghijklmnopqrstuvwxyz."
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    words = {word for sentence in sentences() for word in sentence.tokens[::2]}  # the others fall into letters
    directory.mkdir()
    (directory / "vocab.txt").write_text("\n".join(vocabulary + sorted(words - set(letters))) + "\n")
    (directory / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    tokenizer = BertTokenizerFast.from_pretrained(directory)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(directory)


def write_case(root: Path) -> Path:
    """The encoder, the sentences as training and dev data, and two lines of text."""
    torch.manual_seed(1)
    write_encoder(root / "encoder")
    (root / "data").mkdir()
    for split in ("train", "dev"):
        write_sentences(root / "data" / f"{split}.oneie.jsonl", sentences())
    (root / "in.txt").write_text("bob met anna in lima\n\nunicef attacked eve of new york\n")
    return root


def flags(root: Path, name: str, **more) -> list[str]:
    """The flags of `train` on `write_case`, with which it learns by heart."""
    chosen = {
        "model": root / "encoder",
        "data": root / "data",
        "name": root / name,
        "max_epochs": 45,
        "patience": 45,
        "warmup_epochs": 2,
        "encoder_learning_rate": 1e-3,
        "learning_rate": 3e-3,
        "device": "cpu",
        **more,
    }
    return [part for key, value in chosen.items() for part in (f"--{key}", str(value))]


def run_prepare(root: Path, corpus: str, source: str, splits: tuple[str, ...]) -> tuple[dict, dict]:
    """Prepare `root / source` by the lists `root / SPLIT.txt`: the sentences by split, and the report's counts."""
    lists = [part for split in splits for part in (f"--{split}", str(root / f"{split}.txt"))]
    prepare.main([corpus, "--input", str(root / source), "--output", str(root / "out"), *lists])
    report = json.loads((root / "out" / "alignment.json").read_text())
    return {split: read_sentences(root / "out" / f"{split}.oneie.jsonl") for split in splits}, {
        reason: line["count"] for reason, line in report.items()
    }


def shown(sentence: Sentence) -> dict:
    """A sentence and its annotation in words, to compare with."""
    text = [" ".join(sentence.tokens[e.start : e.end]) for e in sentence.entities]
    return {
        "tokens": " ".join(sentence.tokens),
        "entities": sorted((t, e.type, e.mention_type) for t, e in zip(text, sentence.entities, strict=True)),
        "relations": [(r.type, text[r.head], text[r.tail]) for r in sentence.relations],
        "events": [
            (" ".join(sentence.tokens[e.start : e.end]), e.type, [(text[a], role) for a, role in e.arguments])
            for e in sentence.events
        ],
    }
