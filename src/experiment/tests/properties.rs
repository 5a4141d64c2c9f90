//! What holds for all files.

use proptest::prelude::*;

use super::settings::*;
use super::*;

fn some_settings() -> impl Strategy<Value = Settings> {
    let text = prop_oneof!["[a-z]{1,8}\\.txt", "[ -~]{1,12}", "\\PC{1,8}"]
        .prop_filter("a word of the settings, or nothing", |t| !t.trim().is_empty() && !matches!(t.as_str(), "none" | "auto"));
    let part = prop_oneof![
        (0.01f64..0.4).prop_map(Part::Fraction),
        text.clone().prop_map(Part::Path),
        Just(Part::None),
        Just(Part::Path("0.1".to_owned())),
    ];
    let tokenizer = prop_oneof![
        Just(Tokenizer::Char),
        Just(Tokenizer::Byte),
        (257usize..5000).prop_map(|vocab_size| Tokenizer::Bpe { vocab_size }),
        text.clone().prop_map(|path| Tokenizer::File { path }),
    ];
    let budget = prop_oneof![
        (1u64..1_000_000_000_000_000).prop_map(Budget::Tokens),
        (1u64..1000).prop_map(Budget::Steps),
        (0.01f64..100.0).prop_map(Budget::Epochs),
        (0.01f64..1e6).prop_map(Budget::Minutes),
    ];
    let clip = prop_oneof![Just(ClipNorm::Off), (1e-9f64..1e9).prop_map(ClipNorm::At)];
    let batch = prop_oneof![Just(BatchSize::Full), (1usize..1000).prop_map(BatchSize::Windows)];
    let corpus = (
        prop::collection::vec(text.clone(), 1..3),
        prop::option::of(text.clone()),
        part.clone(),
        part,
        prop::option::of(1u64..1 << 40),
    );
    let train = (1usize..4096, prop::option::of(1usize..4096), batch, any::<bool>(), clip, 1e-9f64..10.0, 0.0f64..1.0);
    (corpus, tokenizer, train, budget, 1usize..5, 0.0f64..0.99).prop_map(|(corpus, tokenizer, train, budget, heads, dropout)| {
        let (text, field, validation, test, max_bytes) = corpus;
        let (sequence_length, stride, batch_size, shuffle, clip_norm, learning_rate, beta1) = train;
        Settings {
            corpus: Corpus { text, field, join: Join::None, validation, test, max_bytes },
            tokenizer,
            model: Model { heads, width: heads * 32, dropout, bias: Some(shuffle), ..Model::default() },
            train: Train {
                sequence_length,
                stride,
                batch_size,
                shuffle,
                clip_norm,
                budget,
                learning_rate,
                beta1,
                precision: Precision::Bf16,
                ..Train::default()
            },
            run: Run { until: Some("07:00".to_owned()), slots: Some(heads), ..Run::default() },
            report: Report { margin: dropout / 10.0 },
            ..Settings::default()
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shown_configuration_reads_back_the_same(settings in some_settings(), seeds in prop::collection::vec(0u64..100, 1..4)) {
        let mut seeds = seeds;
        seeds.sort_unstable();
        seeds.dedup();
        let yaml = to_yaml("again", "what: it's \"for\" # this", &settings, &seeds, &["train.clip_norm", "model.from", "tokenizer", "corpus.validation", "corpus.field", "corpus.max_bytes"].map(str::to_owned));
        let (experiment, _) = match parse("again.yaml", &yaml, &Overrides::default()) {
            Ok(read) => read,
            Err(problems) => return Err(TestCaseError::fail(format!("{yaml}\n{}", problems.render(Style::default())))),
        };
        prop_assert_eq!(&experiment.base, &settings, "{}", yaml);
        prop_assert_eq!(&experiment.seeds, &seeds);
        prop_assert_eq!(experiment.description.as_str(), "what: it's \"for\" # this");
        let expansion = experiment.expand(1000, &mut Knowing::default()).unwrap();
        prop_assert_eq!(&expansion.configurations[0].settings, &settings);
    }

    #[test]
    fn combinations_are_the_product_of_the_axes(lengths in (1usize..6, 1usize..6, 1usize..6)) {
        let (a, b, c) = lengths;
        let list = |n: usize, by: usize| (1..=n).map(|i| (i * by).to_string()).collect::<Vec<_>>().join(", ");
        let text = format!(
            "grid:\n  train.batch_size: [{}]\n  train.sequence_length: [{}]\nzip: [{{model.layers: [{}], train.stride: [{}]}}]\n",
            list(a, 4), list(b, 16), list(c, 1), list(c, 3),
        );
        let experiment = experiment(&text);
        prop_assert_eq!(experiment.combinations(), Some((a * b * c) as u64));
        let expansion = expand(&experiment);
        prop_assert_eq!(expansion.configurations.len(), a * b * c);
        // The last axis goes fastest.
        for (index, configuration) in expansion.configurations.iter().enumerate() {
            prop_assert_eq!(configuration.settings.model.layers, index % c + 1);
            prop_assert_eq!(configuration.settings.train.stride, Some((index % c + 1) * 3));
            prop_assert_eq!(configuration.settings.train.sequence_length, (index / c % b + 1) * 16);
            prop_assert_eq!(configuration.settings.train.batch_size, BatchSize::Windows((index / c / b + 1) * 4));
        }
    }

    #[test]
    fn no_text_of_a_setting_makes_it_fall(key in prop::sample::select(keys::SETTINGS.clone()), value in "\\PC{0,20}") {
        let set = vec![format!("{key}={value}")];
        let _ = parse("x.yaml", HEAD, &Overrides { set, environment: vec![("VOTIVE_SET__SEEDS".to_owned(), value)] })
            .map_err(|problems| problems.render(Style { colour: true, unicode: true, width: 60 }));
    }

    #[test]
    fn no_text_as_a_file_makes_it_fall(text in "[-a-z0-9:{}\\[\\]\\n ,&*#'\"|>é.]{0,120}") {
        let _ = parse("x.yaml", &text, &Overrides::default()).map_err(|problems| problems.render(Style::default()));
        let _ = parse("x.yaml", &format!("{HEAD}{text}"), &Overrides::default()).map_err(|problems| problems.render(Style::default()));
    }

    #[test]
    fn no_expression_makes_it_fall(text in "[a-z0-9_.+*/%()<>=!,'\\[\\] -]{0,60}") {
        if let Ok(filter) = Filter::parse(&text) {
            let _ = filter.matches(&Settings::default(), 1, 1);
        }
    }

    #[test]
    fn arithmetic_agrees_with_the_machine(a in 1u32..1000, b in 1u32..1000, c in 1u32..100) {
        let (x, y, z) = (f64::from(a), f64::from(b), f64::from(c));
        for (text, expected) in [
            (format!("{a} + {b} * {c}"), x + y * z),
            (format!("({a} - {b}) / {c}"), (x - y) / z),
            (format!("-{a} // {c} + {b} % {c}"), (-x / z).floor() + y % z),
            (format!("max({a}, {b}) - min({a}, {b})"), (x - y).abs()),
        ] {
            let mut settings = Settings::default();
            settings.train.weight_decay = 0.0;
            let filter = Filter::parse(&format!("abs(({text}) - ({expected:?})) <= 1e-9 + weight_decay")).unwrap();
            prop_assert!(filter.matches(&settings, 1, 1).unwrap(), "{} is not {}", text, expected);
        }
    }
}
