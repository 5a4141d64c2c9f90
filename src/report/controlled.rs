//! Whether two sides differ in nothing but what is compared.

use std::collections::BTreeSet;

use super::content::{Content, beginning};
use super::subject::Subject;
use crate::words;

/// Why two sides must not be called better and worse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forbids {
    /// `program`, `device`, `processor`, `tokenizer`, `text`, `protocol`, `budget`, `seeds`.
    pub(super) what: &'static str,
    /// The same in words: of a program it is the `arithmetic` that differs, where its version is known; of a processor the `GPU`, where
    /// it is one.
    pub(super) name: &'static str,
    /// What it is on the first side.
    pub(super) first: String,
    /// On the second.
    pub(super) second: String,
}

/// Why these two sides must not be called better and worse; `chosen` says which settings an experiment that both belong to
/// sweeps.
pub(super) fn forbidding(first: &[&Subject], second: &[&Subject], chosen: &dyn Fn(&str) -> bool) -> Vec<Forbids> {
    let mut sides = Sides { first, second, forbids: Vec::new() };
    sides.program();
    sides.device();
    let labels = sides.both(&|s| setting(s, "tokenizer"));
    let tokenizers = sides.hashes(&|content| content.tokenizer.as_ref());
    let same_tokens = tokenizers.as_ref().map_or(labels.0 == labels.1, |(a, b)| a == b);
    // A tokenizer that learns from the text is another one for another text.
    if !same_tokens && !chosen("tokenizer") && !chosen("corpus") {
        let values = tokenizers.filter(|_| labels.0 == labels.1).unwrap_or(labels);
        sides.differ("tokenizer", values);
    }
    sides.text(chosen("corpus"));
    sides.protocol(same_tokens);
    if !chosen("train.budget") {
        let budgets = sides.both(&|s| s.setting("train.budget").map(amount));
        sides.differ("budget", budgets);
    }
    sides.seeds();
    sides.forbids
}

/// The distinct values of something on both sides.
type Values = (BTreeSet<String>, BTreeSet<String>);

/// Two sides, and in what they were found to differ.
struct Sides<'a> {
    first: &'a [&'a Subject],
    second: &'a [&'a Subject],
    forbids: Vec<Forbids>,
}

impl<'a> Sides<'a> {
    fn both(&self, value: &dyn Fn(&Subject) -> Option<String>) -> Values {
        let each = |side: &[&Subject]| side.iter().filter_map(|subject| value(subject)).collect();
        (each(self.first), each(self.second))
    }

    /// The beginnings of a hash on both sides, where it is known of some trial of each.
    fn hashes(&self, of: &dyn Fn(&'a Content) -> Option<&'a String>) -> Option<Values> {
        let short = |side: &[&'a Subject]| {
            let all: BTreeSet<String> = side.iter().filter_map(|s| of(&s.content)).map(|hash| beginning(hash)).collect();
            Some(all).filter(|all| !all.is_empty())
        };
        Some((short(self.first)?, short(self.second)?))
    }

    /// Keeps that they differ in this, where it is known of both and they do; whether they do.
    fn differ(&mut self, name: &'static str, (a, b): Values) -> bool {
        let do_differ = !a.is_empty() && !b.is_empty() && a != b;
        if do_differ {
            let what = match name {
                "arithmetic" => "program",
                "GPU" => "processor",
                name => name,
            };
            let shown = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join(", ");
            self.forbids.push(Forbids { what, name, first: shown(a), second: shown(b) });
        }
        do_differ
    }

    /// Two builds of one arithmetic give the same bits.
    fn program(&mut self) {
        let versions =
            |side: &[&Subject]| side.iter().map(|s| s.arithmetic.map(|n| format!("version {n}"))).collect::<Option<_>>();
        if let (Some(a), Some(b)) = (versions(self.first), versions(self.second)) {
            self.differ("arithmetic", (a, b));
        } else {
            self.differ("program", self.both(&|s| s.program.clone()));
        }
    }

    fn device(&mut self) {
        if !self.differ("device", self.both(&|s| s.device.clone())) {
            let are_gpus = self.first.iter().chain(self.second).all(|s| s.device.as_deref() == Some("cuda"));
            self.differ(if are_gpus { "GPU" } else { "processor" }, self.both(&|s| s.processor.clone()));
        }
    }

    /// What is scored must be the same bytes whatever is swept; what is learned from may be what is compared.
    fn text(&mut self, is_compared: bool) {
        let scored = self.hashes(&|content| content.validation.as_ref()).filter(|(a, b)| a != b);
        match (scored, self.hashes(&|content| content.text.as_ref())) {
            (Some(scored), _) => {
                self.differ("text", scored);
            }
            (None, Some(all)) if !is_compared => {
                self.differ("text", all);
            }
            (None, Some(_)) => {}
            (None, None) => {
                for key in ["corpus.text", "corpus.field", "corpus.join", "corpus.validation", "corpus.max_bytes"] {
                    let value = |s: &Subject| format!("{key}: {}", setting(s, key).unwrap_or_else(|| "–".to_owned()));
                    self.differ("text", self.both(&|s| Some(value(s))));
                }
            }
        }
    }

    /// Across tokenizers the same text is another number of tokens, and the same context another number of bytes.
    fn protocol(&mut self, same_tokens: bool) {
        let protocols = self.both(&|s| {
            let tokens = s.scored_tokens.filter(|_| same_tokens);
            let tokens = tokens.map_or_else(String::new, |n| format!("{} tokens ", words::thousands(n)));
            Some(format!("{tokens}in windows of {} moving by {}", s.common_context?, s.common_stride?))
        });
        self.differ("protocol", protocols);
    }

    fn seeds(&mut self) {
        let seeds = |side: &[&Subject]| side.iter().filter_map(|s| s.seed).collect::<BTreeSet<_>>();
        let (a, b) = (seeds(self.first), seeds(self.second));
        if a.is_disjoint(&b) {
            let shown = |set: BTreeSet<i64>| set.into_iter().map(|seed| seed.to_string()).collect();
            self.differ("seeds", (shown(a), shown(b)));
        }
    }
}

/// A setting of it that is known and not empty.
fn setting(subject: &Subject, key: &str) -> Option<String> {
    subject.setting(key).filter(|value| !value.is_empty()).map(str::to_owned)
}

/// `200000 tokens` as `200,000 tokens`.
pub(super) fn amount(budget: &str) -> String {
    match budget.split_once(' ').map(|(number, unit)| (number.parse::<i64>(), unit)) {
        Some((Ok(number), unit)) => format!("{} {unit}", words::thousands(number)),
        _ => budget.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::tests::of;
    use super::*;
    use crate::experiment::settings::ClipNorm;
    use crate::record::tests::{completed, plan};

    #[test]
    fn another_protocol_budget_text_or_no_seed_in_common_forbids_it_too() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let subjects = of(&plan, &[completed(2.0, None), completed(1.8, None)]);
        let why = |change: &dyn Fn(&mut Subject), chosen: &str| -> Vec<&'static str> {
            let mut other = subjects[1].clone();
            change(&mut other);
            forbidding(&[&subjects[0]], &[&other], &|key| key == chosen).into_iter().map(|f| f.what).collect()
        };
        let set = |key: &'static str, value: &'static str| {
            move |s: &mut Subject| s.settings.iter_mut().find(|(k, _)| k == key).unwrap().1 = value.to_owned()
        };
        assert!(why(&|_| {}, "").is_empty());
        assert_eq!(why(&|s| s.seed = Some(7), ""), ["seeds"]);
        assert_eq!(why(&|s| s.scored_tokens = Some(7), ""), ["protocol"]);
        assert_eq!(why(&|s| s.common_context = Some(7), ""), ["protocol"]);
        assert_eq!(why(&set("train.budget", "7 steps"), ""), ["budget"]);
        assert_eq!(why(&set("corpus.validation", "0.2"), ""), ["text"]);
        assert_eq!(why(&set("tokenizer", "byte"), ""), ["tokenizer"]);
        assert!(why(&set("tokenizer", "byte"), "tokenizer").is_empty(), "what is swept is what is compared");
        assert!(why(&set("train.budget", "7 steps"), "train.budget").is_empty());
    }

    #[test]
    fn what_trained_them_forbids_it_where_it_may_round_otherwise() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut subjects = of(&plan, &[completed(2.0, None), completed(1.8, None)]);
        subjects[0].program = Some("votive 0.2.0".to_owned());
        let of_two = |first: &dyn Fn(&mut Subject), second: &dyn Fn(&mut Subject)| -> Vec<(&'static str, &'static str)> {
            let [mut a, mut b] = [subjects[0].clone(), subjects[1].clone()];
            first(&mut a);
            second(&mut b);
            forbidding(&[&a], &[&b], &|_| false).into_iter().map(|f| (f.what, f.name)).collect()
        };
        let arithmetic = |version: i64| move |s: &mut Subject| s.arithmetic = Some(version);
        let unknown = |_: &mut Subject| {};
        assert_eq!(of_two(&unknown, &unknown), [("program", "program")]);
        assert_eq!(of_two(&arithmetic(4), &unknown), [("program", "program")]);
        assert!(of_two(&arithmetic(4), &arithmetic(4)).is_empty(), "two builds of one arithmetic compare");
        assert_eq!(of_two(&arithmetic(3), &arithmetic(4)), [("program", "arithmetic")]);
        let on = |processor: &'static str, device: &'static str| {
            move |s: &mut Subject| {
                (s.arithmetic, s.processor, s.device) = (Some(4), Some(processor.to_owned()), Some(device.to_owned()));
            }
        };
        assert!(of_two(&on("a", "cpu"), &on("a", "cpu")).is_empty());
        assert_eq!(of_two(&on("a", "cpu"), &on("b", "cpu")), [("processor", "processor")]);
        assert_eq!(of_two(&on("a", "cuda"), &on("b", "cuda")), [("processor", "GPU")]);
        assert_eq!(of_two(&on("a", "cpu"), &on("b", "cuda")), [("device", "device")], "it says both");
        assert!(of_two(&on("a", "cpu"), &arithmetic(4)).is_empty(), "only where both are known");
    }

    #[test]
    fn content_decides_and_not_what_it_is_called() {
        let plan = plan(&[32, 64], &[ClipNorm::Off], &[1]);
        let mut subjects = of(&plan, &[completed(2.0, None), completed(1.8, None)]);
        let content = |text: &str, validation: &str, tokenizer: &str| Content {
            text: Some(text.to_owned()),
            validation: Some(validation.to_owned()),
            tokenizer: Some(tokenizer.to_owned()),
        };
        subjects[0].content = content("a", "v", "t");
        let why = |text: &str, validation: &str, tokenizer: &str, chosen: &str| -> Vec<&'static str> {
            let mut other = subjects[1].clone();
            other.content = content(text, validation, tokenizer);
            // Called otherwise, which is no difference.
            other.settings.iter_mut().find(|(key, _)| key == "corpus.text").unwrap().1 = "elsewhere.txt".to_owned();
            other.settings.iter_mut().find(|(key, _)| key == "tokenizer").unwrap().1 = "file t.json".to_owned();
            forbidding(&[&subjects[0]], &[&other], &|key| key == chosen).into_iter().map(|f| f.what).collect()
        };
        assert!(why("a", "v", "t", "").is_empty(), "one vocabulary under two labels, one text under two names");
        assert_eq!(why("a", "v", "u", ""), ["tokenizer"]);
        assert_eq!(why("b", "v", "t", ""), ["text"]);
        assert!(why("b", "v", "u", "corpus").is_empty(), "what is swept is what is compared, and its vocabulary follows");
        for chosen in ["", "corpus"] {
            assert_eq!(why("b", "w", "t", chosen), ["text"], "other scored bytes are never compared");
        }
    }
}
