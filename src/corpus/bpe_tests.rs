//! Tests of `bpe`.

use std::collections::HashMap;

use super::*;

fn words(list: &[(&str, u64)]) -> Vec<(String, u64)> {
    list.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect()
}

fn tokens(list: &[(&str, u64)], new_tokens: usize) -> Vec<String> {
    train(words(list), 257, new_tokens).tokens.into_iter().map(|t| String::from_utf8(t).unwrap()).collect()
}

#[derive(Default)]
struct InWords {
    count: u64,
    words: Vec<u32>,
}

/// Word by word: a merge goes through every word that holds the pair. Slow for long words, and easy to see through.
fn word_by_word(words: Vec<(String, u64)>, first: u32, new_tokens: usize) -> Merges {
    let mut words = words;
    words.sort_unstable();
    let counts: Vec<u64> = words.iter().map(|(_, count)| *count).collect();
    let mut words: Vec<Vec<u32>> = words.iter().map(|(word, _)| word.bytes().map(u32::from).collect()).collect();

    let mut pairs: HashMap<Pair, InWords> = HashMap::new();
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
        found.merges.push(pair);

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

/// Words of letters, each as likely as every other, some of them long.
fn random_words(stream: &mut crate::random::Stream, alphabet: u64, words: u64, longest: u64) -> Vec<(String, u64)> {
    (0..words)
        .map(|_| {
            let length = if stream.below(4) == 0 { 1 + stream.below(longest) } else { 1 + stream.below(8) };
            let word = (0..length).map(|_| (b'a' + stream.below(alphabet) as u8) as char).collect();
            (word, 1 + stream.below(3))
        })
        .collect()
}

#[test]
fn merges_are_those_found_word_by_word_in_long_words_too() {
    let mut stream = crate::random::Stream::new(2, "bpe", &[]);
    for round in 0..120u64 {
        let list = random_words(&mut stream, 1 + round % 5, 1 + round % 23, 600);
        let found = train(list.clone(), 257, 300);
        assert_eq!(found, word_by_word(list.clone(), 257, 300), "round {round}: {list:?}");
        assert_eq!(found.merges.len(), found.tokens.len(), "no token is made in two ways");
    }
}

#[test]
fn counts_are_exact_and_what_is_kept_is_no_more_than_half_stale_after_every_merge() {
    let mut stream = crate::random::Stream::new(3, "bpe", &[]);
    for round in 0..12u64 {
        let list = random_words(&mut stream, 2 + round % 3, 6, 2_000);
        let mut learner = Learner::new(Sequence::new(list, 257));
        while let Some(pair) = learner.most_frequent() {
            learner.merge(pair);

            let (mut right, mut hint): (PairMap<(u64, u32)>, _) = (PairMap::default(), 0);
            learner.sequence.for_each_pair(&mut |at, pair| {
                let seen = right.entry(pair).or_default();
                *seen = (seen.0 + learner.sequence.count_at(at, &mut hint), seen.1 + 1);
            });
            right.retain(|_, seen| seen.0 >= FEWEST);
            let kept: PairMap<(u64, u32)> = learner.pairs.iter().map(|(&pair, seen)| (pair, (seen.count, seen.live))).collect();
            assert_eq!(kept, right);
            let stale = |seen: &Seen| seen.places.len() - seen.live as usize;
            assert!(learner.pairs.values().all(|seen| stale(seen) <= SHORT.max(seen.live as usize / 2)));
            assert!(learner.queue.len() <= 2 * learner.pairs.len() + SHORT);
        }
    }
}

#[test]
fn one_word_of_a_million_letters_is_learned_from_like_many_short_ones() {
    let mut stream = crate::random::Stream::new(4, "bpe", &[]);
    let word: String = (0..1_000_000).map(|_| ['A', 'C', 'G', 'T'][stream.below(4) as usize]).collect();
    let found = train(vec![(word, 1)], 257, 1_000);
    assert_eq!(found.tokens.len(), 1_000);
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
        let found = train(list.clone(), 257, 25).merges;
        assert_eq!(found, by_definition(&list, 257, 25), "round {round}: {list:?}");
    }
}
