//! The rows of `train` as tables, and back.

use parquet::data_type::ByteArray;

use super::schema;
use super::table::{Table, Value};
use crate::error::{Error, Result};
use crate::rows::{
    CheckpointKind, CheckpointRow, EvaluationRow, PositionBin, Positions, Protocol, ScoredPart, StepRow, TokenNll,
};

/// Tokens in one row group.
const TOKEN_ROWS: usize = 1 << 16;

/// exp(loss), or null where it overflows.
fn perplexity(loss: Option<f64>) -> Value {
    Value::Float64(loss.map(f64::exp))
}

pub(super) fn steps_table(trial_id: &str, rows: &[StepRow]) -> Table {
    let mut table = Table::new(schema::steps(), rows.len());
    let id = ByteArray::from(trial_id.as_bytes().to_vec());
    for row in rows {
        table.push([
            Value::Text(Some(id.clone())),
            Value::Int32(Some(row.attempt)),
            Value::Int64(Some(row.step)),
            Value::Int64(Some(row.epoch)),
            Value::Int64(Some(row.tokens_seen)),
            Value::Float64(row.loss),
            perplexity(row.loss),
            Value::Float64(row.grad_norm),
            Value::Float64(row.clip_coefficient),
            Value::Bool(Some(row.clipped)),
            Value::Float64(Some(row.learning_rate)),
            Value::Float64(Some(row.step_seconds)),
            Value::Float64(Some(row.tokens_per_second)),
            Value::Int64(Some(row.time_utc)),
        ]);
    }
    table
}

pub(super) fn steps_rows(table: &Table) -> Result<Vec<StepRow>> {
    let attempt = table.int64("attempt");
    let (step, epoch, tokens_seen) = (table.int64("step"), table.int64("epoch"), table.int64("tokens_seen"));
    let (loss, grad_norm, clip) = (table.float64("loss"), table.float64("grad_norm"), table.float64("clip_coefficient"));
    let (clipped, learning_rate) = (table.bool("clipped"), table.float64("learning_rate"));
    let (seconds, rate, time_utc) = (table.float64("step_seconds"), table.float64("tokens_per_second"), table.int64("time_utc"));
    (0..table.rows())
        .map(|i| {
            Ok(StepRow {
                attempt: i32::try_from(there(attempt[i], "attempt")?).map_err(|_| missing("attempt"))?,
                step: there(step[i], "step")?,
                epoch: there(epoch[i], "epoch")?,
                tokens_seen: there(tokens_seen[i], "tokens_seen")?,
                loss: loss[i],
                grad_norm: grad_norm[i],
                clip_coefficient: clip[i],
                clipped: there(clipped[i], "clipped")?,
                learning_rate: there(learning_rate[i], "learning_rate")?,
                step_seconds: there(seconds[i], "step_seconds")?,
                // A step of no measurable time has no rate; nothing computes with it again.
                tokens_per_second: rate[i].unwrap_or(f64::INFINITY),
                time_utc: there(time_utc[i], "time_utc")?,
            })
        })
        .collect()
}

pub(super) fn evaluations_table(trial_id: &str, rows: &[EvaluationRow]) -> Table {
    let mut table = Table::new(schema::evaluations(), rows.len());
    for row in rows {
        table.push([
            Value::text(trial_id),
            Value::Int64(Some(row.step)),
            Value::Int64(Some(row.tokens_seen)),
            Value::text(row.protocol.name()),
            Value::text(row.kind.name()),
            Value::text(row.part.name()),
            Value::Int64(Some(row.context)),
            Value::Int64(Some(row.stride)),
            Value::Int64(Some(row.scored_tokens)),
            Value::Int64(Some(row.scored_bytes)),
            Value::Float64(row.nll_sum),
            Value::Float64(row.loss()),
            Value::Float64(row.perplexity()),
            Value::Float64(row.bits_per_byte()),
            Value::Float64(Some(row.seconds)),
            Value::Int64(Some(row.time_utc)),
        ]);
    }
    table
}

pub(super) fn evaluations_rows(table: &Table) -> Result<Vec<EvaluationRow>> {
    let (protocol, kind, part) = (table.text("protocol"), table.text("kind"), table.text("part"));
    let (step, tokens_seen) = (table.int64("step"), table.int64("tokens_seen"));
    let (context, stride) = (table.int64("context"), table.int64("stride"));
    let (scored_tokens, scored_bytes) = (table.int64("scored_tokens"), table.int64("scored_bytes"));
    let (nll_sum, seconds, time_utc) = (table.float64("nll_sum"), table.float64("seconds"), table.int64("time_utc"));
    (0..table.rows())
        .map(|i| {
            Ok(EvaluationRow {
                step: there(step[i], "step")?,
                tokens_seen: there(tokens_seen[i], "tokens_seen")?,
                protocol: protocol_named(protocol[i].as_deref())?,
                kind: kind_named(kind[i].as_deref())?,
                part: part_named(part[i].as_deref())?,
                context: there(context[i], "context")?,
                stride: there(stride[i], "stride")?,
                scored_tokens: there(scored_tokens[i], "scored_tokens")?,
                scored_bytes: there(scored_bytes[i], "scored_bytes")?,
                nll_sum: nll_sum[i],
                seconds: there(seconds[i], "seconds")?,
                time_utc: there(time_utc[i], "time_utc")?,
            })
        })
        .collect()
}

pub(super) fn checkpoints_table(trial_id: &str, rows: &[CheckpointRow]) -> Table {
    let mut table = Table::new(schema::checkpoints(), rows.len());
    for row in rows {
        table.push([
            Value::text(trial_id),
            Value::Int64(Some(row.step)),
            Value::Int64(Some(row.tokens_seen)),
            Value::text(row.kind.name()),
            Value::text(row.path.as_str()),
            Value::Int64(Some(row.bytes)),
            Value::text(row.blake3.as_str()),
            Value::Float64(row.validation_loss),
            Value::Float64(Some(row.save_seconds)),
            Value::Int64(Some(row.time_utc)),
            Value::Int64(row.deleted_utc),
        ]);
    }
    table
}

pub(super) fn checkpoints_rows(table: &Table) -> Result<Vec<CheckpointRow>> {
    let (step, tokens_seen, bytes) = (table.int64("step"), table.int64("tokens_seen"), table.int64("bytes"));
    let (kind, path, blake3) = (table.text("kind"), table.text("path"), table.text("blake3"));
    let (loss, seconds) = (table.float64("validation_loss"), table.float64("save_seconds"));
    let (time_utc, deleted_utc) = (table.int64("time_utc"), table.int64("deleted_utc"));
    (0..table.rows())
        .map(|i| {
            Ok(CheckpointRow {
                step: there(step[i], "step")?,
                tokens_seen: there(tokens_seen[i], "tokens_seen")?,
                kind: kind_named(kind[i].as_deref())?,
                path: there(path[i].clone(), "path")?,
                bytes: there(bytes[i], "bytes")?,
                blake3: there(blake3[i].clone(), "blake3")?,
                validation_loss: loss[i],
                save_seconds: there(seconds[i], "save_seconds")?,
                time_utc: there(time_utc[i], "time_utc")?,
                deleted_utc: deleted_utc[i],
            })
        })
        .collect()
}

/// The tables of an evaluation's tokens, one after the other: of a long text all rows at once would take more memory than its model.
pub(super) fn token_nll_tables(trial_id: &str, scores: &TokenNll) -> impl Iterator<Item = Table> {
    let words = |text: &str| ByteArray::from(text.as_bytes().to_vec());
    let (id, protocol, kind) = (words(trial_id), words(scores.protocol.name()), words(scores.kind.name()));
    let parts = scores.positions.chunks(TOKEN_ROWS).zip(scores.tokens.chunks(TOKEN_ROWS)).zip(scores.nll.chunks(TOKEN_ROWS));
    parts.map(move |((positions, tokens), nll)| {
        let mut table = Table::new(schema::token_nll(), positions.len());
        for ((&position, &token), &nll) in positions.iter().zip(tokens).zip(nll) {
            table.push([
                Value::Text(Some(id.clone())),
                Value::Text(Some(protocol.clone())),
                Value::Int64(Some(scores.context)),
                Value::Int64(Some(scores.stride)),
                Value::Text(Some(kind.clone())),
                Value::Int64(Some(position)),
                Value::Int64(Some(i64::from(token))),
                Value::Float32(Some(nll)),
            ]);
        }
        table
    })
}

/// One of the tables of an evaluation's tokens: those of one evaluation. `None` of an empty one. What was not finite is infinite.
pub(super) fn token_nll_rows(table: &Table) -> Result<Option<TokenNll>> {
    let (protocol, kind) = (table.text("protocol"), table.text("checkpoint_kind"));
    let (context, stride) = (table.int64("context"), table.int64("stride"));
    let (position, token, nll) = (table.int64("position"), table.int64("token"), table.float64("nll"));
    if table.rows() == 0 {
        return Ok(None);
    }
    let number = |token: Option<i64>| u32::try_from(there(token, "token")?).map_err(|_| missing("token"));
    Ok(Some(TokenNll {
        protocol: protocol_named(protocol[0].as_deref())?,
        context: there(context[0], "context")?,
        stride: there(stride[0], "stride")?,
        kind: kind_named(kind[0].as_deref())?,
        positions: position.into_iter().map(|position| there(position, "position")).collect::<Result<_>>()?,
        tokens: token.into_iter().map(number).collect::<Result<_>>()?,
        nll: nll.into_iter().map(|nll| nll.map_or(f32::INFINITY, |nll| nll as f32)).collect(),
    }))
}

pub(super) fn positions_table(trial_id: &str, all: &[Positions]) -> Table {
    let mut table = Table::new(schema::positions(), all.iter().map(|p| p.bins.len()).sum());
    for positions in all {
        for bin in &positions.bins {
            table.push([
                Value::text(trial_id),
                Value::text(positions.kind.name()),
                Value::text(positions.protocol.name()),
                Value::Int64(Some(positions.context)),
                Value::Int64(Some(bin.first)),
                Value::Int64(Some(bin.last)),
                Value::Int64(Some(bin.tokens)),
                Value::Float64(Some(bin.nll_sum)),
            ]);
        }
    }
    table
}

/// The rows of one evaluation lie together. What was not finite is infinite.
pub(super) fn positions_rows(table: &Table) -> Result<Vec<Positions>> {
    let (kind, protocol, context) = (table.text("checkpoint_kind"), table.text("protocol"), table.int64("context"));
    let (first, last) = (table.int64("first_position"), table.int64("last_position"));
    let (tokens, nll_sum) = (table.int64("tokens"), table.float64("nll_sum"));
    let mut all: Vec<Positions> = Vec::new();
    for i in 0..table.rows() {
        let protocol = protocol_named(protocol[i].as_deref())?;
        let (kind, context) = (kind_named(kind[i].as_deref())?, there(context[i], "context")?);
        let bin = PositionBin {
            first: there(first[i], "first_position")?,
            last: there(last[i], "last_position")?,
            tokens: there(tokens[i], "tokens")?,
            nll_sum: nll_sum[i].unwrap_or(f64::INFINITY),
        };
        match all.last_mut().filter(|of| (of.protocol, of.kind, of.context) == (protocol, kind, context)) {
            Some(of) => of.bins.push(bin),
            None => all.push(Positions { protocol, context, kind, bins: vec![bin] }),
        }
    }
    Ok(all)
}

fn missing(column: &str) -> Error {
    Error::data(format!("a row has no `{column}`"))
}

fn there<T>(value: Option<T>, column: &str) -> Result<T> {
    value.ok_or_else(|| missing(column))
}

fn protocol_named(name: Option<&str>) -> Result<Protocol> {
    [Protocol::Common, Protocol::Native].into_iter().find(|p| Some(p.name()) == name).ok_or_else(|| missing("protocol"))
}

fn part_named(name: Option<&str>) -> Result<ScoredPart> {
    [ScoredPart::Validation, ScoredPart::Test].into_iter().find(|p| Some(p.name()) == name).ok_or_else(|| missing("part"))
}

fn kind_named(name: Option<&str>) -> Result<CheckpointKind> {
    [CheckpointKind::Periodic, CheckpointKind::Best, CheckpointKind::Final]
        .into_iter()
        .find(|k| Some(k.name()) == name)
        .ok_or_else(|| missing("kind"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::record) fn step(step: i64) -> StepRow {
        StepRow {
            attempt: 1,
            step,
            epoch: 1 + step / 10,
            tokens_seen: step * 64,
            loss: Some(4.0 / step as f64),
            grad_norm: Some(1.25),
            clip_coefficient: Some(0.8),
            clipped: true,
            learning_rate: 1e-3,
            step_seconds: 0.002,
            tokens_per_second: 32_000.0,
            time_utc: 1_700_000_000_000_000 + step,
        }
    }

    pub(in crate::record) fn evaluation(step: i64, kind: CheckpointKind) -> EvaluationRow {
        EvaluationRow {
            step,
            tokens_seen: step * 64,
            protocol: Protocol::Common,
            kind,
            part: ScoredPart::Validation,
            context: 32,
            stride: 16,
            scored_tokens: 1000,
            scored_bytes: 1000,
            nll_sum: Some(2_000.0),
            seconds: 0.1,
            time_utc: 1_700_000_000_000_000,
        }
    }

    pub(in crate::record) fn checkpoint(step: i64, kind: CheckpointKind) -> CheckpointRow {
        CheckpointRow {
            step,
            tokens_seen: step * 64,
            kind,
            path: format!("checkpoints/step-{step:08}"),
            bytes: 1 << 20,
            blake3: "00ff".to_owned(),
            validation_loss: Some(2.0),
            save_seconds: 0.05,
            time_utc: 1_700_000_000_000_000,
            deleted_utc: None,
        }
    }

    #[test]
    fn rows_become_tables_and_rows_again() {
        let mut steps: Vec<StepRow> = (1..=5).map(step).collect();
        steps[2] = StepRow { loss: None, grad_norm: None, clip_coefficient: None, clipped: false, ..steps[2].clone() };
        assert_eq!(steps_rows(&steps_table("a", &steps)).unwrap(), steps);
        let mut evaluations =
            [CheckpointKind::Periodic, CheckpointKind::Best, CheckpointKind::Final].map(|kind| evaluation(7, kind)).to_vec();
        evaluations[1].nll_sum = None;
        evaluations[2].protocol = Protocol::Native;
        assert_eq!(evaluations_rows(&evaluations_table("a", &evaluations)).unwrap(), evaluations);
        let mut checkpoints = vec![checkpoint(1, CheckpointKind::Periodic), checkpoint(2, CheckpointKind::Final)];
        checkpoints[0].deleted_utc = Some(1_700_000_000_000_001);
        checkpoints[1].validation_loss = None;
        assert_eq!(checkpoints_rows(&checkpoints_table("a", &checkpoints)).unwrap(), checkpoints);
    }

    #[test]
    fn perplexity_is_null_where_the_loss_is_or_where_it_overflows() {
        for (loss, expected) in [(Some(2.0), Some(2f64.exp())), (Some(800.0), None), (None, None), (Some(f64::NAN), None)] {
            let table = steps_table("a", &[StepRow { loss, ..step(1) }]);
            assert_eq!(table.float64("perplexity"), [expected], "{loss:?}");
        }
    }

    #[test]
    fn figures_of_an_evaluation_follow_from_its_sum() {
        let table = evaluations_table("a", &[evaluation(1, CheckpointKind::Final)]);
        assert_eq!(table.float64("loss"), [Some(2.0)]);
        assert_eq!(table.float64("perplexity"), [Some(2f64.exp())]);
        assert_eq!(table.float64("bits_per_byte"), [Some(2_000.0 / (1_000.0 * std::f64::consts::LN_2))]);
    }

    #[test]
    fn the_tokens_of_a_long_text_are_tables_of_bounded_size() {
        let tokens = 2 * TOKEN_ROWS + 3;
        let scores = TokenNll {
            protocol: Protocol::Common,
            context: 32,
            stride: 16,
            kind: CheckpointKind::Final,
            positions: (2..tokens as i64 + 2).collect(),
            tokens: vec![7; tokens],
            nll: vec![1.5; tokens],
        };
        let tables: Vec<Table> = token_nll_tables("a", &scores).collect();
        assert_eq!(tables.iter().map(Table::rows).collect::<Vec<_>>(), [TOKEN_ROWS, TOKEN_ROWS, 3]);
        let positions: Vec<i64> = tables.iter().flat_map(|table| table.int64("position")).flatten().collect();
        assert_eq!(positions, scores.positions);
        let short = TokenNll { positions: vec![2, 3], tokens: vec![7, 0], nll: vec![0.1, f32::INFINITY], ..scores };
        let table = token_nll_tables("a", &short).next().unwrap();
        assert_eq!(token_nll_rows(&table).unwrap(), Some(short));
        assert_eq!(token_nll_rows(&Table::new(schema::token_nll(), 0)).unwrap(), None);
    }

    #[test]
    fn losses_by_position_become_a_table_and_rows_again() {
        let of = |kind, protocol, nll_sum| {
            let bins = [(1, 1), (2, 2), (3, 4)].map(|(first, last)| PositionBin { first, last, tokens: 9, nll_sum });
            Positions { protocol, context: 4, kind, bins: bins.to_vec() }
        };
        let all = [
            of(CheckpointKind::Final, Protocol::Native, 1.5),
            of(CheckpointKind::Best, Protocol::Native, f64::INFINITY),
            of(CheckpointKind::Best, Protocol::Common, 0.5),
        ];
        assert_eq!(positions_rows(&positions_table("a", &all)).unwrap(), all);
    }

    #[test]
    fn an_unknown_word_is_an_error_and_not_a_guess() {
        assert!(protocol_named(Some("other")).is_err());
        assert!(kind_named(None).is_err());
    }
}
