//! A unit's positions sorted by their token, so that the gradient of the embedding is summed in a fixed order.
//!
//! The device adds up pieces of at most [`PIECE`] positions of one token side by side, then each token's pieces in order. All arrays
//! have sizes that follow from the unit's shape, as everything in a slot does.

/// Positions of one token that are added up one after another.
pub(super) const PIECE: usize = 64;

/// Pieces that so many positions make, at most: none is empty, and each token's last one may be short.
pub(super) fn most_pieces(positions: usize, vocabulary: usize) -> usize {
    positions.min(vocabulary + positions / PIECE)
}

/// Where the sorted positions of one member go.
pub(super) struct ByToken<'a> {
    /// Positions, sorted by token and then by place: one for each input.
    pub(super) order: &'a mut [u32],
    /// First of each piece among the sorted positions, then their number for every place that is left: [most pieces + 1].
    pub(super) pieces: &'a mut [u32],
    /// First of each token's pieces, then the number of pieces: [V + 1].
    pub(super) tokens: &'a mut [u32],
}

impl ByToken<'_> {
    /// Sorts the positions of these tokens, each below the vocabulary.
    pub(super) fn sort(&mut self, inputs: &[u32]) {
        let Self { order, pieces, tokens } = self;
        tokens.fill(0);
        inputs.iter().for_each(|&token| tokens[token as usize] += 1);
        // Counts become the places where tokens begin.
        let mut start = 0;
        for count in tokens.iter_mut() {
            start += std::mem::replace(count, start);
        }
        for (position, &token) in (0..).zip(inputs) {
            let place = &mut tokens[token as usize];
            order[*place as usize] = position;
            *place += 1;
        }
        // Now each token has the place where it ends.
        let (mut piece, mut start) = (0, 0);
        for end in tokens.iter_mut() {
            let end = std::mem::replace(end, piece);
            while start < end {
                pieces[piece as usize] = start;
                piece += 1;
                start = end.min(start + PIECE as u32);
            }
        }
        pieces[piece as usize..].fill(start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(inputs: &[u32], vocabulary: usize) -> [Vec<u32>; 3] {
        let mut order = vec![9; inputs.len()];
        let mut pieces = vec![9; most_pieces(inputs.len(), vocabulary) + 1];
        let mut tokens = vec![9; vocabulary + 1];
        ByToken { order: &mut order, pieces: &mut pieces, tokens: &mut tokens }.sort(inputs);
        [order, pieces, tokens]
    }

    #[test]
    fn positions_of_a_token_follow_each_other_in_pieces() {
        let [order, pieces, tokens] = sorted(&[2, 0, 2, 4], 5);
        assert_eq!(order, [1, 0, 2, 3]);
        assert_eq!(pieces, [0, 1, 3, 4, 4]);
        assert_eq!(tokens, [0, 1, 1, 2, 2, 3]);
    }

    #[test]
    fn every_position_is_in_one_piece_of_its_token() {
        for (count, vocabulary) in [(1, 2), (64, 2), (65, 3), (1_000, 7), (1_000, 5_000), (129, 1)] {
            let inputs: Vec<u32> = (0..count).map(|i| (i * i * 7 + i / 3) % vocabulary).collect();
            let [order, pieces, tokens] = sorted(&inputs, vocabulary as usize);
            let mut seen = Vec::new();
            for token in 0..vocabulary {
                let mut last = None;
                for piece in tokens[token as usize]..tokens[token as usize + 1] {
                    let range = pieces[piece as usize] as usize..pieces[piece as usize + 1] as usize;
                    assert!(!range.is_empty() && range.len() <= PIECE);
                    for &position in &order[range] {
                        assert!(inputs[position as usize] == token && last < Some(position));
                        last = Some(position);
                        seen.push(position);
                    }
                }
            }
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..count));
            assert_eq!(pieces.last(), Some(&count));
        }
    }
}
