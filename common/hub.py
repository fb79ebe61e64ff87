"""What the hub is given: model cards with metadata and, where `--push_to_hub` asks for it, the models themselves."""

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, ModelCardData, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from common.errors import UserError, first_line
from common.files import write_atomically

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


def origin(encoder: str) -> dict[str, Any]:
    """`base_model`, `license` and `language` for the card of a model that was made of an encoder.

    They are those of the encoder's name or of the card in its directory. What is not known is left out.
    """
    if encoder in KNOWN:
        return KNOWN[encoder]
    if not Path(encoder).exists():
        return {"base_model": encoder} if encoder else {}
    try:
        card = ModelCard((Path(encoder) / "README.md").read_text(encoding="utf-8"))
    except Exception:  # there is none, or whatever yaml makes of it
        return {}
    return {name: value for name in ("base_model", "license", "language") if (value := card.data.get(name))}


def datasets(data: str) -> list[str]:
    """The corpus of `--data` for a card: a hub id, or the name of a file without its directory."""
    return [data if "/" in data and not Path(data).exists() else Path(data).stem]


def cell(value: Any) -> str:
    """A value inside a Markdown table."""
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())


def write_card(directory: Path, template: Path, metadata: dict[str, Any], **fields: Any) -> Path:
    """Write DIRECTORY/README.md, a model card as the hub reads it, from a jinja template.

    Args:
        metadata: of `ModelCardData`.
        fields: what the template reads besides `card_data` and `cell`.
    """
    card = ModelCard.from_template(ModelCardData(**metadata), template_path=str(template), cell=cell, **fields)
    write_atomically(directory / "README.md", str(card))
    return directory / "README.md"


def check_repository(repository: str | None) -> None:
    """See, before anything is computed, that `--push_to_hub` can be followed.

    Raises:
        UserError: that is no name of a repository, or nobody is logged in.
    """
    if repository is None:
        return
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"--push_to_hub {repository}: {first_line(error)}") from None
    if get_token() is None:
        raise UserError(f"--push_to_hub {repository}: not logged in; `hf auth login` or the variable HF_TOKEN does it")


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
            f"{directory} could not be pushed to {repository}: {first_line(error)}; it is kept, and the same command "
            "tries again"
        ) from None
    print(f"{directory} is at {url}")
