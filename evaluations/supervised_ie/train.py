"""Train an extractor on a prepared corpus; run again with the same flags, it goes on where it was stopped."""

import time
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import ClassVar, Literal

import torch
from torch import nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from common.errors import UserError, run
from common.files import sha256_of
from common.flags import Count, CountOrZero, LearningRate, Positive, Seed, Weight, flag, parse
from common.hardware import pick_device
from common.seeds import seed_of
from encoders import fingerprint, load_encoder, max_positions, tokenizer_fingerprint
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.batches import Example, collate, make_examples, shuffled_batches
from evaluations.supervised_ie.card import write_model_card
from evaluations.supervised_ie.data import Sentence, read_sentences, split_path
from evaluations.supervised_ie.labels import Labels, collect_labels
from evaluations.supervised_ie.predict import extract
from evaluations.supervised_ie.scores import count, f1_of, tasks_of
from runs import MetricsLog, RunDirectory, read_metrics
from runs.directory import disk_errors
from training.schedules import linear_schedule


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The published recipe, and what it is applied to."""

    FREE: ClassVar[frozenset[str]] = frozenset(
        {"model", "data", "name", "patterns", "symmetric_relations", "device", "resume", "restart"}
    )

    model: str = flag(help="encoder: directory, hub id, or `minilm`")
    data: str = flag(help="directory with train.oneie.jsonl and dev.oneie.jsonl")
    name: str = flag(help="name of the run, its folder in outputs/, or a path with a slash")
    method: Literal["oneie", "token_classifier"] = flag(
        "oneie", "OneIE's model, or one linear layer that tags words, for entities only"
    )
    max_epochs: Count = flag(100, "most epochs; the learning rate falls to 0 over them")
    patience: Count = flag(10, "epochs in a row without a better dev F1 of any task, after which training stops")
    batch_size: Count = flag(10, "sentences a step")
    encoder_learning_rate: LearningRate = flag(1e-5, "peak learning rate of the encoder")
    learning_rate: LearningRate = flag(1e-4, "peak learning rate of everything else")
    encoder_weight_decay: Weight = flag(1e-5, "AdamW's decay of the encoder")
    weight_decay: Weight = flag(1e-3, "AdamW's decay of everything else")
    warmup_epochs: CountOrZero = flag(5, "epochs over which the rates rise from 0, all at most")
    max_grad_norm: Positive = flag(5.0, "largest norm of the gradient")
    seed: Seed = flag(0, "seed of the new weights, the order and the dropout")
    mixed_precision: Literal["no", "bf16"] = flag("no", "bf16: the encoder computes in bfloat16")
    patterns: str | None = flag(None, "directory of OneIE's valid-pattern files; none: read off the training data")
    symmetric_relations: list[str] = flag(
        ["PER-SOC", "personalsocial"], "relation types whose order is free; a name that is no type for none"
    )
    device: str = flag("auto", "where to compute: auto, cpu, cuda, cuda:1, ...")
    resume: bool = flag(True, "go on with the run that the directory holds; --no_resume refuses it")
    restart: bool = flag(False, "begin anew, and keep the run that the directory holds in before-N/ in it")


def make_optimizer(model: checkpoint.Model, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with the encoder's rates for `model.encoder` and the others' for the rest."""
    encoder = dict.fromkeys(model.encoder.parameters())  # a set in its order
    rest = [p for p in model.parameters() if p not in encoder]
    groups = [
        {"params": list(encoder), "peak_lr": recipe.encoder_learning_rate, "weight_decay": recipe.encoder_weight_decay},
        {"params": rest, "peak_lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
    ]
    return torch.optim.AdamW(groups, fused=True)


def train_epoch(
    model: checkpoint.Model,
    optimizer: torch.optim.Optimizer,
    examples: list[Example],
    epoch: int,
    tokenizer: PreTrainedTokenizerBase,
    recipe: Recipe,
) -> dict[str, float]:
    """One pass over the examples, a pure function of its inputs: the mean of each part of the loss; a `UserError` if
    it is no longer a number."""
    model.train()
    torch.manual_seed(seed_of(recipe.seed, epoch))  # dropout of a resumed run is that of an unbroken one
    batches = shuffled_batches(examples, recipe.batch_size, recipe.seed, epoch)
    warmup, last = min(recipe.warmup_epochs, recipe.max_epochs) * len(batches), recipe.max_epochs * len(batches)
    longest = max_positions(model.encoder.config)
    totals: dict[str, float] = {}
    for i, batch in enumerate(tqdm(batches, desc=f"epoch {epoch}", leave=False, disable=None)):
        share = linear_schedule((epoch - 1) * len(batches) + i, warmup, last)
        for group in optimizer.param_groups:
            group["lr"] = share * group["peak_lr"]
        losses = model.loss(collate(batch, tokenizer, longest).to(model.encoder.device))
        loss = torch.stack([*losses.values()]).sum()
        if not torch.isfinite(loss):
            raise UserError(f"the loss of step {i} of epoch {epoch} is {loss.item()}; try lower learning rates")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        optimizer.step()
        for name, part in losses.items():
            totals[name] = totals.get(name, 0.0) + part.item() / len(batches)
    return totals


def train(
    recipe: Recipe,
    run: RunDirectory,
    sentences: dict[str, list[Sentence]],
    labels: Labels,
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """Epochs until the last or until patience ends; after each the state is on disk, whole."""
    torch.manual_seed(seed_of(recipe.seed, 0))
    model = checkpoint.METHODS[recipe.method](encoder, labels, recipe.mixed_precision).to(pick_device(recipe.device))
    optimizer = make_optimizer(model, recipe)
    with disk_errors(run.path):
        labels.save(run.path / "labels.json")
        encoder.config.save_pretrained(run.path / "encoder")
        tokenizer.save_pretrained(run.path / "encoder")
        done, best = checkpoint.load_state(run.path, model, optimizer)
        log = MetricsLog(run.path, resumed_after=done, key="epoch")
    if done:
        print(f"{run.path}: goes on after epoch {done}", flush=True)
    examples = make_examples(sentences["train"], tokenizer, labels)
    tasks = tasks_of(labels)
    for epoch in range(done + 1, recipe.max_epochs + 1):
        if best and epoch - 1 - max(of_task for of_task, _ in best.values()) >= recipe.patience:
            break
        started = time.perf_counter()
        losses = train_epoch(model, optimizer, examples, epoch, tokenizer, recipe)
        predicted = extract(model, tokenizer, sentences["dev"])
        dev = f1_of(count(sentences["dev"], predicted, labels.symmetric_relations), tasks)
        improved = {task: (epoch, f1) for task, f1 in dev.items() if f1 > best.get(task, (0, -1.0))[1]}
        best |= improved
        seconds = time.perf_counter() - started
        with disk_errors(run.path):
            if improved:
                checkpoint.save_epoch(run.path, epoch, model)
            log.write(epoch, {"loss": losses, "dev_f1": dev, "seconds": round(seconds, 1)})
            log.sync()
            checkpoint.save_state(run.path, model, optimizer, epoch, best)
        shown = "  ".join(f"{task} {f1:.2f}" for task, f1 in dev.items())
        print(f"epoch {epoch}: loss {sum(losses.values()):.3f}  dev F1: {shown}  ({seconds:.0f} s)", flush=True)
    log.close()
    epochs = read_metrics(run.path, "epoch")
    with disk_errors(run.path):
        write_model_card(run.path)
    run.finish({"epochs": len(epochs), "seconds": sum(line["seconds"] for line in epochs)})


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    paths = {split: split_path(recipe.data, split) for split in ("train", "dev")}
    sentences = {split: read_sentences(path) for split, path in paths.items()}
    if recipe.method == "token_classifier":
        sentences["train"] = [Sentence(s.doc_id, s.sent_id, s.tokens, s.entities) for s in sentences["train"]]
    labels = collect_labels(sentences["train"], recipe.symmetric_relations, recipe.patterns)
    if not labels.entity_types:
        raise UserError(f"{paths['train']} has no entity to learn from")
    encoder, tokenizer = load_encoder(recipe.model)
    if encoder.config.num_hidden_layers < 2:
        raise UserError(f"the encoder `{recipe.model}` has one layer; word vectors need the third state from the end")
    inputs = {f"{split} data": sha256_of(path) for split, path in paths.items()} | {
        "labels": sha256(labels.as_json().encode()).hexdigest(),
        "encoder": fingerprint(encoder),
        "tokenizer": tokenizer_fingerprint(tokenizer),
    }
    with RunDirectory(checkpoint.run_directory(recipe.name)) as run:
        if (run.path / checkpoint.SETTINGS).exists() and not recipe.restart:
            raise UserError(f"{run.path} holds a run of an older version of this project, which cannot be resumed")
        run.begin(asdict(recipe), inputs, recipe.FREE, recipe.resume, recipe.restart)
        if run.finished:
            print(f"{run.path} is finished; nothing to do")
        else:
            train(recipe, run, sentences, labels, encoder, tokenizer)
        (run.path / checkpoint.STATE).unlink(missing_ok=True)


if __name__ == "__main__":
    run(main, training=True)
