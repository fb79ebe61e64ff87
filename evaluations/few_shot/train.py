"""Train a method on a split's training sentences, once for all settings of a NAME."""

import hashlib
import json

import torch

from common.errors import UserError, run
from common.hardware import pick_device
from encoders import check_tokenizer, fingerprint, load_encoder
from evaluations.few_shot.data import Split, identity, read_columns, read_labels
from evaluations.few_shot.methods import METHODS, parse_recipe
from runs import RunDirectory
from runs.directory import disk_errors


def main(argv: list[str]) -> None:
    recipe = parse_recipe(argv, __doc__)
    kind, device = METHODS[recipe.method], pick_device(recipe.device)
    encoder, tokenizer = load_encoder(recipe.model)
    check_tokenizer(encoder.config, tokenizer, recipe.max_length)
    split = Split(recipe.data, recipe.type)
    vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
    inputs = {"encoder": fingerprint(encoder), "vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest()}
    inputs |= identity(split, train=split.train, labels=split.labels("train"))
    labels = read_labels(split.labels("train"))
    inputs |= kind.inputs(recipe, labels)
    if next(read_columns(split.train), None) is None and getattr(recipe, "epochs", 1):
        does_without = "; --epochs 0 does without" if hasattr(recipe, "epochs") else ""
        raise UserError(f"{split.train} has no sentence, which source training requires{does_without}")
    folder = kind.source_folder(recipe)
    with RunDirectory(folder) as directory:
        directory.begin(recipe.arguments(recipe.OF_EPISODES), inputs, frozenset(), resume=True, restart=recipe.restart)
        if directory.finished:
            print(f"{folder} is finished; nothing to do")
            return
        sentences = list(read_columns(split.train, set(labels)))
        torch.manual_seed(recipe.seed)
        method = kind(encoder, tokenizer, recipe).to(device)
        method.train_on_source(sentences, labels)
        with disk_errors(folder):
            method.save(folder)
        directory.finish({"model": recipe.model, "weights": fingerprint(method)})


if __name__ == "__main__":
    run(main, training=True)
