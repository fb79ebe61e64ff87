"""Batches for the tests of the autoencoder, and what it makes of them."""

import torch

LOSSES = ["mlm", "reconstruction", "sparsity", "kl"]
WEIGHTS = {"mlm": 1, "reconstruction": 0.05, "sparsity": 0.05, "kl": 0.1}


def lay_out(rows, width, tokenizer, padding_id=0):
    """A batch with the given sentences (lists of ids) in each row; in each, every fourth token is masked."""
    batch = {
        "input_ids": torch.full((len(rows), width), padding_id),
        "masked_input_ids": torch.full((len(rows), width), padding_id),
        "attention_mask": torch.zeros(len(rows), width, dtype=torch.long),
        "mlm_labels": torch.full((len(rows), width), -100),
    }
    for r, row in enumerate(rows):
        start = 0
        for number, ids in enumerate(row, 1):
            ids = torch.tensor(ids)
            chosen = torch.zeros(len(ids), dtype=torch.bool)
            chosen[1:-1:4] = True
            place = (r, slice(start, start + len(ids)))
            batch["input_ids"][place] = ids
            batch["masked_input_ids"][place] = ids.masked_fill(chosen, tokenizer.mask_token_id)
            batch["attention_mask"][place] = number
            batch["mlm_labels"][place] = ids.masked_fill(~chosen, -100)
            start += len(ids)
    return batch


def scalars(output):
    """The losses and metrics of an output as numbers."""
    return {name: value.item() for name, value in output.named_scalars().items()}


def weighted_total(output):
    """The loss that is trained, with the paper's weights."""
    return sum(WEIGHTS[name] * loss for name, loss in output.losses.items())


def gradients(model, batch):
    """The gradient of the weighted total, by parameter."""
    output = model(**batch)
    model.zero_grad()
    weighted_total(output).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}
