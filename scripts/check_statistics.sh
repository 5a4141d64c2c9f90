#!/usr/bin/env bash
# How often the report's rule is wrong, in synthetic experiments of which the truth is known: 4,000 for each line.
#
#   bash scripts/check_statistics.sh                   # ten minutes on an idle core, and the build
#   EXPERIMENTS=1000 bash scripts/check_statistics.sh  # fewer, and chance is allowed for
#
# In each experiment all configurations are equally good, so that whatever is out is out wrongly. A line for 2, 3, 5 and 10 seeds, 2 to 100
# configurations and nine ways of scattering: alike, up to 5 and up to 30 times as much, one ten times, half of them thirty times as
# much, near-duplicates, heavy tails, spikes, missing trials. In shares of the experiments:
#
#   the best out        of the configuration that was out most often
#   a sole winner       one was named, though all are equal
#   a whole three out   three configurations together; of near-duplicates a whole group
#
# The last line says how often a lead of four deviations of a single trial was found. It fails where a share is above what is promised;
# src/report/inference/calibration.rs says what that is, and runs a short form with the other tests. scripts/resample_trainings.py
# does the like with real trainings.
set -euo pipefail
cd "$(dirname "$0")/.."
export EXPERIMENTS="${EXPERIMENTS:-4000}"
cargo test --release --locked --lib -- --ignored --nocapture report::inference::calibration
