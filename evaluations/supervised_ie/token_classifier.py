"""A sanity line for the extractor: the same encoder with one linear layer that tags words, entities only.

Takes the flags of `train`; trains in one go and scores test (or dev) with the epoch that was best on dev.
"""

import json

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertModel

from common.cpu import Dropout
from common.errors import run
from common.files import environment, write_atomically
from evaluations.supervised_ie import checkpoint
from evaluations.supervised_ie.batches import Batch, collate, make_examples, sorted_batches
from evaluations.supervised_ie.data import Entity, Sentence, read_sentences, split_path
from evaluations.supervised_ie.labels import Labels, collect_labels
from evaluations.supervised_ie.model import hidden_states
from evaluations.supervised_ie.predict import POSITIONS
from evaluations.supervised_ie.scores import count, f1_of, summary
from evaluations.supervised_ie.train import make_optimizer, parse_args, train_epoch

DROPOUT = 0.1


class TokenClassifier(nn.Module):
    """A linear layer over the last layer's state of each word's first piece, and a softmax over BIO tags."""

    def __init__(self, encoder: BertModel, labels: Labels, mixed_precision: str):
        super().__init__()
        self.encoder, self.tags, self.mixed_precision = encoder, labels.entity_tags, mixed_precision
        self.dropout = Dropout(DROPOUT)
        self.score = nn.Linear(encoder.config.hidden_size, len(self.tags))

    def logits(self, batch: Batch) -> Tensor:
        """(W, L) of all words of the batch."""
        states = hidden_states(self.encoder, batch, self.mixed_precision)[-1].flatten(0, 1).float()  # (R * S, H)
        return self.score(self.dropout(states[batch.piece_positions[batch.word_offsets]]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean cross entropy over words."""
        tags = torch.tensor([tag for gold in batch.gold for tag in gold.entity_tags], device=batch.input_ids.device)
        return {"tags": F.cross_entropy(self.logits(batch), tags)}

    @torch.no_grad()
    def tag(self, batch: Batch) -> list[Sentence]:
        """The sentences with the entities that the most probable tag of each word spells."""
        best = self.logits(batch).argmax(dim=1)
        tagged = []
        for sentence, words, mask in zip(batch.sentences, batch.word_grid, batch.word_mask, strict=True):
            names = [self.tags[tag] for tag in best[words[mask]].tolist()]
            tagged.append(Sentence(sentence.doc_id, sentence.sent_id, sentence.tokens, chunks(names)))
        return tagged


def chunks(names: list[str]) -> list[Entity]:
    """Entities of BIO tags read as conlleval does: I-X that does not continue an X begins one."""
    entities: list[Entity] = []
    before = "O"
    for i, name in enumerate(names):
        if name.startswith("I-") and before[2:] == name[2:]:
            entities[-1] = Entity(entities[-1].start, i + 1, name[2:])
        elif name != "O":
            entities.append(Entity(i, i + 1, name[2:]))
        before = name
    return entities


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    scored = "test" if split_path(args.data, "test").is_file() else "dev"
    splits = {split: read_sentences(split_path(args.data, split)) for split in {"train", "dev", scored}}
    labels = collect_labels(splits["train"], [])
    torch.manual_seed(args.seed)
    encoder, tokenizer = checkpoint.load_encoder(args.encoder)
    model = TokenClassifier(encoder, labels, args.mixed_precision).to(args.device)
    optimizer = make_optimizer(model, args)
    examples = make_examples(splits["train"], tokenizer, labels)

    def counts(split: str) -> dict:
        model.eval()
        predicted = {}
        for batch in sorted_batches(make_examples(splits[split], tokenizer), POSITIONS):
            laid_out = collate(batch, tokenizer, encoder.config.max_position_embeddings).to(args.device)
            for of_batch, sentence in zip(laid_out.sentences, model.tag(laid_out), strict=True):
                predicted[id(of_batch)] = sentence
        return count(splits[split], [predicted[id(sentence)] for sentence in splits[split]])

    best = (-1.0, 0, {})  # dev F1, epoch, counts of the scored split
    for epoch in range(1, args.max_epochs + 1):
        losses = train_epoch(model, optimizer, examples, epoch, tokenizer, args)
        dev = f1_of(counts("dev"), ["entity"])["entity"]
        print(f"epoch {epoch}: loss {losses['tags']:.3f}  dev F1: entity {dev:.2f}", flush=True)
        if dev > best[0]:
            best = (dev, epoch, counts(scored))
        if epoch - best[1] >= args.patience:
            break
    line = {"split": scored, "epoch": best[1], "dev_f1": best[0], **summary(best[2], ["entity"])["entity"]}
    print(f"{scored}: entity F1 {line['f1']:.2f} ({line['low']:.2f} - {line['high']:.2f}), epoch {line['epoch']}")
    directory = checkpoint.run_directory(args.name)
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / "token_classifier.json", json.dumps({**line, "environment": environment()}) + "\n")


if __name__ == "__main__":
    run(main)
