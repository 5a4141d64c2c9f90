//! Byte-pair encoding, trained. The same words always give the same merges, in whatever order and on whatever machine: the most
//! frequent pair is merged first, and of equally frequent ones that of the smaller token numbers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Pairs seen less often than this are never merged.
const FEWEST: u64 = 2;

type Pair = (u32, u32);

/// What training found, beyond the 256 bytes.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Merges {
    /// Each merge: the two tokens it joins and the token it makes.
    pub(crate) merges: Vec<(Pair, u32)>,
    /// The bytes of each new token, numbered from `first` on.
    pub(crate) tokens: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    /// Words it was ever seen in; some may not hold it any more.
    words: Vec<u32>,
}

/// Learns at most `new_tokens` tokens from words and how often each was seen. Tokens 0 … 255 are the bytes; the new ones
/// are numbered from `first` on.
pub(crate) fn train(words: Vec<(String, u64)>, first: u32, new_tokens: usize) -> Merges {
    let mut words = words;
    words.sort_unstable();
    let counts: Vec<u64> = words.iter().map(|(_, count)| *count).collect();
    let mut words: Vec<Vec<u32>> = words.iter().map(|(word, _)| word.bytes().map(u32::from).collect()).collect();

    let mut pairs: HashMap<Pair, Seen> = HashMap::new();
    for (index, word) in words.iter().enumerate() {
        for pair in word.windows(2) {
            let seen = pairs.entry((pair[0], pair[1])).or_default();
            seen.count += counts[index];
            if seen.words.last() != Some(&(index as u32)) {
                seen.words.push(index as u32);
            }
        }
    }
    let mut queue: BinaryHeap<(u64, Reverse<Pair>)> = pairs.iter().map(|(pair, seen)| (seen.count, Reverse(*pair))).collect();

    let mut found = Merges::default();
    // Two merges may spell the same token (ab+c, a+bc): it has one number.
    let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
    let spelled = |found: &Merges, token: u32| match token.checked_sub(first) {
        Some(new) => found.tokens[new as usize].clone(),
        None => vec![token as u8],
    };
    let mut changed: Vec<Pair> = Vec::new();
    while found.tokens.len() < new_tokens {
        let Some((count, Reverse(pair))) = queue.pop() else { break };
        // An entry tells what was true when it was made; whatever changed since has a newer one.
        let Some(seen) = pairs.get_mut(&pair).filter(|seen| seen.count == count) else { continue };
        if count < FEWEST {
            break;
        }
        let places = std::mem::take(&mut seen.words);
        let mut bytes = spelled(&found, pair.0);
        bytes.extend(spelled(&found, pair.1));
        let token = *numbers.entry(bytes.clone()).or_insert_with(|| {
            found.tokens.push(bytes);
            first + found.tokens.len() as u32 - 1
        });
        found.merges.push((pair, token));

        changed.clear();
        for index in places {
            let word = &mut words[index as usize];
            let merged = merge(word, pair, token);
            if merged.len() == word.len() {
                continue;
            }
            let count = counts[index as usize];
            for old in word.windows(2) {
                let old = (old[0], old[1]);
                if let Some(seen) = pairs.get_mut(&old) {
                    seen.count -= count;
                }
                changed.push(old);
            }
            for new in merged.windows(2) {
                let new = (new[0], new[1]);
                let seen = pairs.entry(new).or_default();
                seen.count += count;
                // Pairs without the new token were in this word before, and are listed for it.
                if (new.0 == token || new.1 == token) && seen.words.last() != Some(&index) {
                    seen.words.push(index);
                }
                changed.push(new);
            }
            *word = merged;
        }
        changed.sort_unstable();
        changed.dedup();
        for pair in &changed {
            match pairs.get(pair).map_or(0, |seen| seen.count) {
                0 => drop(pairs.remove(pair)),
                count => queue.push((count, Reverse(*pair))),
            }
        }
    }
    found
}

fn merge(word: &[u32], pair: Pair, token: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(word.len());
    let mut i = 0;
    while i < word.len() {
        if i + 1 < word.len() && (word[i], word[i + 1]) == pair {
            merged.push(token);
            i += 2;
        } else {
            merged.push(word[i]);
            i += 1;
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(list: &[(&str, u64)]) -> Vec<(String, u64)> {
        list.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
    }

    fn tokens(list: &[(&str, u64)], new_tokens: usize) -> Vec<String> {
        train(words(list), 257, new_tokens).tokens.into_iter().map(|t| String::from_utf8(t).unwrap()).collect()
    }

    /// The definition, without any bookkeeping: count all pairs again before every merge.
    fn by_definition(words: &[(String, u64)], first: u32, new_tokens: usize) -> Vec<Pair> {
        let mut words: Vec<(Vec<u32>, u64)> = words.iter().map(|(w, n)| (w.bytes().map(u32::from).collect(), *n)).collect();
        let mut spelled: Vec<Vec<u8>> = Vec::new();
        let mut merges = Vec::new();
        while spelled.len() < new_tokens {
            let mut counts: HashMap<Pair, u64> = HashMap::new();
            for (word, n) in &words {
                for pair in word.windows(2) {
                    *counts.entry((pair[0], pair[1])).or_default() += n;
                }
            }
            let Some((&pair, _)) = counts.iter().filter(|(_, n)| **n >= FEWEST).max_by_key(|(p, n)| (**n, Reverse(**p))) else {
                break;
            };
            let spell = |t: u32| if t < first { vec![t as u8] } else { spelled[(t - first) as usize].clone() };
            let bytes = [spell(pair.0), spell(pair.1)].concat();
            let number = spelled.iter().position(|s| *s == bytes).unwrap_or_else(|| {
                spelled.push(bytes);
                spelled.len() - 1
            });
            for (word, _) in &mut words {
                *word = merge(word, pair, first + number as u32);
            }
            merges.push(pair);
        }
        merges
    }

    #[test]
    fn the_most_frequent_pair_is_merged_first() {
        assert_eq!(tokens(&[("low", 5), ("lower", 2), ("newest", 6), ("widest", 3)], 4), ["es", "est", "lo", "low"]);
    }

    #[test]
    fn of_equally_frequent_pairs_that_of_the_smaller_numbers_is_merged_first() {
        assert_eq!(tokens(&[("zz", 3), ("ab", 3), ("aa", 3)], 3), ["aa", "ab", "zz"]);
    }

    #[test]
    fn what_was_seen_once_is_never_merged() {
        assert_eq!(tokens(&[("abcdef", 1), ("xy", 2)], 100), ["xy"]);
        assert_eq!(tokens(&[], 100), [] as [&str; 0]);
    }

    #[test]
    fn the_order_of_the_words_does_not_matter() {
        let mut list = words(&[("low", 5), ("lower", 2), ("newest", 6), ("widest", 3), ("wow", 4)]);
        let there = train(list.clone(), 257, 12);
        list.reverse();
        assert_eq!(train(list, 257, 12), there);
    }

    #[test]
    fn bookkeeping_agrees_with_the_definition() {
        let mut stream = crate::random::Stream::new(1, "bpe", &[]);
        for round in 0..60u64 {
            let alphabet = 2 + round % 4;
            let list: Vec<(String, u64)> = (0..40)
                .map(|_| {
                    let length = 1 + stream.below(9);
                    let word = (0..length).map(|_| (b'a' + stream.below(alphabet) as u8) as char).collect();
                    (word, 1 + stream.below(5))
                })
                .collect();
            let found: Vec<Pair> = train(list.clone(), 257, 25).merges.into_iter().map(|(pair, _)| pair).collect();
            assert_eq!(found, by_definition(&list, 257, 25), "round {round}: {list:?}");
        }
    }
}
