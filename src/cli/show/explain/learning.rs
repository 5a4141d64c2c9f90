//! Loss, and what the weights go through.

use super::numbers::Numbers;
use super::page::{Page, n};
use crate::experiment::settings::{ClipNorm, Precision};

pub(super) fn learning(page: &mut Page, numbers: &Numbers) {
    let untrained = match numbers.vocabulary {
        Some(v) => format!(
            "A model that has learned nothing finds all {} tokens of the vocabulary equally likely: its loss is ln {} = {:.2}, its \
             perplexity {}.",
            n(v),
            n(v),
            (v as f64).ln(),
            n(v)
        ),
        None => "A model that has learned nothing finds all V tokens of the vocabulary equally likely: its loss is ln V, its \
                 perplexity V."
            .to_owned(),
    };
    page.entry("loss", &format!("The mean of −ln(probability given to the right token), in nats a token. {untrained}"));
    page.entry(
        "perplexity",
        "exp(loss): the model is as unsure as if it chose among so many equally likely tokens. Lower is better, and only \
         perplexities under the same tokenizer can be compared.",
    );
    let limit = match numbers.clip_norm {
        Some(ClipNorm::Off) => "`clip_norm: off`: the norm of all gradients together is measured, and nothing is scaled. \
                                With a limit C they would be scaled so that it is at most C."
            .to_owned(),
        Some(ClipNorm::At(c)) => {
            format!("`clip_norm: {c}`: where the norm of all gradients together is above {c}, all are scaled so that it is {c}.")
        }
        None => "`clip_norm: C`: where the norm of all gradients together is above C, all are scaled so that it is C.".to_owned(),
    };
    page.entry(
        "clipping",
        &format!(
            "{limit} It limits gradients, not steps: AdamW then rescales every weight's gradient by its own recent size. So a \
             limit matters when a batch stands out, and hardly where it cuts every step alike."
        ),
    );
    let products = match numbers.precision {
        Precision::F32 => None,
        Precision::Tf32 => Some("`tf32`: the GPU multiplies numbers of 11 significant bits instead of 24"),
        Precision::Bf16 => Some("`bf16`: the GPU multiplies numbers of 8 significant bits instead of 24"),
    };
    if let Some(products) = products {
        let told = format!("{products}, and adds in 32 bits. Weights, moments, norms, softmax and loss stay in 32 bits.");
        page.entry("precision", &told);
    }
    page.entry(
        "checkpoint",
        "Weights, optimizer state and position, saved on the way: a trial that was killed goes on as if nothing had happened.",
    );
}
