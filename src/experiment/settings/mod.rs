//! The settings of one configuration: what they are called, their types and their defaults.
//!
//! Each field is a key of the experiment file. The types say what a setting can be; the text of the file is turned
//! into them by `text` (each setting parses its own words: `off`, `full`, `1e-4`, `20_000`).

mod checkpoint;
mod corpus;
mod evaluate;
mod model;
mod report;
mod run;
mod slurm;
mod tokenizer;
mod train;

use serde::{Deserialize, Serialize};

pub use checkpoint::{Checkpoint, WhenDone};
pub use corpus::{Corpus, Join, Part};
pub use evaluate::{Evaluate, RankAt, RankBy};
pub use model::{Activation, Family, Misfit, Model};
pub use report::Report;
pub use run::{DeviceChoice, Engine, On, Run, Timeout};
pub use slurm::Slurm;
pub use tokenizer::{Tokenizer, tokenizer_label};
pub use train::{BatchSize, Budget, ClipNorm, Precision, Schedule, Train};

/// All settings of one configuration. `Default` gives the documented defaults; `train.budget` and `corpus.text` have
/// none and must be set.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What is read.
    pub corpus: Corpus,
    /// How text becomes tokens.
    pub tokenizer: Tokenizer,
    /// What is trained.
    pub model: Model,
    /// How it is trained.
    pub train: Train,
    /// How it is scored. Not part of a trial's id, cannot be swept.
    pub evaluate: Evaluate,
    /// What is kept. Not part of a trial's id, cannot be swept.
    pub checkpoint: Checkpoint,
    /// Where and when it runs. Not part of a trial's id, cannot be swept.
    pub run: Run,
    /// What the report says of the results. Not part of a trial's id, cannot be swept.
    pub report: Report,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;

    #[test]
    fn what_is_written_as_json_reads_back_the_same() {
        let corpus = Corpus {
            text: vec!["a.txt".to_owned(), "b*.txt".to_owned()],
            field: Some("body".to_owned()),
            join: Join::None,
            validation: Part::Path("0.1".to_owned()),
            test: Part::Fraction(0.05),
            max_bytes: Some(10),
        };
        let mut settings = Settings { corpus, ..Settings::default() };
        settings.model.kv_heads = Some(2);
        settings.model.bias = Some(false);
        settings.train.batch_size = BatchSize::Full;
        settings.train.clip_norm = ClipNorm::Off;
        settings.train.learning_rate = 0.1 + 0.2;
        settings.run.device = DeviceChoice::This(Device::Cuda(1));
        settings.run.engine = Engine::Candle;
        settings.run.cuda_libraries = Some("libraries".to_owned());
        settings.run.until = Some("07:00".to_owned());
        settings.run.time = Some("1h30m".to_owned());
        settings.run.timeout = Timeout::After(130);
        settings.run.patience = 7;
        (settings.run.per_device, settings.run.gpu_busy, settings.run.mixed) = (2, 5, true);
        settings.run.on = On::Slurm;
        settings.run.slurm.partition = Some("gpu".to_owned());
        settings.report.margin = 0.01;
        for tokenizer in [Tokenizer::Char, Tokenizer::Bpe { vocab_size: 300 }, Tokenizer::File { path: "t.json".to_owned() }] {
            for budget in [Budget::Tokens(5), Budget::Bytes(6), Budget::Steps(7), Budget::Epochs(0.5), Budget::Minutes(2.5)] {
                settings.tokenizer = tokenizer.clone();
                settings.train.budget = budget;
                let json = serde_json::to_string(&settings).unwrap();
                assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings, "{json}");
            }
        }
        let json = serde_json::to_string(&Settings::default()).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), Settings::default());
    }

    #[test]
    fn an_unknown_key_in_json_is_refused_where_it_could_change_a_result() {
        assert!(serde_json::from_str::<Settings>(r#"{"train":{"strides":1}}"#).is_err());
        assert_eq!(serde_json::from_str::<Settings>(r#"{"report":{"words":1}}"#).unwrap(), Settings::default());
        let earlier = r#"{"run":{"slots":2,"per_device":1,"timeout":null,"notify":null}}"#;
        assert_eq!(serde_json::from_str::<Settings>(earlier).unwrap().run.slots, Some(2));
        assert_eq!(serde_json::from_str::<Settings>(earlier).unwrap().run.timeout, Timeout::Auto);
        for (earlier, device) in
            [("auto", DeviceChoice::Auto), ("cuda", DeviceChoice::Cuda), ("cuda:0", DeviceChoice::This(Device::Cuda(0)))]
        {
            let run = format!(r#"{{"run":{{"device":"{earlier}"}}}}"#);
            assert_eq!(serde_json::from_str::<Settings>(&run).unwrap().run.device, device);
        }
    }
}
