"""What the extractor is measured against: the same encoder with one linear layer that tags words, entities only."""

from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from encoders.cpu import Dropout
from evaluations.supervised_ie.batches import Batch
from evaluations.supervised_ie.data import Entity, Sentence
from evaluations.supervised_ie.labels import Labels
from evaluations.supervised_ie.model import hidden_states

DROPOUT = 0.1


class TokenClassifier(nn.Module):
    """A linear layer over the last layer's state of each word's first piece, and a softmax over BIO tags."""

    def __init__(self, encoder: PreTrainedModel, labels: Labels, mixed_precision: str):
        super().__init__()
        self.encoder, self.labels, self.mixed_precision = encoder, labels, mixed_precision
        self.dropout = Dropout(DROPOUT)
        self.score = nn.Linear(encoder.config.hidden_size, len(labels.entity_tags))

    def logits(self, batch: Batch) -> Tensor:
        """(W, L) of all words of the batch."""
        states = hidden_states(self.encoder, batch, self.mixed_precision)[-1].flatten(0, 1).float()  # (R * S, H)
        return self.score(self.dropout(states[batch.piece_positions[batch.word_offsets]]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean cross entropy over words."""
        tags = torch.from_numpy(np.concatenate([gold["entity_tags"] for gold in batch.gold])).to(batch.input_ids.device)
        return {"tags": F.cross_entropy(self.logits(batch), tags)}

    @torch.no_grad()
    def predict(self, batch: Batch) -> list[Sentence]:
        """The sentences with the entities that the most probable tag of each word spells."""
        tags = iter([self.labels.entity_tags[tag] for tag in self.logits(batch).argmax(dim=1).tolist()])  # of all words
        return [
            Sentence(s.doc_id, s.sent_id, s.tokens, chunks(list(islice(tags, len(s.tokens))))) for s in batch.sentences
        ]


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
