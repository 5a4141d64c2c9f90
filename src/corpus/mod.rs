//! Text becomes a split, tokens, windows and batches. The tokenizers crate lives only here.
