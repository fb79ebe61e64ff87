"""Train an encoder and its Gaussian heads on a split's training sentences, once for all settings of a NAME."""

import hashlib
import json
import shutil
from pathlib import Path

import torch
from tqdm import tqdm

from common.errors import UserError, run
from common.files import environment, write_atomically
from container.arguments import parse_args
from container.data import Split, identity, read_columns, read_labels
from container.episode import make_optimizer, step
from container.gaussian import contrastive_loss
from container.model import Container, WordPieces, fingerprint, load_encoder, pack, save
from container.records import kept, locked
from container.viterbi import transition_statistics

RECIPE = ("seed", "embedding_dimension", "distance", "learning_rate", "encoder_learning_rate", "dropout",
          "max_length", "epochs", "batch_size", "mixed_precision")  # fmt: skip


def main(argv: list[str]) -> None:
    args = parse_args(argv, __doc__)
    split = Split(args.data, args.type)
    folder = args.output / args.type / args.name / "source"
    with locked(folder.parent):
        encoder, tokenizer = load_encoder(args.model)
        if args.max_length > encoder.config.max_position_embeddings:
            positions = encoder.config.max_position_embeddings
            raise UserError(f"--max_length {args.max_length} is more than the {positions} positions of {args.model}")
        torch.manual_seed(args.seed)
        model = Container(encoder, args.embedding_dimension, args.mixed_precision)
        vocabulary = json.dumps(sorted(tokenizer.get_vocab().items()))
        record = {
            "encoder": {"weights": fingerprint(encoder), "vocabulary": hashlib.sha256(vocabulary.encode()).hexdigest()},
            "recipe": {key: getattr(args, key) for key in RECIPE},
            "data": identity(split, train=split.train, labels=split.labels("train")),
        }
        if kept(folder / "source.json", record):
            print(f"source training of {args.name} on {args.type}: done before, kept")
            return
        record["transitions"] = train(model.to(args.device), WordPieces(tokenizer, args.max_length), split, args)
        record |= {"weights": fingerprint(model), "model": args.model, "environment": environment()}
        publish(folder, model, tokenizer, record)


def train(model: Container, words: WordPieces, split: Split, args) -> list[float]:
    """Train the model in place; returns the transition statistics of the sentences that it learnt from."""
    labels = read_labels(split.labels("train"))
    sentences = list(read_columns(split.train, set(labels)))
    encoded = [words.encode(sentence.words) for sentence in sentences]
    targets = [torch.tensor([labels.index(label) for label in sentence.labels]) for sentence in sentences]
    order = [batch for _ in range(args.epochs) for batch in torch.randperm(len(sentences)).split(args.batch_size)]
    optimizer = make_optimizer(model.encoder.parameters(), model.heads.parameters(), args)
    model.set_dropout(args.dropout)
    model.train()
    bar = tqdm([batch.tolist() for batch in order], desc=f"source training, {split.type}", unit="step")
    for batch in bar:
        packed = pack([encoded[i] for i in batch], args.device)
        target = torch.cat([targets[i][: len(encoded[i].first)] for i in batch])  # (n,)
        loss = contrastive_loss(*model.gaussians(model.hidden(packed)), target.to(args.device), args.distance)
        step(optimizer, loss)
        bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
    return transition_statistics(sentence.labels for sentence in sentences)


def publish(folder: Path, model: Container, tokenizer, record: dict) -> None:
    """Write the trained model. `source.json` comes last: without it a folder is not finished, and is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save(model, tokenizer, folder)
    write_atomically(folder / "source.json", json.dumps(record, indent=1))


if __name__ == "__main__":
    run(main)
