"""The one door to encoders: a name -> a checked encoder and its tokenizer; words -> word pieces; sentences -> packed
rows -> states.

    encoder, tokenizer = load_encoder("minilm")  # or a directory, or a hub id
    words = WordPieces(tokenizer, max_length=128)
    batch = pack_sentences([words.encode(["The", "minister", "resigned"])], tokenizer.pad_token_id, 128)
    states = encode(encoder, batch.attention_mask, batch.input_ids).last_hidden_state  # (R, W, D)
"""

from encoders.families import embed, max_positions, mlm_transform
from encoders.loading import (
    check_tokenizer,
    fingerprint,
    from_config,
    load_encoder,
    load_masked_lm,
    load_tokenizer,
    quiet,
    read_tokenizer,
    to_plain,
    tokenizer_fingerprint,
)
from encoders.packing import (
    IGNORED,
    PackedSentences,
    by_length,
    collate,
    pack_sentences,
    packed_batches,
    same_sentence,
    sentence_positions,
)
from encoders.states import encode, packs, token_states
from encoders.words import Encoded, WordPieces, shown_pieces
