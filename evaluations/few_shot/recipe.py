"""The recipe of source training and of the episodes: one dataclass, because users give both in one command."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from common.flags import Count, CountOrZero, LearningRate, Length, Seed, Share, flag
from evaluations.few_shot.scores import SCORINGS

PLACE = Path("evaluations/ner/CONTaiNER")  # of data and results, seen from the repository's root


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What every method has; a method's own flags and defaults are a subclass beside it."""

    type: str = flag(help="split of Few-NERD, intra or inter; of other episodes, the --type they were made with")
    way: Count = flag(5, "types per episode")
    shot: Count = flag(1, "entities per type")
    name: str = flag(help="name of the run; its source training is shared by all settings")
    method: str = flag("container", "few-shot method")
    model: str = flag("checkpoints/for_container", "encoder: a directory, a hub id or `minilm`")
    data: Path = flag(PLACE / "data/few-nerd", "directory laid out like the published data")
    output: Path = flag(PLACE / "outputs/few-nerd", "directory of the results")
    device: str = flag("auto", "cpu, cuda, cuda:1, ...; auto: a GPU where there is one")
    mixed_precision: str = flag("no", "bf16: the encoder computes in bfloat16", choices=("no", "bf16"))
    seed: Seed = flag(0, "of the new heads, the order of the data and dropout")
    resume: bool = flag(True, "go on with the episodes that the directory holds; --no_resume refuses it")
    restart: bool = flag(False, "begin anew, and keep what the directory holds in before-N/ in it")

    max_length: Length = flag(128, "word pieces per sentence, [CLS] and [SEP] included")
    batch_size: Count = flag(32, "sentences per step of source training")

    episodes: Count = flag(500, "number of test episodes, from the first")
    processes: Count = flag(1, "number of processes that share the episodes; torchrun and accelerate launch decide it")
    threads: Count = flag(1, "per process on the CPU; another number rounds differently")
    scoring: str = flag("full", "score that is printed; both are stored", choices=SCORINGS)
    predictions: bool = flag(False, "store the predicted labels of every episode too")

    # Arguments that touch neither the trained weights nor an episode's counts, or are recorded by their content's hash
    FREE: ClassVar[frozenset[str]] = frozenset(
        {"name", "model", "data", "output", "device", "resume", "restart"}
        | {"episodes", "processes", "scoring", "predictions"}
    )
    OF_SOURCE: ClassVar[frozenset[str]] = frozenset({"batch_size"})  # touch source training alone
    OF_EPISODES: ClassVar[frozenset[str]] = frozenset({"way", "shot", "method", "threads"})  # touch the episodes alone

    @property
    def run(self) -> Path:
        """The directory of the run: its settings, and its source training in `source`."""
        return self.output / self.type / self.name

    @property
    def setting(self) -> str:
        """The name of the setting's directory: `5-1`, and what is not the default."""
        return "-".join([str(self.way), str(self.shot), *[self.method] * (self.method != Recipe.method)])

    def arguments(self, others: frozenset[str]) -> dict[str, Any]:
        """The arguments that decide a result, which are neither free nor of the `others`."""
        return {name: value for name, value in asdict(self).items() if name not in self.FREE | others}


@dataclass(frozen=True, kw_only=True)
class TrainedRecipe(Recipe):
    """What the methods that train the encoder have besides."""

    learning_rate: LearningRate = flag(1e-4, "of the new heads")
    encoder_learning_rate: LearningRate = flag(1e-5, "of the encoder")
    dropout: Share = flag(0.1, "in the encoder and before the heads, while training")
    epochs: CountOrZero = flag(1, "of source training; 0: the encoder as it is")

    OF_SOURCE: ClassVar = Recipe.OF_SOURCE | {"epochs"}
