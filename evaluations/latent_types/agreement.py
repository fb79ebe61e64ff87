"""Do latent types agree with entity types that people annotated, and more than they would by the architecture alone?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, v_measure_score
from sklearn.metrics.cluster import contingency_matrix
from transformers import PreTrainedTokenizerBase

from common.errors import UserError
from encoders import Encoded, WordPieces, load_encoder, token_states
from evaluations.few_shot.data import read_labelled
from evaluations.latent_types.typed_corpus import types_of
from model import SparseLTForPreTraining

CONTROL_SEEDS = 3


@dataclass
class Measures:
    """Agreement of a clustering with gold entity types, see `measure`; all in 0..1 except `ratio`."""

    v_measure: float
    nmi: float
    purity: float
    typed_entities: float | None = None  # share of entity tokens that are typed; None where all clusters are alike
    typed_others: float | None = None
    ratio: float | None = None  # of the two; None where no other token is typed


@dataclass
class Result:
    """The measures of one way to cluster tokens, once per seed."""

    name: str
    runs: list[Measures]

    def mean(self, measure: str) -> float | None:
        """Of a measure over the seeds; None where it does not apply."""
        values = [getattr(run, measure) for run in self.runs]
        return None if None in values else float(np.mean(values))

    def deviation(self, measure: str) -> float | None:
        """Its sample standard deviation; None of a single run, too."""
        if len(self.runs) < 2 or self.mean(measure) is None:
            return None
        return float(np.std([getattr(run, measure) for run in self.runs], ddof=1))


@dataclass
class LabelledTokens:
    """The word pieces of some sentences, and the gold labels of their K words; a word's first piece stands for it."""

    sentences: list[Encoded]
    labels: np.ndarray  # (K,) strings

    @property
    def entity(self) -> np.ndarray:
        """(K,) whether a word belongs to an entity."""
        return self.labels != "O"


def load_labelled(
    path: Path, tokenizer: PreTrainedTokenizerBase, max_length: int, most: int, seed: int, bio: str = "refuse"
) -> LabelledTokens:
    """At most so many sentences of a file of `word TAB label` lines, drawn without replacement; words behind
    `max_length` are left out. `bio` is that of `read_labelled`.

    Raises:
        UserError: the file is not in the format, or no drawn sentence has an entity of two different types.
    """
    read = read_labelled(path, bio)
    if not read:
        raise UserError(f"{path} holds no labelled sentence")
    drawn = [read[i] for i in np.sort(np.random.default_rng(seed).permutation(len(read))[:most])]
    words = WordPieces(tokenizer, max_length)
    sentences = [words.encode(sentence.words) for sentence in drawn]
    labels = [label for s, pieces in zip(drawn, sentences, strict=True) for label in s.labels[: len(pieces.first)]]
    tokens = LabelledTokens(sentences, np.array(labels, dtype=str))
    if len(set(tokens.labels[tokens.entity])) < 2:
        raise UserError(f"{path}: the {len(drawn)} sentences drawn have no two entity types to tell apart")
    return tokens


def measure(clusters: np.ndarray, tokens: LabelledTokens, zero_is_untyped: bool) -> Measures:
    """Compare the clusters of the K words, (K,), with their gold labels.

    V-measure is the harmonic mean of homogeneity and completeness (Rosenberg and Hirschberg 2007); NMI divides the
    mutual information by the geometric mean of the entropies (Strehl and Ghosh 2002), the arithmetic one giving the
    V-measure again; purity is the share of tokens with their cluster's commonest label. All are over the entity tokens
    only, `not typed` being a cluster like the others.
    """
    entity = tokens.entity
    gold, found = tokens.labels[entity], clusters[entity]
    measures = Measures(
        v_measure=float(v_measure_score(gold, found)),
        nmi=float(normalized_mutual_info_score(gold, found, average_method="geometric")),
        purity=float(contingency_matrix(gold, found).max(axis=0).sum() / len(gold)),
    )
    if zero_is_untyped:
        measures.typed_entities = float((found > 0).mean())
        if not entity.all():
            measures.typed_others = float((clusters[~entity] > 0).mean())
        if measures.typed_others:
            measures.ratio = measures.typed_entities / measures.typed_others
    return measures


def plain_states(
    name: str, tokenizer: PreTrainedTokenizerBase, tokens: LabelledTokens, device: torch.device
) -> np.ndarray:
    """The last states of a plain encoder at the K words, (K, D).

    Raises:
        UserError: of `load_encoder`; the encoder has another vocabulary than the one that the tokens come from.
    """
    encoder, own_tokenizer = load_encoder(name)
    if own_tokenizer.get_vocab() != tokenizer.get_vocab():
        raise UserError(f"the plain encoder `{name}` and the checkpoint have different vocabularies")
    encoder.to(device)  # pyright: ignore[reportArgumentType]
    return token_states(encoder, tokens.sentences, description="plain encoder").numpy()


def agreement(
    model: SparseLTForPreTraining,
    tokenizer: PreTrainedTokenizerBase,
    tokens: LabelledTokens,
    plain_encoder: str,
    seed: int,
) -> list[Result]:
    """The trained types and two controls that do not see the labels, each over `CONTROL_SEEDS` seeds.

    The first is the same architecture with encoder and typer drawn anew: what types say that follow the word and its
    surroundings at random. The second is k-means on the states of `plain_encoder`, with which the training began, as
    many clusters as there are types besides `not typed`: what was there before.
    """
    trained = measure(types_of(model, tokens.sentences, "trained"), tokens, True)
    random, kmeans = [], []
    for number in range(CONTROL_SEEDS):
        torch.manual_seed(seed + number)
        control = SparseLTForPreTraining(model.config).eval().to(model.device)  # pyright: ignore[reportArgumentType]
        types = types_of(control, tokens.sentences, f"random {number + 1}/{CONTROL_SEEDS}")
        random.append(measure(types, tokens, True))
    states = plain_states(plain_encoder, tokenizer, tokens, model.device)
    clusters = min(model.config.num_types - 1, len(states))
    for number in range(CONTROL_SEEDS):
        found = KMeans(clusters, n_init=1, random_state=seed + number).fit_predict(states)  # pyright: ignore[reportArgumentType]
        kmeans.append(measure(found, tokens, False))
    return [
        Result("trained", [trained]),
        Result("random encoder and typer", random),
        Result(f"k-means, {clusters} clusters of plain states", kmeans),
    ]
