"""Few-shot named entity recognition, for any encoder: CONTaiNER (Das et al., ACL 2022) and others, on Few-NERD or your
own sentences."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evaluations.few_shot.tagger import FewShotTagger as FewShotTagger

__all__ = ["FewShotTagger"]


def __getattr__(name: str) -> Any:  # torch and the methods are imported only where the tagger is asked for
    if name == "FewShotTagger":
        from evaluations.few_shot.tagger import FewShotTagger

        return FewShotTagger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
