//! The weights' copies in panels, as products read them: made again when the parameters have changed.

use std::ops::Range;
use std::sync::Mutex;

use super::layout::{Linear, WeightOrder};
use super::panels::{padded, rows_mut};
use super::vector::vectorized;
use super::{Engine, lock, packing};

impl Engine {
    /// Makes the weights' copies again if the parameters changed.
    pub(super) fn renew_copies(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let mut jobs: Vec<(&Linear, Copied, Range<usize>)> = Vec::new();
        for linear in self.layout.linears() {
            jobs.push((linear, Copied::Forward, linear.forward.clone()));
            jobs.push((linear, Copied::Backward, linear.backward.clone()));
            jobs.extend(linear.bias.clone().map(|bias| (linear, Copied::Bias, bias)));
        }
        jobs.sort_by_key(|(.., range)| range.start);
        let pieces = split(&mut self.copies, jobs.iter().map(|(.., range)| range.clone()));
        let (values, arch) = (&self.values, self.arch);
        self.pool.run(jobs.len(), |i, _| {
            let ((linear, which, _), mut copy) = (&jobs[i], lock(&pieces[i]));
            vectorized(
                arch,
                #[inline(always)]
                || renew(linear, *which, &mut copy, values),
            );
        });
    }
}

/// What a copy is of.
#[derive(Clone, Copy)]
enum Copied {
    Forward,
    Backward,
    Bias,
}

/// Makes one copy again.
#[inline(always)]
fn renew(linear: &Linear, which: Copied, copy: &mut [f32], values: &[f32]) {
    let (inputs, outputs) = (linear.inputs, linear.outputs);
    let [tall, wide] = [inputs, outputs].map(padded);
    for part in &linear.parts {
        let weight = &values[part.weight.clone()];
        match (linear.order, which) {
            (WeightOrder::InOut, Copied::Forward) => packing::pack(rows_mut(copy), tall, 0, weight, outputs),
            (WeightOrder::InOut, Copied::Backward) => packing::pack_transposed(rows_mut(copy), wide, 0, weight, outputs),
            (WeightOrder::OutIn, Copied::Forward) => packing::pack_transposed(rows_mut(copy), tall, part.first, weight, inputs),
            (WeightOrder::OutIn, Copied::Backward) => packing::pack(rows_mut(copy), wide, part.first, weight, inputs),
            (_, Copied::Bias) => {
                let Some(bias) = part.bias.clone() else { continue };
                copy[part.first..][..part.outputs].copy_from_slice(&values[bias]);
            }
        }
    }
}

/// Cuts an array into pieces that follow each other without a gap, each behind a lock of its own.
fn split(array: &mut [f32], ranges: impl Iterator<Item = Range<usize>>) -> Vec<Mutex<&mut [f32]>> {
    let mut rest = array;
    ranges
        .map(|range| {
            let (piece, after) = std::mem::take(&mut rest).split_at_mut(range.len());
            rest = after;
            Mutex::new(piece)
        })
        .collect()
}
