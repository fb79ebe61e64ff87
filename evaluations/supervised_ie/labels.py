"""What can be predicted: the label sets of a corpus and the patterns that its annotation follows."""

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from evaluations.supervised_ie.data import NO_MENTION_TYPE, Sentence

PATTERNS = ("event_role", "relation_entity", "role_entity")
Pattern = dict[str, list[str]]


@dataclass(frozen=True)
class Labels:
    """The types a corpus knows, each list sorted, and its valid patterns (OneIE section 3.4).

    Relations and roles have one more label in the model, 0 = none; their type i is label i + 1.
    """

    entity_types: list[str]
    mention_types: list[str]  # empty where the corpus does not annotate them
    event_types: list[str]
    relation_types: list[str]
    roles: list[str]
    symmetric_relations: list[str]
    event_role: Pattern  # event type -> roles it takes
    relation_entity: Pattern  # relation type -> types of its two entities
    role_entity: Pattern  # role -> types of the entities that fill it

    @property
    def entity_tags(self) -> list[str]:
        """O, then B- and I- of each entity type."""
        return _bio(self.entity_types)

    @property
    def trigger_tags(self) -> list[str]:
        """O, then B- and I- of each event type."""
        return _bio(self.event_types)

    def valid_relations(self) -> np.ndarray:
        """(R + 1, K) bool: may the relation label connect an entity of the type? None connects all."""
        return _with_none(_matrix(self.relation_types, self.entity_types, self.relation_entity))

    def valid_roles(self) -> np.ndarray:
        """(Q + 1, V, K) bool: may an entity of type k play the role in an event of type v? None may always."""
        of_event = _matrix(self.event_types, self.roles, self.event_role).T  # (Q, V)
        of_entity = _matrix(self.roles, self.entity_types, self.role_entity)  # (Q, K)
        return _with_none(of_event[:, :, None] & of_entity[:, None, :])

    def as_json(self) -> str:
        """The content of labels.json."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    def save(self, path: Path) -> None:
        write_atomically(path, self.as_json())

    @classmethod
    def load(cls, path: Path) -> "Labels":
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def _bio(types: list[str]) -> list[str]:
    return ["O", *(prefix + name for name in types for prefix in ("B-", "I-"))]


def _matrix(rows: list[str], columns: list[str], pattern: Pattern) -> np.ndarray:
    return np.array([[c in pattern.get(r, ()) for c in columns] for r in rows], dtype=bool).reshape(
        len(rows), len(columns)
    )


def _with_none(valid: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((1, *valid.shape[1:]), dtype=bool), valid])


def collect_labels(
    sentences: Iterable[Sentence], symmetric_relations: Iterable[str], patterns: str | Path | None = None
) -> Labels:
    """The labels seen in training sentences, and their patterns or those of a directory.

    Args:
        symmetric_relations: relation types whose two arguments may be swapped; those the corpus lacks are left out.
        patterns: a directory with event_role.json, relation_entity.json and role_entity.json, each
            {key: [values]}, as OneIE's repository has them; None reads the patterns off the sentences.

    Raises:
        UserError: a pattern file is missing or of another form.
    """
    entities, mentions, events, relations, roles = set(), set(), set(), set(), set()
    seen: dict[str, dict[str, set[str]]] = {name: defaultdict(set) for name in PATTERNS}
    for sentence in sentences:
        types = [e.type for e in sentence.entities]
        entities.update(types)
        mentions.update(e.mention_type for e in sentence.entities)
        for relation in sentence.relations:
            relations.add(relation.type)
            seen["relation_entity"][relation.type].update((types[relation.head], types[relation.tail]))
        for event in sentence.events:
            events.add(event.type)
            for entity, role in event.arguments:
                roles.add(role)
                seen["event_role"][event.type].add(role)
                seen["role_entity"][role].add(types[entity])
    if patterns:
        valid = {name: _read_pattern(Path(patterns) / f"{name}.json") for name in PATTERNS}
    else:
        valid = {name: {k: sorted(v) for k, v in sorted(seen[name].items())} for name in PATTERNS}
    return Labels(
        entity_types=sorted(entities),
        mention_types=[] if mentions <= {NO_MENTION_TYPE} else sorted(mentions),
        event_types=sorted(events),
        relation_types=sorted(relations),
        roles=sorted(roles),
        symmetric_relations=sorted(relations & set(symmetric_relations)),
        **valid,
    )


def _read_pattern(path: Path) -> Pattern:
    try:
        pattern = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): [str(value) for value in values] for key, values in pattern.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a readable file of valid patterns, {{key: [values]}}: {error}") from None
