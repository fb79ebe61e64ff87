"""Rich ERE -> sentences, on a small document written by hand in the format that the corpus publishes."""

import re
from xml.sax.saxutils import escape

import pytest
from supervised_ie_cases import run_prepare, shown

from common.errors import UserError

ERE_SOURCE = """<?xml version="1.0" encoding="utf-8"?>
<doc id="ENG_DF_1">
<headline>
Rebels &amp; army clash near Alëppo
</headline>
<post author="bob" datetime="2014-05-01T00:00:00" id="p1">
<quote orig_author="eve">
Old words of Obama here.
</quote>
The rebel leader's tanks took a <a href="http://x.org/Obama">town</a> from Syria. She bought him a car.
</post>
</doc>
"""


def ere_at(text, nth=0):
    start = [m.start() for m in re.finditer(re.escape(escape(text)), ERE_SOURCE)][nth]
    return f'source="ENG_DF_1" offset="{start}" length="{len(escape(text))}"'


def ere_entity(number, kind, *mentions):
    """Mentions are (noun type, text, nth occurrence, nominal head or None)."""
    body = ""
    for i, (noun_type, text, nth, head) in enumerate(mentions):
        nominal = f"<nom_head {ere_at(head)}>{escape(head)}</nom_head>" if head else ""
        body += (
            f'<entity_mention id="m-{number}-{i}" noun_type="{noun_type}" {ere_at(text, nth)}>'
            f"<mention_text>{escape(text)}</mention_text>{nominal}</entity_mention>"
        )
    return f'<entity id="ent-{number}" type="{kind}" specificity="specific">{body}</entity>'


def rich_ere():
    entities = [
        ere_entity(
            1, "PER", ("NOM", "Rebels", 0, "Rebels"), ("NOM", "The rebel leader", 0, "leader"), ("PRO", "She", 0, None)
        ),
        ere_entity(2, "ORG", ("NOM", "army", 0, "army")),
        ere_entity(3, "GPE", ("NAM", "Alëppo", 0, None), ("NOM", "town", 0, "town"), ("NAM", "Syria", 0, None)),
        ere_entity(4, "PER", ("NAM", "Obama", 0, None), ("NAM", "bob", 0, None), ("PRO", "him", 0, None)),
    ]
    fillers = (
        f'<filler id="f-1" {ere_at("tanks")} type="vehicle">tanks</filler>'
        f'<filler id="f-2" {ere_at("near")} type="title">near</filler>'
    )
    relations = (
        '<relation id="r-1" type="partwhole" subtype="subsidiary"><relation_mention id="rm-1" realis="true">'
        '<rel_arg1 entity_id="ent-3" entity_mention_id="m-3-1" role="part">town</rel_arg1>'
        '<rel_arg2 entity_id="ent-3" entity_mention_id="m-3-2" role="whole">Syria</rel_arg2>'
        "</relation_mention></relation>"
        '<relation id="r-2" type="generalaffiliation" subtype="title"><relation_mention id="rm-2" realis="true">'
        '<rel_arg1 entity_id="ent-1" entity_mention_id="m-1-1" role="person">x</rel_arg1>'
        '<rel_arg2 filler_id="f-2" role="title">near</rel_arg2></relation_mention></relation>'
    )
    events = (
        '<hopper id="h-1"><event_mention id="em-1" type="conflict" subtype="attack" realis="actual" ere="x">'
        f"<trigger {ere_at('clash')}>clash</trigger>"
        '<em_arg entity_id="ent-1" entity_mention_id="m-1-0" role="attacker" realis="true">Rebels</em_arg>'
        '<em_arg entity_id="ent-2" entity_mention_id="m-2-0" role="attacker" realis="true">army</em_arg>'
        '<em_arg entity_id="ent-3" entity_mention_id="m-3-0" role="place" realis="true">x</em_arg>'
        '<em_arg filler_id="f-2" role="time" realis="true">near</em_arg></event_mention></hopper>'
        '<hopper id="h-2"><event_mention id="em-2" type="transaction" subtype="transferownership" realis="actual">'
        f"<trigger {ere_at('bought')}>bought</trigger>"
        '<em_arg entity_id="ent-4" entity_mention_id="m-4-2" role="recipient" realis="true">him</em_arg>'
        '</event_mention><event_mention id="em-3" type="conflict" subtype="attack" realis="actual">'
        f"<trigger {ere_at('took')}>took</trigger>"
        '<em_arg filler_id="f-1" role="instrument" realis="true">tanks</em_arg></event_mention></hopper>'
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<deft_ere kit_id="k" doc_id="ENG_DF_1" source_type="multi_post">'
        f"<entities>{''.join(entities)}</entities><fillers>{fillers}</fillers>"
        f"<relations>{relations}</relations><hoppers>{events}</hoppers></deft_ere>"
    )


def test_rich_ere(tmp_path):
    for folder in ("source", "ere"):
        (tmp_path / "LDC" / folder).mkdir(parents=True)
    (tmp_path / "LDC" / "source" / "ENG_DF_1.mpdf.xml").write_text(ERE_SOURCE, encoding="utf-8")
    (tmp_path / "LDC" / "ere" / "ENG_DF_1.rich_ere.xml").write_text(rich_ere(), encoding="utf-8")
    (tmp_path / "dev.txt").write_text("ENG_DF_1")
    splits, counts = run_prepare(tmp_path, "ere", "LDC", ("dev",))
    headline, taken, bought = map(shown, splits["dev"])
    assert headline == {
        "tokens": "Rebels & army clash near Alëppo",
        "entities": [("Alëppo", "GPE", "NAM"), ("Rebels", "PER", "NOM"), ("army", "ORG", "NOM")],
        "relations": [],
        "events": [
            ("clash", "conflict:attack", [("Rebels", "attacker"), ("army", "attacker"), ("Alëppo", "place")]),
        ],
    }
    assert taken == {
        "tokens": "The rebel leader 's tanks took a town from Syria .",
        "entities": [
            ("Syria", "GPE", "NAM"),
            ("leader", "PER", "NOM"),
            ("tanks", "VEH", "NOM"),
            ("town", "GPE", "NOM"),
        ],
        "relations": [("partwhole", "town", "Syria")],
        "events": [("took", "conflict:attack", [("tanks", "instrument")])],
    }
    assert bought["events"] == [("bought", "transaction:transferownership", [("him", "recipient")])]
    assert counts == {
        "entity outside the running text": 2,  # in a quoted post, and the author's name in a tag
        "relation whose argument is no entity": 1,
        "argument that is no entity": 1,
    }

    annotation = tmp_path / "LDC" / "ere" / "ENG_DF_1.rich_ere.xml"
    lost = rich_ere().replace('entity_mention_id="m-2-0" role="attacker"', 'entity_mention_id="m-9" role="attacker"')
    annotation.write_text(lost.replace('entity_mention_id="m-3-1"', 'entity_mention_id="m-8"'), encoding="utf-8")
    _, lost_counts = run_prepare(tmp_path, "ere", "LDC", ("dev",))
    assert lost_counts == {
        **counts,
        "argument that has an unknown id": 1,
        "relation whose argument has an unknown id": 1,
    }
    (tmp_path / "LDC" / "elsewhere").mkdir()
    (tmp_path / "LDC" / "elsewhere" / "ENG_DF_1.mpdf.xml").write_text("<doc>other</doc>")
    with pytest.raises(UserError, match=r"the text of .*ENG_DF_1\.rich_ere\.xml is there twice"):
        run_prepare(tmp_path, "ere", "LDC", ("dev",))
