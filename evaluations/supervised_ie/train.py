"""Train an extractor on a prepared corpus; run again with the same flags, it goes on where it was stopped."""

import argparse
import json
import time
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn
from tqdm import tqdm
from transformers import BertModel, PreTrainedTokenizerBase

from common.device import add_device
from common.errors import UserError, run
from common.files import environment, sha256_of, write_atomically
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.batches import Example, collate, make_examples, shuffled_batches
from evaluations.supervised_ie.data import Sentence, read_sentences, split_path
from evaluations.supervised_ie.labels import Labels, collect_labels
from evaluations.supervised_ie.model import Extractor
from evaluations.supervised_ie.predict import extract
from evaluations.supervised_ie.scores import count, f1_of, tasks_of


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--encoder", required=True, help="a plain BERT: directory, hub id, or `minilm`")
    add("--data", required=True, help="directory with train.oneie.jsonl and dev.oneie.jsonl")
    add("--name", required=True, help="of the run: its folder in outputs/, or a path with a slash")
    add("--max_epochs", type=int, default=100, help="epochs at most; the learning rate falls to 0 over them")
    add("--patience", type=int, default=10, help="stop after so many epochs in which no task's dev F1 got better")
    add("--batch_size", type=int, default=10, help="sentences a step")
    add("--encoder_learning_rate", type=float, default=1e-5, help="peak rate of the BERT")
    add("--learning_rate", type=float, default=1e-4, help="peak rate of everything else")
    add("--encoder_weight_decay", type=float, default=1e-5, help="AdamW's decay of the BERT")
    add("--weight_decay", type=float, default=1e-3, help="AdamW's decay of everything else")
    add("--warmup_epochs", type=int, default=5, help="epochs over which the rates rise from 0, all at most")
    add("--clip", type=float, default=5.0, help="largest norm of the gradient")
    add("--seed", type=int, default=0, help="of the new weights, the order and the dropout")
    add("--mixed_precision", choices=("no", "bf16"), default="no", help="bf16: the encoder computes in bfloat16")
    add("--patterns", help="directory of OneIE's valid-pattern files; read off the training data by default")
    add("--symmetric_relations", nargs="*", default=["PER-SOC", "personalsocial"], help="types whose order is free")
    add_device(parser)
    args = parser.parse_args(argv)
    if min(args.max_epochs, args.patience, args.batch_size) < 1 or min(args.warmup_epochs, args.seed) < 0:
        parser.error("epochs, patience and batch size are at least 1, warm-up and seed at least 0")
    args.warmup_epochs = min(args.warmup_epochs, args.max_epochs)
    return args


def make_optimizer(model: nn.Module, args: argparse.Namespace) -> torch.optim.AdamW:
    """AdamW with the BERT's rates for `model.encoder` and the others' for the rest."""
    encoder = list(model.encoder.parameters())
    of_encoder = {id(p) for p in encoder}
    rest = [p for p in model.parameters() if id(p) not in of_encoder]
    groups = [
        {"params": encoder, "peak": args.encoder_learning_rate, "weight_decay": args.encoder_weight_decay},
        {"params": rest, "peak": args.learning_rate, "weight_decay": args.weight_decay},
    ]
    return torch.optim.AdamW(groups, fused=True)


def rate(step: int, warmup: int, total: int) -> float:
    """The share of the peak learning rate at a step: a linear rise over `warmup` steps, then a linear fall to 0."""
    return min((step + 1) / max(warmup, 1), (total - step) / max(total - warmup, 1))


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: list[Example],
    epoch: int,
    tokenizer: PreTrainedTokenizerBase,
    args,
) -> dict[str, float]:
    """One pass over the examples: the mean of each part of the loss. A pure function of its inputs and the epoch.

    Raises:
        UserError: the loss is no longer a number.
    """
    model.train()
    torch.manual_seed(args.seed * 1_000_003 + epoch)  # dropout of a resumed run is that of an unbroken one
    batches = shuffled_batches(examples, args.batch_size, args.seed, epoch)
    totals: dict[str, float] = {}
    for i, batch in enumerate(tqdm(batches, desc=f"epoch {epoch}", leave=False, disable=None)):
        share = rate((epoch - 1) * len(batches) + i, args.warmup_epochs * len(batches), args.max_epochs * len(batches))
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak"]
        losses = model.loss(collate(batch, tokenizer, model.encoder.config.max_position_embeddings).to(args.device))
        loss = sum(losses.values())
        if not torch.isfinite(loss):
            raise UserError(f"the loss of step {i} of epoch {epoch} is {loss.item()}; try lower learning rates")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), args.clip)
        optimizer.step()
        for name, part in losses.items():
            totals[name] = totals.get(name, 0.0) + part.item() / len(batches)
    return totals


def train(
    args: argparse.Namespace,
    directory: Path,
    sentences: dict[str, list[Sentence]],
    labels: Labels,
    encoder: BertModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Epochs until the last or until patience ends; after each the state is on disk, whole."""
    torch.manual_seed(args.seed)
    model = Extractor(encoder, labels, args.mixed_precision).to(args.device)
    optimizer = make_optimizer(model, args)
    settings = {k: v for k, v in vars(args).items() if k not in ("name", "device")}
    settings["sha256"] = {split: sha256_of(split_path(args.data, split)) for split in sentences}
    checkpoint.begin(directory, settings, labels, model, tokenizer)
    if (directory / "finished.json").is_file():
        print(f"{directory} is trained already")
        return
    history, best = checkpoint.load_state(directory, model, optimizer)
    examples = make_examples(sentences["train"], tokenizer, labels)
    tasks = tasks_of(labels)
    for epoch in range(len(history) + 1, args.max_epochs + 1):
        if history and len(history) - max(epoch for epoch, _ in best.values()) >= args.patience:
            break
        started = time.perf_counter()
        losses = train_epoch(model, optimizer, examples, epoch, tokenizer, args)
        predicted = extract(model, tokenizer, labels, sentences["dev"])
        dev = f1_of(count(sentences["dev"], predicted, labels.symmetric_relations), tasks)
        improved = {task: (epoch, f1) for task, f1 in dev.items() if f1 > best.get(task, (0, -1.0))[1]}
        if improved:
            checkpoint.save_epoch(directory, epoch, model)
        best |= improved
        seconds = time.perf_counter() - started
        history.append({"epoch": epoch, "loss": losses, "dev_f1": dev, "seconds": round(seconds, 1)})
        checkpoint.save_state(directory, model, optimizer, history, best)
        shown = "  ".join(f"{task} {f1:.2f}" for task, f1 in dev.items())
        print(f"epoch {epoch}: loss {sum(losses.values()):.3f}  dev F1: {shown}  ({seconds:.0f} s)", flush=True)
    record = {"epochs": len(history), "seconds": sum(line["seconds"] for line in history), **environment()}
    write_atomically(directory / "finished.json", json.dumps(record, indent=1) + "\n")
    (directory / checkpoint.STATE).unlink(missing_ok=True)


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    directory = checkpoint.run_directory(args.name)
    sentences = {split: read_sentences(split_path(args.data, split)) for split in ("train", "dev")}
    labels = collect_labels(sentences["train"], args.symmetric_relations, args.patterns)
    if not labels.entity_types:
        raise UserError(f"{split_path(args.data, 'train')} has no entity to learn from")
    encoder, tokenizer = checkpoint.load_encoder(args.encoder)
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory / ".lock", timeout=0):
            train(args, directory, sentences, labels, encoder, tokenizer)
    except Timeout:
        raise UserError(f"another training is writing to {directory}") from None


if __name__ == "__main__":
    run(main)
