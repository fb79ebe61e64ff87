"""Few-NERD in small, and a two-layer random BERT whose vocabulary is its words."""

import json
import random
from itertools import chain
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from evaluations.few_shot import run as run_episodes
from evaluations.few_shot.data import Sentence

TRAIN_TYPES = ("art-music", "person-actor")
TEST_TYPES = ("location-GPE", "location-other", "organization-company", "organization-other", "organization-religion")
PLAIN = [f"word{i}" for i in range(60)]
NAMES = {kind: [f"{kind.replace('-', '').lower()}{i}" for i in range(2)] for kind in (*TRAIN_TYPES, *TEST_TYPES)}
ANNE = Sentence(
    ["Anne", "Lee", "met", "Bob", "in", "Paris", "."], ["person", "person", "O", "person", "O", "city", "O"]
)
IN_ROME = Sentence(["in", "Rome"], ["O", "city"])
BIO = [["B-person", "I-person", "O", "B-person", "O", "B-city", "O"], ["O", "B-city"]]


def columns(sentences, labels, middle="") -> str:
    """The text of a file of columns."""
    parts = [zip(s.words, own, strict=True) for s, own in zip(sentences, labels, strict=True)]
    return "\n\n".join("\n".join(f"{word}{middle} {label}" for word, label in part) for part in parts) + "\n"


def sentence(rng: random.Random, types) -> tuple[list[str], list[str]]:
    """Plain words with an entity of each type in between, one or two words of the type's own."""
    words = rng.choices(PLAIN, k=rng.randint(1, 6))
    labels = ["O"] * len(words)
    for kind in types:
        entity, after = rng.choices(NAMES[kind], k=rng.randint(1, 2)), rng.choices(PLAIN, k=rng.randint(1, 4))
        words += entity + after
        labels += [kind] * len(entity) + ["O"] * len(after)
    return words, labels


def episode(rng: random.Random) -> dict:
    """A 5-way 1-shot episode in the published JSON."""
    parts = {}
    for part in ("support", "query"):
        pairs = [sentence(rng, types) for types in (TEST_TYPES[:2], TEST_TYPES[2:4], TEST_TYPES[4:])]
        parts[part] = {"word": [words for words, _ in pairs], "label": [labels for _, labels in pairs]}
    return {**parts, "types": list(TEST_TYPES)}


def write_data(folder: Path, episodes: int = 6) -> Path:
    """A directory laid out like the published data, with `intra` 5-way 1-shot alone."""
    rng = random.Random(0)
    (folder / "intra").mkdir(parents=True)
    (folder / "episode-data" / "intra").mkdir(parents=True)
    for part, types in (("train", TRAIN_TYPES), ("test", TEST_TYPES)):
        (folder / "intra" / f"labels_{part}.txt").write_text("\n".join(["O", *types]))
    with open(folder / "intra" / "train.txt", "w") as file:
        for _ in range(64):
            words, labels = sentence(rng, rng.choices(TRAIN_TYPES, k=rng.randint(1, 2)))
            file.write("".join(f"{word}\t{label}\n" for word, label in zip(words, labels, strict=True)) + "\n")
    lines = [json.dumps(episode(rng)) + "\n" for _ in range(episodes)]
    (folder / "episode-data" / "intra" / "test_5_1.jsonl").write_text("".join(lines))
    return folder


def write_encoder(folder: Path, words=(), positions: int = 128) -> Path:
    """A two-layer random BERT for the words of `write_data`, or for others."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(words or [*PLAIN, *chain(*NAMES.values())])]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(vocabulary)})
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
        initializer_range=0.1,
    )
    bert = BertModel(config)
    torch.nn.init.normal_(bert.embeddings.word_embeddings.weight)  # a word's state says first of all which word it is
    bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def two_columns(path: Path, part: dict) -> None:
    """A support or query set as a file of the older layout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pairs = zip(part["word"], part["label"], strict=True)
    path.write_text(
        "\n\n".join("\n".join(f"{word}\t{label}" for word, label in zip(*pair, strict=True)) for pair in pairs) + "\n"
    )


def flags(folder: Path, *more: str) -> list[str]:
    """Flags of a run NAME `tiny` on the data and the encoder in the folder."""
    common = ["--type", "intra", "--way", "5", "--shot", "1", "--device", "cpu", "--batch_size", "8"]
    paths = ["--data", f"{folder}/data", "--model", f"{folder}/encoder", "--output", f"{folder}/out"]
    return [*common, *paths, "--name", "tiny", *more]


def run(folder: Path, *more: str, name: str = "5-1") -> list[dict]:
    """Run the episodes; returns the lines without their times."""
    run_episodes.main(flags(folder, *more))
    lines = (folder / "out" / "intra" / "tiny" / name / "episodes.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]
