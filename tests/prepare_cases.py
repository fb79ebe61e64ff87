"""Raw text for tests, and the sentences that become of it."""

from pathlib import Path

from data.prepare import prepare

# Every sentence by hand, as it must come out.
SENTENCES = [
    "Dr. Smith met Mr. Jones in the U.S. on Jan. 5.",
    "They talked until 5 p.m. and agreed on nothing.",
    "“The answer is yes.”",
    "He left at once!",
    "Was Gen. J. B. Miller of St. Paul, Minn. at the talks?",
    'She said: "I cannot tell you."',
    "The world No. 1 lost to Gov. Chris Martin Jr. in Washington, D.C. on Feb. 29.",
    "Shares of Acme Inc. rose by 3.5 per cent, i.e. not much.",
    "He lives in the U.S. president's own street.",
    "It costs $5.20 in the U.K. but nothing in the U.S.",
    "The price is fixed.",
]


def sentences_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def prepared(tmp_path: Path, content: str | bytes, name: str = "raw.txt", **options) -> list[str]:
    raw = tmp_path / name
    raw.write_bytes(content.encode() if isinstance(content, str) else content)
    prepare([raw], tmp_path / "out.txt", **options)
    return sentences_of(tmp_path / "out.txt")
