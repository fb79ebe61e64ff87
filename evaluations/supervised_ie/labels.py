"""What can be predicted: the label sets of a corpus and the patterns that its annotation follows."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from common.errors import UserError
from common.files import write_atomically
from evaluations.supervised_ie.data import NO_MENTION_TYPE, Sentence

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
        return np.insert(_matrix(self.relation_types, self.entity_types, self.relation_entity), 0, True, axis=0)

    def valid_roles(self) -> np.ndarray:
        """(Q + 1, V, K) bool: may an entity of type k play the role in an event of type v? None may always."""
        of_event = _matrix(self.event_types, self.roles, self.event_role).T  # (Q, V)
        of_entity = _matrix(self.roles, self.entity_types, self.role_entity)  # (Q, K)
        return np.insert(of_event[:, :, None] & of_entity[:, None, :], 0, True, axis=0)

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
    valid = [column in pattern.get(row, ()) for row in rows for column in columns]
    return np.array(valid, dtype=bool).reshape(len(rows), len(columns))


def collect_labels(
    sentences: Sequence[Sentence], symmetric_relations: Iterable[str], patterns: str | Path | None = None
) -> Labels:
    """The labels and patterns seen in training sentences.

    Args:
        symmetric_relations: relation types whose two arguments may be swapped; those the corpus lacks are left out.
        patterns: instead of those seen, a directory with event_role.json, relation_entity.json and role_entity.json,
            each {key: [values]}, as OneIE's repository has them.

    Raises:
        UserError: a pattern file is missing or of another form.
    """
    entities = {(e.type, e.mention_type) for s in sentences for e in s.entities}
    mention_types = {mention for _, mention in entities}
    ends = {(r.type, s.entities[end].type) for s in sentences for r in s.relations for end in (r.head, r.tail)}
    relation_types = {relation for relation, _ in ends}
    arguments = {
        (e.type, role, s.entities[entity].type) for s in sentences for e in s.events for entity, role in e.arguments
    }
    seen = {
        "event_role": {(event, role) for event, role, _ in arguments},
        "relation_entity": ends,
        "role_entity": {(role, entity) for _, role, entity in arguments},
    }
    return Labels(
        entity_types=sorted({entity for entity, _ in entities}),
        mention_types=[] if mention_types <= {NO_MENTION_TYPE} else sorted(mention_types),
        event_types=sorted({e.type for s in sentences for e in s.events}),
        relation_types=sorted(relation_types),
        roles=sorted({role for _, role, _ in arguments}),
        symmetric_relations=sorted(relation_types & set(symmetric_relations)),
        **{
            name: _read_pattern(Path(patterns) / f"{name}.json") if patterns else _as_pattern(pairs)
            for name, pairs in seen.items()
        },
    )


def _as_pattern(pairs: set[tuple[str, str]]) -> Pattern:
    return {key: sorted(v for k, v in pairs if k == key) for key in sorted({k for k, _ in pairs})}


def _read_pattern(path: Path) -> Pattern:
    try:
        pattern = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): [str(value) for value in values] for key, values in pattern.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a readable file of valid patterns, {{key: [values]}}: {error}") from None
