//! Byte-pair encoding, trained. The same words always give the same merges, in whatever order and on whatever machine: the most
//! frequent pair is merged first, and of equally frequent ones that of the smaller token numbers.
//!
//! All words lie in one [`Sequence`], and every pair that may still be merged knows its places there. A merge touches what
//! stands beside its places and nothing else, so that the work is that of the places, however long the words are. What
//! follows from that is dropped late: a place that is none any more when the pair is merged or too many of its places are
//! stale, an outdated count when it comes up in the queue. But for pairs with the token that is just made counts only fall,
//! so that an outdated one is too high, and comes up in time.
//!
//! No two merges spell the same token (ab+c, a+bc). What stands between two borders of tokens was between borders before,
//! since borders only go; so equal stretches between borders went through the same merges, from left to right, and are the same
//! tokens. Therefore a merge takes all there is of what it spells, and no pair comes up a second time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::pairs::{PairMap, pack, unpack};

/// Pairs seen less often than this are never merged.
const FEWEST: u64 = 2;
/// Lists of places that are shorter are not worth looking for stale ones.
const SHORT: usize = 32;

type Pair = (u32, u32);

/// What training found, beyond the 256 bytes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merges {
    /// Each merge: the two tokens that it joins.
    pub(crate) merges: Vec<Pair>,
    /// The bytes of the token that each makes, numbered from `first` on.
    pub(crate) tokens: Vec<Vec<u8>>,
}

/// Learns at most `new_tokens` tokens from words and how often each was seen. Tokens 0 … 255 are the bytes; the new ones
/// are numbered from `first` on. Takes words of up to 2³² bytes in all.
pub(crate) fn train(words: Vec<(String, u64)>, first: u32, new_tokens: usize) -> Merges {
    let mut learner = Learner::new(Sequence::new(words, first));
    let mut found = Merges::default();
    while found.tokens.len() < new_tokens {
        let Some(pair) = learner.most_frequent() else { break };
        let spelled = |token: u32| match token.checked_sub(first) {
            Some(new) => found.tokens[new as usize].clone(),
            None => vec![token as u8],
        };
        let bytes = [spelled(pair.0), spelled(pair.1)].concat();
        found.merges.push(pair);
        found.tokens.push(bytes);
        learner.merge(pair);
    }
    found
}

/// A pair's count and places.
#[derive(Default)]
struct Seen {
    /// How often it was seen: its places, each as often as its word.
    count: u64,
    /// Places where it stands now.
    live: u32,
    /// Whether it is listed as thinned.
    thinned: bool,
    /// All places where it stood when they were added; `live` of them are still right.
    places: Vec<u32>,
}

impl Seen {
    fn is_too_stale(&self) -> bool {
        self.places.len() > SHORT && self.places.len() - self.live as usize > self.live as usize / 2
    }
}

/// The state of training.
struct Learner {
    sequence: Sequence,
    /// The pairs that may be merged. One that is too rare is forgotten: it never becomes more frequent again.
    pairs: PairMap<Seen>,
    /// At least one entry for each pair, with its count or a higher one.
    queue: BinaryHeap<(u64, Reverse<u64>)>,
    /// Pairs that a merge added places to.
    grown: Vec<u64>,
    /// Pairs that a merge left too rare, or with too many stale places.
    thinned: Vec<u64>,
}

impl Learner {
    fn new(sequence: Sequence) -> Self {
        let mut pairs: PairMap<Seen> = PairMap::default();
        // Twice, so that the lists are as long as they must be: at the beginning they are what takes most memory.
        let mut hint = 0;
        sequence.for_each_pair(&mut |at, pair| {
            let seen = pairs.entry(pair).or_default();
            seen.count += sequence.count_at(at, &mut hint);
            seen.live += 1;
        });
        pairs.retain(|_, seen| seen.count >= FEWEST);
        pairs.values_mut().for_each(|seen| seen.places.reserve_exact(seen.live as usize));
        sequence.for_each_pair(&mut |at, pair| {
            if let Some(seen) = pairs.get_mut(&pair) {
                seen.places.push(at);
            }
        });
        let queue = pairs.iter().map(|(&pair, seen)| (seen.count, Reverse(pair))).collect();
        Self { sequence, pairs, queue, grown: Vec::new(), thinned: Vec::new() }
    }

    /// The pair to merge next; `None` where all are too rare.
    fn most_frequent(&mut self) -> Option<Pair> {
        while let Some((count, Reverse(pair))) = self.queue.pop() {
            match self.pairs.get(&pair) {
                Some(seen) if seen.count == count => return Some(unpack(pair)),
                Some(seen) => self.queue.push((seen.count, Reverse(pair))),
                None => {}
            }
        }
        None
    }

    /// Merges a pair wherever it stands, into a new token.
    fn merge(&mut self, pair: Pair) {
        let Some(Seen { places, .. }) = self.pairs.remove(&pack(pair.0, pair.1)) else { return };
        let token = self.sequence.new_token(pair);
        let mut hint = 0;
        // From left to right, as the places were added: of `aaa` the first two are merged.
        for at in places {
            if self.sequence.pair_at(at) != Some(pair) {
                continue;
            }
            let count = self.sequence.count_at(at, &mut hint);
            let (left, right) = (self.sequence.left_of(at), self.sequence.right_of(self.sequence.next(at)));
            if let Some((_, left)) = left {
                self.fewer(pack(left, pair.0), count);
            }
            if let Some(right) = right {
                self.fewer(pack(pair.1, right), count);
            }
            self.sequence.join(at, pair, token);
            if let Some((at, left)) = left {
                self.more(pack(left, token), at, count);
            }
            if let Some(right) = right {
                self.more(pack(token, right), at, count);
            }
        }
        self.tidy();
    }

    fn fewer(&mut self, pair: u64, count: u64) {
        if let Some(seen) = self.pairs.get_mut(&pair) {
            seen.count -= count;
            seen.live -= 1;
            if !seen.thinned && (seen.count < FEWEST || seen.is_too_stale()) {
                seen.thinned = true;
                self.thinned.push(pair);
            }
        }
    }

    fn more(&mut self, pair: u64, at: u32, count: u64) {
        let seen = self.pairs.entry(pair).or_default();
        if seen.places.is_empty() {
            self.grown.push(pair);
        }
        seen.count += count;
        seen.live += 1;
        seen.places.push(at);
    }

    /// After a merge: queues what became more frequent, forgets what is too rare, and drops stale places.
    fn tidy(&mut self) {
        for pair in self.grown.drain(..) {
            match self.pairs.get_mut(&pair) {
                Some(seen) if seen.count >= FEWEST => {
                    seen.places.shrink_to_fit();
                    self.queue.push((seen.count, Reverse(pair)));
                }
                _ => drop(self.pairs.remove(&pair)),
            }
        }
        for pair in self.thinned.drain(..) {
            match self.pairs.get_mut(&pair) {
                Some(seen) if seen.count >= FEWEST => {
                    seen.thinned = false;
                    seen.places.retain(|&at| self.sequence.pair_at(at) == Some(unpack(pair)));
                    seen.places.shrink_to_fit();
                }
                _ => drop(self.pairs.remove(&pair)),
            }
        }
        if self.queue.len() > 2 * self.pairs.len() + SHORT {
            self.queue.retain(|(_, Reverse(pair))| self.pairs.contains_key(pair));
        }
    }
}

/// Between words, and before the first and after the last.
const BORDER: u32 = u32::MAX;
/// Neither the first nor the last byte of a token.
const INSIDE: u32 = u32::MAX - 1;
/// Marks the last byte of a token of several bytes. All slots that are no token's first byte have this bit.
const LAST: u32 = 1 << 31;

/// All words as tokens, one after another: a slot for every byte, and one between words. A token's number stands in the slot of its
/// first byte and in that of its last, so that what stands beside it is found on both sides.
struct Sequence {
    slots: Vec<u32>,
    /// Bytes of each token, by its number.
    lengths: Vec<u32>,
    /// Words lie in the order of their counts: the slot where those of a count end, and the count.
    counts: Vec<(u32, u64)>,
}

impl Sequence {
    fn new(mut words: Vec<(String, u64)>, first: u32) -> Self {
        words.sort_unstable_by_key(|(_, count)| *count);
        let mut slots = Vec::with_capacity(1 + words.iter().map(|(word, _)| word.len() + 1).sum::<usize>());
        slots.push(BORDER);
        let mut counts: Vec<(u32, u64)> = Vec::new();
        for (word, count) in words {
            slots.extend(word.bytes().map(u32::from));
            slots.push(BORDER);
            let end = slots.len() as u32;
            match counts.last_mut() {
                Some(last) if last.1 == count => last.0 = end,
                _ => counts.push((end, count)),
            }
        }
        Self { slots, lengths: vec![1; first as usize], counts }
    }

    /// The number of a new token for this pair.
    fn new_token(&mut self, pair: Pair) -> u32 {
        self.lengths.push(self.lengths[pair.0 as usize] + self.lengths[pair.1 as usize]);
        self.lengths.len() as u32 - 1
    }

    /// Calls `take` with every pair and its place, from left to right.
    fn for_each_pair(&self, take: &mut dyn FnMut(u32, u64)) {
        for at in 0..self.slots.len() as u32 {
            if let Some((left, right)) = self.pair_at(at) {
                take(at, pack(left, right));
            }
        }
    }

    /// The pair whose first token begins here.
    fn pair_at(&self, at: u32) -> Option<Pair> {
        let left = self.slots[at as usize];
        if left & LAST != 0 {
            return None;
        }
        self.right_of(at).map(|right| (left, right))
    }

    /// Where the token that begins here ends.
    fn next(&self, at: u32) -> u32 {
        at + self.lengths[self.slots[at as usize] as usize]
    }

    /// The token after the one that begins here, in the same word.
    fn right_of(&self, at: u32) -> Option<u32> {
        Some(self.slots[self.next(at) as usize]).filter(|&right| right != BORDER)
    }

    /// The token before the one that begins here, in the same word, and where it begins.
    fn left_of(&self, at: u32) -> Option<(u32, u32)> {
        let end = self.slots[at as usize - 1];
        let token = end & !LAST;
        (end != BORDER).then(|| (at - self.lengths[token as usize], token))
    }

    /// How often the word of this place was seen. `hint` is kept from place to place: most lie near the one before.
    fn count_at(&self, at: u32, hint: &mut usize) -> u64 {
        let begin = hint.checked_sub(1).map_or(0, |before| self.counts[before].0);
        if at < begin || at >= self.counts[*hint].0 {
            *hint = self.counts.partition_point(|(end, _)| *end <= at);
        }
        self.counts[*hint].1
    }

    /// Makes one token of the pair that stands here.
    fn join(&mut self, at: u32, pair: Pair, token: u32) {
        let length = |token: u32| self.lengths[token as usize] as usize;
        let (at, middle) = (at as usize, at as usize + length(pair.0));
        let last = middle + length(pair.1) - 1;
        self.slots[middle - 1] = INSIDE;
        self.slots[middle] = INSIDE;
        self.slots[last] = token | LAST;
        self.slots[at] = token;
    }
}

#[cfg(test)]
#[path = "bpe_tests.rs"]
mod tests;
