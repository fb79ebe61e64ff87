"""Corpora: raw text to one sentence a line, lines to token ids, token ids to batches."""
