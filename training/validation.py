"""The metrics on held-out sentences."""

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from data.batches import Batches
from encoders import IGNORED
from model import SparseLTForPreTraining
from model.describe import bleu, describe
from model.losses import entropy
from training.recipe import Recipe

BLEU_SENTENCES = 64


@torch.no_grad()
def validate(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    recipe: Recipe,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Metrics on held-out sentences, types chosen hard: every NAME_loss and the model's own (means of the batches'),
    mlm_accuracy; unless that is all that is trained also reconstruction_accuracy (both in 0..1), and bleu (percent) of
    greedy reconstructions of the first `BLEU_SENTENCES`.

    The masking is the same at every call and for every run. All processes take part and get the same numbers.
    """
    was_training = model.training
    model.eval()
    rank, world_size = accelerator.process_index, accelerator.num_processes
    batch_size = max(min(recipe.batch_size, len(dataset)), world_size)  # every process gets a sentence
    batches = Batches(dataset, tokenizer, batch_size, recipe.max_length, 0, rank, world_size)
    count = max(1, len(dataset) // batch_size)
    means: dict[str, torch.Tensor] = {}
    hits = torch.zeros(4, device=accelerator.device)  # right and counted: of the MLM, of the reconstruction
    p = torch.zeros((), device=accelerator.device)
    for step in range(count):
        batch = {key: value.to(accelerator.device) for key, value in batches[step].items()}
        input_ids = None if recipe.mlm_only else batch["input_ids"]
        with accelerator.autocast():
            output = model(**batch | {"input_ids": input_ids}, return_logits=True)
        for name, value in output.named_scalars().items():
            means[name] = means.get(name, 0) + value / count
        labels = batch["mlm_labels"].flatten()[batch["mlm_positions"]]
        hits[0] += (output.mlm_logits.argmax(-1) == labels).sum()
        hits[1] += labels.numel()
        if not recipe.mlm_only:
            p = p + output.type_distribution / count
            labels = model.next_tokens(batch["input_ids"], batch["attention_mask"])
            hits[2] += (output.reconstruction_logits.argmax(-1) == labels).sum()  # never equal where ignored
            hits[3] += (labels != IGNORED).sum()
    metrics = {name: value.item() for name, value in means.items()}
    hits = accelerator.reduce(hits)
    metrics["mlm_accuracy"] = (hits[0] / hits[1].clamp(min=1)).item()
    if not recipe.mlm_only:
        metrics["reconstruction_accuracy"] = (hits[2] / hits[3].clamp(min=1)).item()
        metrics["type_perplexity"] = entropy(p).exp().item()  # of all the batches together
        ids = dataset[:BLEU_SENTENCES]["input_ids"]
        sentences = [str(tokenizer.decode(i, skip_special_tokens=True)) for i in ids]
        described = describe(model, tokenizer, sentences, recipe.max_length)
        metrics["bleu"] = bleu(sentences, [description.reconstruction for description in described])
    model.train(was_training)
    return metrics
