"""What the hub is given: model cards with metadata and, where `--push_to_hub` asks for it, the models themselves."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData, constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.repocard import metadata_load
from huggingface_hub.utils import validate_repo_id

from common.errors import UserError, first_line
from common.files import write_atomically

FILE = re.compile(r"(\.(txt|csv|tsv|jsonl?|parquet|arrow|gz|bz2|xz|zst))+$", re.IGNORECASE)  # how names of files end

# What the cards of well-known encoders say.
KNOWN = {
    name: {"base_model": base, "license": terms, "language": "en"}
    for name, base, terms in [
        ("minilm", "sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
        ("bert-base-uncased", "google-bert/bert-base-uncased", "apache-2.0"),
        ("bert-base-cased", "google-bert/bert-base-cased", "apache-2.0"),
        ("roberta-base", "FacebookAI/roberta-base", "mit"),
    ]
}


def on_hub(name: str) -> str | None:
    """The hub id in a name of a model or data set (ID or ID:CONFIG); None if it is, or was elsewhere, a path."""
    path, repository = Path(name), name.split(":")[0]
    if not name or path.is_absolute() or path.exists() or name[0] in ".~" or FILE.search(repository) or "://" in name:
        return None
    with suppress(HFValidationError):
        validate_repo_id(repository)
        return repository
    return None


def card_of(directory: Path, *names: str) -> dict[str, Any]:
    """What the metadata of DIRECTORY/README.md say under these names; nothing if there is no such card."""
    try:
        found = metadata_load(directory / "README.md") or {}
        return {name: found[name] for name in names if found.get(name)}
    except Exception:  # there is none, or whatever yaml makes of it
        return {}


def origin(encoder: str) -> dict[str, Any]:
    """`base_model`, `license` and `language`, as far as known, for the card of a model that was made of an encoder."""
    if encoder in KNOWN:
        return KNOWN[encoder]
    if encoder and Path(encoder).exists():
        return card_of(Path(encoder), "base_model", "license", "language")
    return {"base_model": found} if (found := on_hub(encoder)) else {}


def corpus_of(data: str) -> tuple[str, list[str] | None]:
    """The corpus of `--data` for a card: its name (a file's without directory and suffix), and the hub's data sets, if
    any."""
    if "/" in (found := on_hub(data) or ""):  # without an owner it is a file in data/ or a bundled corpus
        return found, [found]
    return FILE.sub("", Path(data).name), None


def cell(value: Any) -> str:
    """A value inside a Markdown table."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def write_card(directory: Path, template: Path, metadata: dict[str, Any], **fields: Any) -> Path:
    """Write DIRECTORY/README.md, a model card, from a jinja template that reads `card_data`, `cell` and `fields`."""
    card = ModelCard.from_template(ModelCardData(**metadata), template_path=str(template), cell=cell, **fields)
    write_atomically(directory / "README.md", str(card))
    return directory / "README.md"


def check_repository(repository: str | None) -> None:
    """Raise a `UserError` if `--push_to_hub` names no repository, nobody is logged in, or the hub is out of reach."""
    if repository is None:
        return
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"--push_to_hub {repository}: the variable HF_HUB_OFFLINE says that there is no network")
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"--push_to_hub {repository}: {first_line(error)}") from None
    if get_token() is None:
        raise UserError(f"--push_to_hub {repository}: not logged in; `hf auth login` or the variable HF_TOKEN does it")


def reason(error: Exception) -> str:
    """What the hub or the network says, in one line: the first of its lines is often the status alone."""
    lines = (line.strip() for line in str(error).splitlines() if not line.startswith("For more information"))
    return " ".join(filter(None, lines))[:500] or type(error).__name__


def push(directory: Path, repository: str | None, files: list[str] | None = None) -> None:
    """Upload a directory, or some files of it, to a repository, private if it is new; nothing where none is named.

    Raises:
        UserError: the hub does not take it; the directory is as it was.
    """
    if repository is None:
        return
    try:
        url = HfApi().create_repo(repository, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=url.repo_id, folder_path=directory, allow_patterns=files)
    except Exception as error:  # of the hub, of the network, of the disk
        raise UserError(
            f"{directory} could not be pushed to {repository}: {reason(error)}; it is kept, and the same command "
            "tries again"
        ) from None
    print(f"{directory} is at {url}")
