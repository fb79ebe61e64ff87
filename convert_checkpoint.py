"""Turn an autoencoder into a plain BERT, used in the same way as the BERT that it was trained from.

    python convert_checkpoint.py --checkpoint checkpoints/bert_base_voa_sparseLT

The result holds the encoder, the masked language modelling head and the tokenizer, and needs transformers alone.
It has no pooler: the method trains none.
"""

import argparse
import copy
import json
import os
import shutil
from pathlib import Path

import transformers
from safetensors import SafetensorError
from transformers import BertForMaskedLM

from common.errors import UserError, run
from common.files import environment, sha256_of, sync_directory
from model import SparseLTForPreTraining, load_autoencoder
from model.checkpoints import tokenizer_of
from training.checkpoints import sync_files
from training.preflight import check_tokenizer

RECORD = "conversion.json"  # marks an earlier result, which may be replaced


def plain_bert(model: SparseLTForPreTraining) -> BertForMaskedLM:
    """The encoder of an autoencoder, with its masked language modelling head; the inverse of `from_encoder`."""
    config = copy.deepcopy(model.config.encoder)
    config.tie_word_embeddings = True  # as in the autoencoder, whatever the BERT it came from did
    bert = BertForMaskedLM(config)
    bert.bert.load_state_dict(model.encoder.state_dict())
    bert.cls.predictions.transform.load_state_dict(model.mlm_transform.state_dict())
    bert.cls.predictions.bias.data.copy_(model.mlm_bias)
    return bert.eval()


def check_output(output: Path, checkpoint: Path) -> None:
    """See that writing `output` loses nothing; both paths are resolved.

    Raises:
        UserError: one lies within the other, or `output` holds something else than an earlier conversion.
    """
    if output.is_relative_to(checkpoint) or checkpoint.is_relative_to(output):
        raise UserError(f"the output {output} and the checkpoint {checkpoint} overlap; choose another --output")
    if output.is_dir():
        if any(output.iterdir()) and not (output / RECORD).is_file():
            raise UserError(f"{output} holds something else than an earlier conversion; choose another --output")
    elif output.exists():
        raise UserError(f"{output} is a file; --output takes a directory")


def convert(checkpoint: Path, output: Path, tokenizer_name: str | None = None) -> None:
    """Write the plain BERT of a checkpoint into a directory, which is whole or, after a failure, as it was.

    Args:
        checkpoint: directory of an autoencoder in our layout or the published one; it is only read.
        output: directory; an earlier conversion there is replaced.
        tokenizer_name: see `model.checkpoints.tokenizer_of`.

    Raises:
        UserError: the checkpoint cannot be read, there is no tokenizer that fits it, `output` overlaps with it,
            holds something else or cannot be written.
    """
    checkpoint, output = checkpoint.resolve(), output.resolve()
    check_output(output, checkpoint)
    model = load_autoencoder(checkpoint)
    tokenizer = tokenizer_of(checkpoint, tokenizer_name)
    check_tokenizer(model, tokenizer, model.config.encoder.max_position_embeddings)
    files = [checkpoint / name for name in ("config.json", "model.safetensors", "pytorch_model.bin")]
    hashes = {file.name: sha256_of(file) for file in files if file.is_file()}
    record = {"checkpoint": str(checkpoint), "sha256": hashes, "environment": environment()}

    beside = output.with_name(f".{output.name}.{os.getpid()}.new")
    earlier = output.with_name(f".{output.name}.{os.getpid()}.old")
    try:
        beside.mkdir(parents=True)
        plain_bert(model).save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        (beside / RECORD).write_text(json.dumps(record, indent=1))
        sync_files(beside)
        if output.exists():
            output.rename(earlier)
        beside.rename(output)
        sync_directory(output.parent)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {output}: {error}; what was there is untouched") from None
    finally:
        if earlier.exists() and not output.exists():
            earlier.rename(output)
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="directory of the autoencoder")
    add("--output", type=Path, default=Path("checkpoints/for_container"), help="directory of the plain BERT")
    add("--tokenizer", help="instead of the checkpoint's own: hub id, `minilm` or directory")
    args = parser.parse_args(argv)
    transformers.logging.disable_progress_bar()
    convert(args.checkpoint, args.output, args.tokenizer)
    print(f"{args.output} is a plain BERT: AutoModel.from_pretrained({str(args.output)!r})")


if __name__ == "__main__":
    run(main)
