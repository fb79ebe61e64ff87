"""Corpora for tests, and what is read from them."""

import pyarrow as pa
import pyarrow.parquet

from data.corpus import load_corpus


def read(path, tokenizer, max_length=64, **options):
    dataset, _ = load_corpus(path, tokenizer, max_length, **options)
    return [(row["line"], tokenizer.decode(row["input_ids"], skip_special_tokens=True)) for row in dataset]


ROWS = [
    {"id": 1, "text": 'he won .\nprices "rose" .', "more": {"text": [1]}},
    {"id": 2, "text": None, "more": None},
    {"id": 3, "text": "officials say , on monday .\r\n\u2028he won", "more": {"text": []}},
]
TEXTS = [(1, "he won."), (1, 'prices " rose ".'), (3, "officials say, on monday."), (3, "he won")]


def as_parquet(rows: list[dict]) -> bytes:
    stream = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), stream)
    return stream.getvalue().to_pybytes()
