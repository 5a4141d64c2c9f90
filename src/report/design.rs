//! The design of an experiment: its name, what varies in it, how perplexity is measured and ranked, and what is worth a choice. Read from
//! `experiment.json`; what is missing there has a default, so that a report never fails for it.

use crate::experiment::settings::{RankAt, RankBy};
use crate::record::swept_column;
use crate::runs::{Commit, DescribedReferences, DescribedTokenizer, Description, ExperimentFolder};

/// What an experiment is called and how it ranks.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Design {
    /// The experiment's name.
    pub(super) name: String,
    /// Its description.
    pub(super) description: Option<String>,
    /// The keys that differ between configurations, in file order.
    pub(super) swept: Vec<String>,
    /// The swept keys that take their best value in each combination of the others.
    pub(super) tune: Vec<String>,
    /// The keys that are computed from others.
    pub(super) derived: Vec<String>,
    /// Whether configurations were drawn at random, so that there is no grid.
    pub(super) searched: bool,
    /// Which context ranks.
    pub(super) rank_by: RankBy,
    /// Which weights rank.
    pub(super) rank_at: RankAt,
    /// Differences under this share of the perplexity (of the bits per byte, where those rank) are not worth a choice.
    pub(super) margin: f64,
    /// The common context, tokens.
    pub(super) common_context: Option<i64>,
    /// Hash of the text.
    pub(super) text_hash: Option<String>,
    /// The experiment file as it was named to the last run.
    pub(super) file: Option<String>,
    /// Hash of the `Cargo.lock` of the program that ran last.
    pub(super) lock_file: Option<String>,
    /// Commit of the folder that was run in last.
    pub(super) git: Option<Commit>,
    /// What tokenizers make of the texts; see [`Design::is_lossless`].
    pub(super) tokenizers: Vec<DescribedTokenizer>,
    /// What simple models reach on the texts.
    pub(super) references: Vec<DescribedReferences>,
}

impl Design {
    /// Of what is described, with the columns of the table of trials as a fallback for what is swept.
    pub(super) fn of(described: Description, folder: &ExperimentFolder, columns: &[String]) -> Self {
        let not_empty = |text: String| Some(text).filter(|text| !text.is_empty());
        let folder_name = folder.path().file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        // A table written for another plan has other columns: only what is there can be shown.
        let there = |key: &String| columns.contains(&swept_column(key));
        let swept = match described.swept {
            Some(keys) if keys.iter().all(there) => keys,
            _ => columns.iter().filter_map(|c| c.strip_prefix("swept_")).map(|c| c.replacen('_', ".", 1)).collect(),
        };
        let experiment = described.experiment;
        Self {
            name: not_empty(experiment.name).unwrap_or(folder_name),
            description: not_empty(experiment.description),
            tune: experiment.tune.into_iter().filter(|key| swept.contains(key)).collect(),
            derived: experiment.derive.into_keys().collect(),
            searched: experiment.search.is_some(),
            swept,
            rank_by: described.evaluate.rank_by,
            rank_at: described.evaluate.rank_at,
            margin: described.report.margin,
            common_context: described.common_context.map(|context| context as i64),
            text_hash: described.text_hash,
            file: not_empty(experiment.file),
            lock_file: described.lock_file,
            git: described.git,
            tokenizers: described.tokenizers,
            references: described.references,
        }
    }

    /// Whether decode(encode(text)) = text is known of this tokenizer (`char`, `bpe-512` …) on every text that it is used for: said by
    /// `experiment.json` (`"tokenizers": [{"label": "char", "hash": "…", "lossless": true}]`), else true of the two kinds that are made
    /// of bytes. Its hash decides where both are known: one label may stand for several vocabularies.
    pub(super) fn is_lossless(&self, label: &str, hash: Option<&str>) -> bool {
        let is_of = |one: &&DescribedTokenizer| match (one.hash.as_deref(), hash) {
            (Some(known), Some(hash)) => known == hash,
            _ => one.label == label,
        };
        let known = self.tokenizers.iter().filter(is_of).filter_map(|one| one.lossless);
        known.reduce(|one, other| one && other).unwrap_or_else(|| label == "byte" || label.starts_with("bpe"))
    }

    /// The column of the table of trials that ranks, without its unit: `common`, `best_native` …
    pub(super) fn score(&self) -> &'static str {
        match (self.rank_at, self.rank_by) {
            (RankAt::Final, RankBy::Common) => "common",
            (RankAt::Final, RankBy::Native) => "native",
            (RankAt::Best, RankBy::Common) => "best_common",
            (RankAt::Best, RankBy::Native) => "best_native",
        }
    }

    /// The score of the test part by the weights that rank; it is scored at the common context only.
    pub(super) fn test_score(&self) -> &'static str {
        match self.rank_at {
            RankAt::Final => "test",
            RankAt::Best => "best_test",
        }
    }

    /// The score that stands beside it: the other context.
    pub(super) fn other_score(&self) -> &'static str {
        match (self.rank_at, self.rank_by) {
            (RankAt::Final, RankBy::Common) => "native",
            (RankAt::Final, RankBy::Native) => "common",
            (RankAt::Best, RankBy::Common) => "best_native",
            (RankAt::Best, RankBy::Native) => "best_common",
        }
    }

    /// `common` or `native`.
    pub(super) fn rank_by(&self) -> &'static str {
        match self.rank_by {
            RankBy::Common => "common",
            RankBy::Native => "native",
        }
    }

    /// `final` or `best`.
    pub(super) fn rank_at(&self) -> &'static str {
        match self.rank_at {
            RankAt::Final => "final",
            RankAt::Best => "best",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: Option<&str>, columns: &[&str]) -> Design {
        let dir = tempfile::tempdir().unwrap();
        let folder = ExperimentFolder::new(dir.path(), "night");
        std::fs::create_dir_all(folder.path()).unwrap();
        if let Some(json) = json {
            std::fs::write(folder.experiment_json(), json).unwrap();
        }
        let columns: Vec<String> = columns.iter().map(|&c| c.to_owned()).collect();
        Design::of(Description::find(&folder).unwrap().unwrap_or_default(), &folder, &columns)
    }

    #[test]
    fn what_is_missing_has_a_default() {
        for json in [None, Some("{}"), Some(r#"{"evaluate": {}, "description": "", "search": null}"#)] {
            let design = read(json, &["trial_id", "swept_train_sequence_length", "seed"]);
            assert_eq!((design.name.as_str(), design.description.clone()), ("night", None));
            assert_eq!(design.swept, ["train.sequence_length"]);
            assert_eq!((design.rank_by(), design.rank_at(), design.margin), ("common", "final", 0.002));
        }
    }

    #[test]
    fn what_is_said_is_read() {
        let json = r#"{"name": "n", "description": "d", "swept": ["train.stride"], "common_context": 64,
            "evaluate": {"rank_by": "native", "rank_at": "best"}, "report": {"margin": 0.01}, "tune": ["train.stride", "model.width"],
            "derive": {"train.stride": "sequence_length / 2"}, "search": null, "tokenizers": [{"label": "char", "lossless": true}]}"#;
        let design = read(Some(json), &["swept_train_stride"]);
        assert_eq!((design.name.as_str(), design.description.as_deref()), ("n", Some("d")));
        assert_eq!(design.swept, ["train.stride"]);
        assert_eq!((design.score(), design.other_score()), ("best_native", "best_common"));
        assert_eq!((design.common_context, design.margin), (Some(64), 0.01));
        assert_eq!(design.tune, ["train.stride"], "what is not swept cannot be tuned");
        assert_eq!((design.derived.as_slice(), design.searched), (["train.stride".to_owned()].as_slice(), false));
        for (label, expected) in [("char", true), ("byte", true), ("bpe-512", true), ("word", false), ("file", false)] {
            assert_eq!(design.is_lossless(label, None), expected, "{label}");
        }
    }

    #[test]
    fn one_label_may_stand_for_a_vocabulary_that_loses_text_and_one_that_does_not() {
        let json = r#"{"tokenizers": [{"label": "char", "hash": "a", "lossless": true}, {"label": "char", "hash": "b", "lossless": false},
            {"label": "file x.json", "hash": "c", "lossless": true}, {"label": "file y.json", "hash": "c", "lossless": false}]}"#;
        let design = read(Some(json), &[]);
        assert_eq!([design.is_lossless("char", Some("a")), design.is_lossless("char", Some("b"))], [true, false]);
        assert!(!design.is_lossless("file x.json", Some("c")), "on one of its texts it is not");
        assert!(!design.is_lossless("char", None), "which of them it is is not known");
    }

    #[test]
    fn keys_without_a_column_give_way_to_the_columns_there_are() {
        let design = read(Some(r#"{"swept": ["train.stride"]}"#), &["swept_train_clip_norm"]);
        assert_eq!(design.swept, ["train.clip_norm"]);
    }
}
