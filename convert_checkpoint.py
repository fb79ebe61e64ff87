"""Turn an autoencoder into a plain encoder, used in the same way as the one that it was trained from.

    python convert_checkpoint.py                                    # the newest finished run under checkpoints/
    python convert_checkpoint.py --checkpoint checkpoints/bert_base_voa_sparseLT

The result holds the encoder, the masked language modelling head and the tokenizer, and requires transformers alone.
It has no pooler: the method trains none.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError

from common.errors import UserError, run
from common.files import check_name, environment, sha256_of, sync_directory, sync_files
from common.flags import flag, parse
from common.hub import check_repository, push
from encoders import check_tokenizer, quiet, to_plain
from model import load_autoencoder, tokenizer_of
from training.cards import write_encoder_card
from training.checkpoints import newest_run

RECORD = "conversion.json"  # marks an earlier result, which may be replaced


@dataclass(frozen=True, kw_only=True)
class Conversion:
    checkpoint: Path | None = flag(None, "directory of the autoencoder (default: the newest finished run)")
    output: Path = flag(Path("checkpoints/for_container"), "directory of the plain encoder")
    push_to_hub: str | None = flag(
        None, "hub repository to upload the encoder to, private if it is new; nothing is uploaded without it"
    )
    tokenizer: str | None = flag(None, "tokenizer instead of the checkpoint's own: hub id, `minilm` or directory")


def check_output(output: Path, checkpoint: Path) -> None:
    """See that writing `output` loses nothing, else a `UserError`; both paths are resolved."""
    check_name(output)
    if output.is_relative_to(checkpoint) or checkpoint.is_relative_to(output):
        raise UserError(f"the output {output} and the checkpoint {checkpoint} overlap; choose another --output")
    if output.is_dir():
        if any(output.iterdir()) and not (output / RECORD).is_file():
            raise UserError(f"{output} holds something else than an earlier conversion; choose another --output")
    elif output.exists():
        raise UserError(f"{output} is a file; --output takes a directory")


def convert(checkpoint: Path, output: Path, tokenizer_name: str | None = None) -> None:
    """Write the plain encoder of a checkpoint into a directory, which is whole or, after a failure, as it was.

    Args:
        checkpoint: directory of an autoencoder in our layout or the published one; it is only read.
        output: directory; an earlier conversion there is replaced.
        tokenizer_name: see `model.tokenizer_of`.

    Raises:
        UserError: the checkpoint cannot be read, no tokenizer fits it, or `output` overlaps with it, holds something
            else or cannot be written.
    """
    checkpoint, output = checkpoint.resolve(), output.resolve()
    check_output(output, checkpoint)
    model = load_autoencoder(checkpoint)
    tokenizer = tokenizer_of(checkpoint, tokenizer_name)
    check_tokenizer(model.config.encoder, tokenizer)
    names = ("config.json", "model.safetensors", "pytorch_model.bin")
    hashes = {name: sha256_of(checkpoint / name) for name in names if (checkpoint / name).is_file()}
    record = {"checkpoint": str(checkpoint), "sha256": hashes, "environment": environment()}

    beside = output.with_name(f".{output.name}.{os.getpid()}.new")
    earlier = output.with_name(f".{output.name}.{os.getpid()}.old")
    try:
        beside.mkdir(parents=True)
        with quiet():
            to_plain(model.plain).save_pretrained(beside)
        tokenizer.save_pretrained(beside)
        write_encoder_card(beside, output.name, checkpoint)
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
    flags = parse(Conversion, argv, __doc__)
    check_repository(flags.push_to_hub)
    checkpoint = flags.checkpoint or newest_run(Path("checkpoints"))
    convert(checkpoint, flags.output, flags.tokenizer)
    print(f"{flags.output} is the plain encoder of {checkpoint}: AutoModel.from_pretrained({str(flags.output)!r})")
    push(flags.output, flags.push_to_hub, sorted({path.name for path in flags.output.iterdir()} - {RECORD}))


if __name__ == "__main__":
    run(main)
