//! `--only 'sequence_length == 128'`: which configurations are meant.

use crate::error::{Error, Result};

use super::expression::{Datum, Kind, Program, Trouble, Values};
use super::names::Names;
use super::settings::Settings;

/// A condition on settings, seeds and the numbers of configurations.
#[derive(Debug)]
pub struct Filter {
    program: Program,
}

impl Filter {
    /// Reads a condition.
    ///
    /// # Errors
    /// A name that does not exist, or an expression that is neither true nor false.
    pub fn parse(text: &str) -> Result<Self> {
        let names = Names::with(["seed", "configuration"].map(|name| (name.to_owned(), Kind::Number)).to_vec());
        let program = Program::parse(text, &names).map_err(|fault| {
            let error = Error::usage(format!("the condition `{text}` cannot be read: {}", fault.message));
            match fault.help {
                Some(help) => error.help(help),
                None => error,
            }
        })?;
        if program.kind() != Kind::Boolean {
            let error = Error::usage(format!("the condition `{text}` is neither true nor false"));
            return Err(error.help("compare something: `sequence_length == 128`"));
        }
        Ok(Self { program })
    }

    /// Whether the condition holds for a trial. `full` counts as larger than every number.
    ///
    /// # Errors
    /// A condition that has no answer, such as a division by zero.
    pub fn matches(&self, settings: &Settings, seed: u64, configuration: usize) -> Result<bool> {
        let columns = settings.columns();
        let own = [Datum::Number(seed as f64), Datum::Number(configuration as f64)];
        let mut values = Values { columns: &columns, own: &own, full: &mut || Some(f64::INFINITY) };
        match self.program.evaluate(&mut values) {
            Ok(datum) => Ok(datum == Datum::Boolean(true)),
            Err(Trouble::Unknown) => Ok(false),
            Err(Trouble::Failed(why)) => {
                let read = self.program.context(&mut values);
                Err(Error::usage(format!("`{}` cannot be decided{read}: {why}", self.program.text())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{BatchSize, Budget, ClipNorm, Tokenizer};
    use super::*;

    fn settings() -> Settings {
        let mut settings = Settings { tokenizer: Tokenizer::Bpe { vocab_size: 512 }, ..Settings::default() };
        settings.train.budget = Budget::Steps(100);
        settings
    }

    #[test]
    fn conditions_hold_or_do_not() {
        let mut other = settings();
        other.train.clip_norm = ClipNorm::Off;
        other.train.batch_size = BatchSize::Full;
        other.model.dropout = 0.1;
        for (text, first, second) in [
            ("sequence_length == 128", true, true),
            ("train.sequence_length != 128", false, false),
            ("clip_norm == off", false, true),
            ("clip_norm > 0.5", true, true),
            ("batch_size == full", false, true),
            ("batch_size * sequence_length > 4096", false, true),
            ("batch_size in [8, 16]", true, false),
            ("batch_size not in [8, 16]", false, true),
            ("kind == bpe", true, true),
            ("kind == 'char' or dropout > 0", false, true),
            ("bpe == tokenizer.kind", true, true),
            ("family in [gpt2, llama] and not shuffle", false, false),
            ("shuffle", true, true),
            ("shuffle == true", true, true),
            ("64 < sequence_length <= 128", true, true),
            ("2 ** 3 ** 2 == 512", true, true),
            ("-2 ** 2 == -4", true, true),
            ("(1 + 2) * 3 == 9 and 7 // 2 == 3 and 7 % 2 == 1 and 1 / 4 == 0.25", true, true),
            ("min(1, 2, 3) + max(1, 2) + abs(-1) == 4", true, true),
            ("ceil(1.2) == 2 and floor(1.8) == 1 and round(1.5) == 2 and sqrt(16) == 4 and log2(8) == 3", true, true),
            ("train.budget.steps == 100 and budget == 1e2", true, true),
            ("stride == 128", true, true),
            ("20_000 == 2e4 and .5 == 0.5", true, true),
            ("not (sequence_length == 128 and stride == 64)", true, true),
            ("vocab_size >= 512", true, true),
            ("seed == 3 and seed in [1, 3]", true, true),
            ("seed != 3 or seed > 3", false, false),
            ("configuration == 7 and configuration in [1, 7]", true, true),
        ] {
            let filter = Filter::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(filter.matches(&settings(), 3, 7).unwrap(), first, "{text}");
            assert_eq!(filter.matches(&other, 3, 7).unwrap(), second, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_before_anything_is_evaluated() {
        for (text, expected) in [
            ("kind + 1 > 0", "`kind` is a word: it can only be compared with a word, not used with `+`"),
            ("kind * 2 == 4", "`kind` is a word: it can only be compared with a word, not used with `*`"),
            ("kind > bpe", "`kind` is no number: it can only be compared by `==`, `!=` and `in`"),
            ("kind == 3", "`kind` is a word, but `3` is a number"),
            ("kind == bep", "`tokenizer.kind` is never `bep`, it is one of char, byte, word, bpe, file"),
            ("sequence_lenght == 128", "there is no setting called `sequence_lenght`"),
            ("train.block_size == 128", "there is no setting called `train.block_size`"),
            ("nothing_such + 1 > 2", "there is no setting called `nothing_such`"),
            ("sequence_length", "is neither true nor false"),
            ("sequence_length + 1", "is neither true nor false"),
            ("shuffle + 1 > 0", "`shuffle` is true or false, not a number: `+` needs numbers"),
            ("sequence_length and shuffle", "`sequence_length` is a number: `and` needs something that is true or false"),
            ("'a' | upper == 'A'", "`|` has no meaning in an expression"),
            ("kind.upper() == 'BPE'", "there is no function called `kind.upper`"),
            ("kind[0] == 'b'", "`[` is not expected here"),
            ("range(10) == 1", "there is no function called `range`"),
            ("debug()", "there is no function called `debug`"),
            ("loop.index == 1", "there is no setting called `loop.index`"),
            ("self.x == 1", "there is no setting called `self.x`"),
            ("batch_size is defined", "`is` is not expected here"),
            ("1 if shuffle else 2", "`if` is not expected here"),
            ("{% raw %}", "`{` has no meaning in an expression"),
            ("batch_size = 8", "`=` has no meaning in an expression"),
            ("batch_size == 8 && shuffle", "`&&` has no meaning in an expression"),
            ("batch_size in 8", "`in` needs a list"),
            ("batch_size in []", "the list is empty"),
            ("batch_size in [8", "a list is not closed by `]`"),
            ("(batch_size == 8", "a parenthesis is not closed"),
            ("batch_size ==", "the expression ends too early"),
            ("", "the expression ends too early"),
            ("sqrt(1, 2) > 1", "`sqrt` takes one number"),
            ("min() > 1", "`min` takes at least one number"),
            ("'a", "a quote is not closed"),
            ("1x > 0", "`1x` is not a number"),
            ("batch_size == 8 8", "`8` is not expected here"),
        ] {
            let message = match Filter::parse(text) {
                Ok(_) => panic!("{text} was taken"),
                Err(error) => error.to_string(),
            };
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn nesting_and_length_have_an_end() {
        for text in ["(".repeat(10_000), "-".repeat(1_000), "not ".repeat(400), format!("1{} > 0", " ** 1".repeat(300))] {
            assert!(Filter::parse(&text).is_err());
        }
        let sum = format!("1{} > 0", " + 1".repeat(20));
        assert!(Filter::parse(&sum).unwrap().matches(&settings(), 3, 7).unwrap());
    }

    #[test]
    fn a_condition_without_an_answer_says_so() {
        let error = Filter::parse("1 / (sequence_length - 128) > 1").unwrap().matches(&settings(), 3, 7).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`1 / (sequence_length - 128) > 1` cannot be decided where `sequence_length` is 128: it divides by zero"
        );
        let mut plain = settings();
        (plain.tokenizer, plain.train.clip_norm) = (Tokenizer::Char, ClipNorm::Off);
        for undecided in [
            "clip_norm * dropout < 1",
            "clip_norm * dropout >= 1",
            "clip_norm - clip_norm == 0",
            "sqrt(0 - dropout - 1) < 1",
            "max(1, clip_norm / clip_norm) > 0",
        ] {
            let error = Filter::parse(undecided).unwrap().matches(&plain, 3, 7).unwrap_err();
            assert!(error.to_string().ends_with("it has no value"), "{undecided}: {error}");
        }
        // What the left side decides asks for nothing on the right.
        for (text, answer) in [
            ("kind == bpe and vocab_size > 1", false),
            ("kind == char or vocab_size > 1", true),
            ("not (kind == bpe and vocab_size > 1)", true),
        ] {
            assert_eq!(Filter::parse(text).unwrap().matches(&plain, 3, 7).unwrap(), answer, "{text}");
        }
        let error = Filter::parse("vocab_size > 1").unwrap().matches(&plain, 3, 7).unwrap_err();
        assert!(error.to_string().contains("`tokenizer.vocab_size` is not set there"), "{error}");
    }
}
