"""CONTaiNER (Das et al. 2022, section 3.3): fine-tuned on the support set, then tagging as StructShot does."""

from collections.abc import Sequence

from evaluations.few_shot.data import Sentence
from evaluations.few_shot.methods.optimisation import FineTuning
from evaluations.few_shot.methods.structshot import StructShot


class Container(StructShot):
    """StructShot, fine-tuned for each episode."""

    def fit(self, support: Sequence[Sentence], labels: list[str]) -> list[float]:
        """Fine-tune on the support set until the loss rises above the one before, for which there is no update."""
        super().fit(support, labels)
        self.tuning = self.tuning or [FineTuning(self.encoder, self.heads.parameters(), self.recipe)]
        packed = self.pack(self.support)
        self.train()
        losses = self.tuning[0].run(
            packed,
            lambda embedded: self.loss(packed, self.support_labels, embedded),
            lambda losses: losses[-1] > min(losses[-2:]),
            self.recipe.max_steps,
        )
        self.eval()
        return losses
