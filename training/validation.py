"""The figures on held-out sentences."""

import torch
from accelerate import Accelerator
from datasets import Dataset
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from transformers import PreTrainedTokenizerBase

from data.batches import Batches
from model import SparseLTForPreTraining
from model.describe import describe
from model.losses import IGNORED, entropy

BLEU_SENTENCES = 64


def reconstruction_bleu(
    model: SparseLTForPreTraining, tokenizer: PreTrainedTokenizerBase, dataset: Dataset, max_length: int
) -> float:
    """Corpus BLEU (in percent; Papineni et al. 2002, smoothing method 1 of Chen and Cherry 2014) of greedy
    reconstructions of the first `BLEU_SENTENCES` sentences, over the tokenizer's words."""
    ids = dataset[:BLEU_SENTENCES]["input_ids"]
    sentences = [tokenizer.decode(i, skip_special_tokens=True) for i in ids]
    rebuilt = [description.reconstruction for description in describe(model, tokenizer, sentences, max_length)]
    references = [[sentence.split()] for sentence in sentences]
    smoothing = SmoothingFunction().method1
    return 100 * corpus_bleu(references, [text.split() for text in rebuilt], smoothing_function=smoothing)


@torch.no_grad()
def validate(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    dataset: Dataset,
    batch_size: int,
    max_length: int,
    accelerator: Accelerator,
    mlm_only: bool,
) -> dict[str, float]:
    """Losses (means of the batches'), accuracies and types on held-out sentences, types chosen hard.

    The masking is the same at every call and for every run. All processes take part and get the same figures.

    Returns:
        mlm_loss, mlm_accuracy; unless `mlm_only` also reconstruction_loss, sparsity_loss, kl_loss,
        reconstruction_accuracy, share_typed (accuracies and shares in 0..1), type_perplexity and bleu (percent).
    """
    was_training = model.training
    model.eval()
    batch_size = max(min(batch_size, len(dataset)), accelerator.num_processes)  # every process gets a sentence
    batches = Batches(
        dataset, tokenizer, batch_size, max_length, 0, accelerator.process_index, accelerator.num_processes
    )
    losses = ["mlm_loss"]
    if not mlm_only:
        losses += ["reconstruction_loss", "sparsity_loss", "kl_loss", "share_typed"]
    count = max(1, len(dataset) // batch_size)
    sums = torch.zeros(len(losses), device=accelerator.device)
    hits = torch.zeros(4, device=accelerator.device)  # right and counted: of the MLM, of the reconstruction
    p: torch.Tensor | float = 0.0
    for step in range(count):
        batch = {key: value.to(accelerator.device) for key, value in batches[step].items()}
        input_ids = None if mlm_only else batch["input_ids"]
        with accelerator.autocast():
            output = model(**batch | {"input_ids": input_ids}, return_logits=True)
        sums += torch.stack([output[name] for name in losses])
        labels = batch["mlm_labels"].flatten()[batch["mlm_positions"]]
        hits[0] += (output.mlm_logits.argmax(-1) == labels).sum()
        hits[1] += labels.numel()
        if not mlm_only:
            p = p + output.type_distribution / count
            labels = model.next_tokens(input_ids, batch["attention_mask"])
            hits[2] += (output.reconstruction_logits.argmax(-1) == labels).sum()  # never equal where ignored
            hits[3] += (labels != IGNORED).sum()
    figures = dict(zip(losses, (sums / count).tolist(), strict=True))
    hits = accelerator.reduce(hits)
    figures["mlm_accuracy"] = (hits[0] / hits[1].clamp(min=1)).item()
    if not mlm_only:
        figures["reconstruction_accuracy"] = (hits[2] / hits[3].clamp(min=1)).item()
        figures["type_perplexity"] = entropy(p).exp().item()
        figures["bleu"] = reconstruction_bleu(model, tokenizer, dataset, max_length)
    model.train(was_training)
    return figures
