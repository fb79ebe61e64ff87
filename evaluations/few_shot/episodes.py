"""Make few-shot episodes of your own labelled sentences, laid out like the published data.

python -m evaluations.few_shot.episodes --input FILE --way 3 --shot 2 --episodes 100 --output DIR
python -m evaluations.few_shot.episodes --given SUPPORT QUERY --output DIR

FILE: CoNLL columns (2 to 5, the word first, its label last; BIO, BIOES or types alone), JSON lines with character
spans ({"text": ..., "spans": [[0, 4, "person"]]}), a data set of the hub with `tokens` and `ner_tags`, or a copy.
Source training needs sentences of other types (--train); without them, run with --epochs 0: the encoder as it is.
"""

import hashlib
import json
import math
import random
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from common.errors import UserError, run
from common.files import sha256_of, write_atomically
from common.flags import Count, Seed, flag, parse
from evaluations.few_shot.data import MANIFEST, Episode, Sentence, Split, read_manifest, types_of, write_columns
from evaluations.few_shot.formats import Examples, read_examples
from evaluations.few_shot.process import with_hashes, write_episodes, write_manifest
from evaluations.few_shot.scores import entities
from runs.directory import disk_errors

# Before types are taken to have no episode: attempts by chance, then steps and sentences of a search
ATTEMPTS, STEPS, DEPTH = 20, 3000, 400
CHOICES = 500  # of types without an episode, before giving up


@dataclass(frozen=True, kw_only=True)
class Recipe:
    input: str | None = flag(None, "sentences to draw from: a file, a hub id (ID or ID:CONFIG) or a directory")
    given: list[str] | None = flag(None, "one episode instead: its support set and its query set, in the same formats")
    train: str | None = flag(None, "sentences for source training, of other types, in the same formats")
    split: str = flag("train", "of a data set: which of its sentences are read")
    tags: str = flag("ner_tags", "of a data set: the column of the labels")
    way: Count = flag(5, "types of an episode")
    shot: Count = flag(1, "entities of each type in a support and in a query set, at least; twice as many at most")
    episodes: Count = flag(500, "number of episodes")
    seed: Seed = flag(0, "of what is drawn")
    type: str = flag("own", "name of the data in the commands that run the episodes")
    output: Path = flag(help="directory of the episodes; more settings of the same sentences may be added")


def main(argv: list[str]) -> None:
    recipe = parse(Recipe, argv, __doc__)
    if (recipe.input is None) == (recipe.given is None):
        raise UserError("give either --input, to draw from, or --given SUPPORT QUERY")
    if recipe.given is not None and len(recipe.given) != 2:
        raise UserError(f"--given takes a support set and a query set, not {len(recipe.given)} files")
    for name in ("way", "shot", "episodes", "seed"):
        if recipe.given is not None and getattr(recipe, name) != getattr(Recipe, name):
            raise UserError(f"--{name} applies to drawn episodes only; --given makes one episode of its two files")
    if Path(recipe.type).name != recipe.type or recipe.type in ("", "..", "episode-data"):
        raise UserError(f"--type {recipe.type} cannot be the name of a directory")
    read: dict[str, Examples] = {}
    support, query = recipe.given or (None, None)
    named = {"input": recipe.input, "support": support, "query": query, "train": recipe.train}
    roles = {role: source for role, source in named.items() if source is not None}
    for source in roles.values():
        read[source] = read_examples(source, recipe.split, recipe.tags)
        print(f"{source}: {read[source]}")
    train = read[recipe.train].sentences if recipe.train else []
    if recipe.input is not None:
        way, shot = recipe.way, recipe.shot
        sentences = distinct(read[recipe.input].sentences, recipe.input)
        sampler = Sampler(sentences, way, shot, recipe.input)
        rng = random.Random(recipe.seed)
        number = tqdm(range(recipe.episodes), desc="drawing", unit="episode", leave=False)
        drawn = (sampler.draw(rng) for _ in number)
        episodes = [Episode(*([sentences[i] for i in part] for part in parts)) for parts in drawn]
    else:
        episodes = [Episode(*(read[source].sentences for source in recipe.given or []))]
        way, shot = describe(episodes[0])
        sentences = [*episodes[0].support, *episodes[0].query]
    types = types_of(sentences)
    if both := sorted(types & types_of(train)):
        raise UserError(f"{recipe.train} has types of the episodes, which then are not new: {', '.join(both)}")
    sources = [{"role": role, **identity_of(name, read[name].sentences)} for role, name in roles.items()]
    with disk_errors(recipe.output):
        write(recipe, sources, (way, shot), episodes, types, train)
    more = " --epochs 0" * (not recipe.train)
    if recipe.episodes > Recipe.episodes:  # so many are run without being told
        more += f" --episodes {recipe.episodes}"
    command = f"bash evaluations/ner/CONTaiNER/exec_container.sh {shlex.quote(recipe.type)} 0 {way} {shot} NAME"
    print(f"run them: DATA={shlex.quote(str(recipe.output))} {command}" + more)


def distinct(sentences: Sequence[Sentence], source: str) -> list[Sentence]:
    """The first of sentences of the same words, so that none is in support and query set alike."""
    kept: dict[tuple[str, ...], Sentence] = {}
    otherwise = sum(kept.setdefault(tuple(s.words), s).labels != s.labels for s in sentences)
    if repeated := len(sentences) - len(kept):
        also = f", {otherwise:,} labelled otherwise" if otherwise else ""
        print(f"{source}: {repeated:,} repeated sentences left out{also}")
    return list(kept.values())


def describe(episode: Episode) -> tuple[int, int]:
    """Way and shot of an episode that was given: how many types its support set has, and entities of the rarest."""
    counts, asked = (Counter(kind for s in part for *_, kind in entities(s.labels)) for part in episode)
    if unknown := sorted(asked.keys() - counts.keys()):
        number = sum(asked[kind] for kind in unknown)
        print(f"note: {number} entities of the query set are of types without an example: {', '.join(unknown)}")
    if both := sum(sentence in episode.support for sentence in episode.query):
        print(f"note: {both} sentences of the query set are in the support set, too")
    return len(counts), min(counts.values())


Sets = tuple[list[int], list[int]]  # the numbers of the sentences of a support set and of a query set


class Sampler:
    """Draws N-way K~2K-shot episodes as Few-NERD's were drawn (Ding et al. 2021, section 4.2, Algorithm 1).

    Types are chosen at random; then sentences, in random order, are added to the support set if they have entities of
    these types alone, of at least one with fewer than K so far, and none gets over 2K, until each has K. The query set
    is drawn likewise from the other sentences. Where chance leads nowhere, an episode is searched for by trying all.
    No sentence may be given twice; `source` is where they are from, for messages.
    """

    def __init__(self, sentences: Sequence[Sentence], way: int, shot: int, source: str):
        self.way, self.shot, self.source = way, shot, source
        self.counts = [Counter(kind for *_, kind in entities(sentence.labels)) for sentence in sentences]
        self.having: dict[str, list[int]] = {}  # the sentences with a type that a set may hold
        for index, counts in enumerate(self.counts):
            for kind in counts:
                self.having.setdefault(kind, []).extend([index] * (max(counts.values()) <= 2 * shot))
        self.number = {kind: sum(self.counts[i][kind] for i in found) for kind, found in self.having.items()}
        self.types = sorted(kind for kind in self.number if self.number[kind] >= 2 * shot)
        self.impossible: dict[frozenset[str], str] = {}  # choices of types without an episode, and why

    def draw(self, rng: random.Random) -> Sets:
        """The next episode. UserError if fewer than `way` types have the entities that one requires, or no choice of
        types, or none of the first `CHOICES`, has an episode."""
        if len(self.types) < self.way:
            rare = sorted(self.number.keys() - set(self.types), key=lambda kind: (-self.number[kind], kind))
            these = f"{len(self.types)} of its {len(self.number)} types do"
            these += f"; `{rare[0]}` has {self.number[rare[0]]}" if rare else ""
            raise UserError(
                f"{self.source} has too few entities: each of {self.way} types needs {2 * self.shot}, {self.shot} for "
                f"the support set and {self.shot} for the query set, in sentences with at most {2 * self.shot} of a "
                f"type; {these}"
            )
        choices = math.comb(len(self.types), self.way)
        while len(self.impossible) < min(choices, CHOICES):
            types = sorted(rng.sample(self.types, self.way))
            if frozenset(types) not in self.impossible and (found := self.draw_of(rng, types)):
                return found
        raise UserError(
            f"in {self.source} no episode was found of {self.way} types with {self.shot} to {2 * self.shot} entities "
            f"of each in support and query set ({len(self.impossible):,} of {choices:,} choices of types tried); "
            + next(iter(self.impossible.values()))
        )

    def draw_of(self, rng: random.Random, types: Sequence[str]) -> Sets | None:
        """An episode of these types; if there is none, `impossible` gets to know why."""
        these = set(types)
        candidates = sorted({i for kind in types for i in self.having[kind] if self.counts[i].keys() <= these})
        for _ in range(ATTEMPTS):
            support = self.greedy(rng, types, candidates)
            query = support and self.greedy(rng, types, sorted(set(candidates) - set(support)))
            if query:
                return support, query
        numbers = {kind: sum(self.counts[i][kind] for i in candidates) for kind in types}
        rare = next((kind for kind in types if numbers[kind] < 2 * self.shot), None)
        if rare is None and (found := self.search(rng, types, candidates)):
            return found
        why = f"the entities of {', '.join(types)} are in too few sentences"
        if rare is not None:
            why = f"in sentences without types but {', '.join(types)}, `{rare}` has {numbers[rare]} entities"
        self.impossible[frozenset(types)] = why
        return None

    def fits(self, index: int, total: Counter[str]) -> bool:
        """Whether a set with so many entities may take a sentence."""
        counts = self.counts[index]
        return any(total[kind] < self.shot for kind in counts) and all(
            total[kind] + number <= 2 * self.shot for kind, number in counts.items()
        )

    def greedy(self, rng: random.Random, types: Sequence[str], candidates: Sequence[int]) -> list[int]:
        """A set by Algorithm 1; nothing if chance leads nowhere. A sentence that does not fit will not fit later."""
        chosen, total, order = list[int](), Counter[str](), list(candidates)
        for i in range(len(order)):
            other = rng.randrange(i, len(order))
            order[i], order[other] = order[other], order[i]
            if self.fits(index := order[i], total):
                chosen.append(index)
                total.update(self.counts[index])
                if all(total[kind] >= self.shot for kind in types):
                    return chosen
        return []

    def search(self, rng: random.Random, types: Sequence[str], candidates: Sequence[int]) -> Sets | None:
        """Both sets by backtracking: the type that fewest kinds of sentences can still serve is served by each of them
        in turn. Sentences with as many entities of every type are of one kind, of which one is tried for all. Some
        sentence of an episode has the type, and kinds tried before in its place are barred."""
        alike: dict[frozenset[tuple[str, int]], list[int]] = {}
        for index in rng.sample(candidates, len(candidates)):
            alike.setdefault(frozenset(self.counts[index].items()), []).append(index)
        kinds = list(alike.values())  # of sentences, those that are in neither set
        sets: Sets = [], []
        totals, barred = (Counter[str](), Counter[str]()), (Counter[int](), Counter[int]())
        steps = 0

        def extend() -> bool:
            nonlocal steps
            steps += 1
            if steps > STEPS or len(sets[0]) + len(sets[1]) > DEPTH:
                return False
            able = {
                (side, kind): [
                    number
                    for number, left in enumerate(kinds)
                    if left
                    and kind in self.counts[left[-1]]
                    and not barred[side][number]
                    and self.fits(left[-1], totals[side])
                ]
                for side in (0, 1)
                for kind in types
                if totals[side][kind] < self.shot
            }
            if not able:
                return True
            (side, _), tried = min(able.items(), key=lambda item: len(item[1]))
            for number in tried:
                index = kinds[number].pop()
                sets[side].append(index)
                totals[side].update(self.counts[index])
                if extend():
                    return True
                kinds[number].append(sets[side].pop())
                totals[side].subtract(self.counts[index])
                barred[side][number] += 1
            barred[side].subtract(tried)
            return False

        return sets if extend() else None


def identity_of(source: str, sentences: Sequence[Sentence]) -> dict[str, str]:
    """The name of a source of sentences, and the sha256 of the file or, of a data set, of the sentences."""
    path = Path(source)
    digest = sha256_of(path) if path.is_file() else hashlib.sha256(json.dumps(sentences).encode()).hexdigest()
    return {"name": path.name if path.exists() else source, "sha256": digest}


def write(
    recipe: Recipe, sources: list, setting: tuple, episodes: list[Episode], types: set[str], train: list[Sentence]
) -> None:
    """Write the episodes of a setting, the label files, the training sentences and the manifest; print what they hold.

    The version is decided by the `sources` (of `identity_of`); `types` are those of all sentences that could be drawn.
    UserError if the directory holds episodes of other sentences, or a file in the place of one of these that is not
    in its manifest.
    """
    before: dict[str, Any] = read_manifest(recipe.output) or {"sources": sources, "files": {}}
    if before.get("sources") != sources:
        manifest = recipe.output / MANIFEST
        raise UserError(f"{manifest} is of episodes that were made of other files; choose another --output")
    split, parts = Split(recipe.output, recipe.type), {"test": types, "train": types_of(train)}
    path = recipe.output / "episode-data" / recipe.type / "test_{}_{}.jsonl".format(*setting)
    for target in (path, split.train, *map(split.labels, parts)):
        if target.exists() and str(target.relative_to(recipe.output)) not in before["files"]:
            raise UserError(f"{target} exists, and is not of earlier episodes; choose another --output")
    entry, _ = write_episodes(path, episodes)
    split.train.parent.mkdir(parents=True, exist_ok=True)
    write_columns(split.train, train)
    entries: dict[Path, dict[str, Any]] = {path: entry | {"types": len(types), "seed": recipe.seed}}
    entries[split.train] = {"sentences": len(train), "types": len(parts["train"])}
    for part, found in parts.items():
        write_atomically(split.labels(part), "\n".join(["O", *sorted(found)]) + "\n")
        entries[split.labels(part)] = {"types": len(found)}
    version = hashlib.sha256("".join(source["sha256"] for source in sources).encode()).hexdigest()[:12]
    files = before["files"] | with_hashes(recipe.output, entries)
    version = before.get("version", f"{recipe.type}-{version}")  # of all types in the directory
    write_manifest(recipe.output, {"version": version, "sources": sources, "files": files})


if __name__ == "__main__":
    run(main)
