#!/usr/bin/env python3
"""How often the report is wrong about real trainings: some of many seeds are reported, all of them say what is true.

    pip install pyarrow
    cargo build --release
    python scripts/resample_trainings.py [--votive PROGRAM] [--out FOLDER] [--draws 300] [--drawn 2,3,5] [--pool 20] [--tokens 60000]

Trains a sweep of two axes, 4 learning rates × 3 clip norms on the built-in book, with 20 seeds: 240 small trainings, about two minutes
of processor time. With `--out` they are kept, and the same command trains none again. Then it draws 2, 3 or 5 of the seeds, always the
same draws, and has `votive report` make its report of these alone, from a table of trials without the others (2,370 reports, about five
minutes). What a mean over all 20 seeds says is taken for the truth.

  as trained   the results as they are.
  all equal    each configuration is shifted so that its mean over all seeds is that of the others. Each is as good as the best, so
               that whatever is out is out wrongly, and every sole winner is named wrongly: the hardest case for the rule.
  one leads    the same, but the truly best one is ahead of all others by the reach that the reports of the results as trained
               state in the median.

What it prints, a column for each number of seeds drawn, in shares of the draws:

  best out          a configuration with the lowest true mean is not in the set of those that may be the best. All equal: the mean
                    over the configurations, and the worst of them.
  sole winner       one is named; and wrongly: it is not a truly best one.
  limits            of the difference to the leader hold the true difference: of single pairs, and of all pairs of a report at once.
                    They are those by which the set is right 95 times in 100, so that a single pair is outside far less often.
  setting's limits  of a value less the mean of all values hold the true one, which they should 95 times in 100. None at two seeds.
  setting's best    the truly best value of an axis is out: mean over the axes.
  the winner        its perplexity as measured, and as fresh seeds would probably give it, less its true one: mean over the draws.
  reach             the lead that would be found four times in five, as stated in the median, and how often one that is there is found.

What twenty seeds can show, and what not:

* A mean of n of the 20 seeds is nearer to the mean of all 20 than to that of endless seeds: by √(1 − n/20), 13 % at five. Therefore each
  configuration is shifted in each draw so that its mean is as much farther from the true one, and the scatter within the draw stays
  what it is. Errors then have the mean and variance that those of fresh seeds have. (With normal results and a plain rule, that gives
  shares of 3.0, 3.4 and 3.4 % at 2, 3 and 5 seeds, where endless seeds give 3.0, 3.3 and 3.4.) Odd results that none of the 20 seeds had
  are never drawn.
* Draws share seeds, and 300 of them are not 300 experiments. Under a rule that has each of twelve equal configurations out in 3.3 % of
  experiments, the mean over the configurations is between 2.3 and 4.8 % in nine of ten such pools of 20 seeds, and the worst of
  them between 4 and 9 %. `scripts/check_statistics.sh` measures the rule on experiments without end, but synthetic ones.
* All seeds are scored on the same stretch of text, so that its noise does not show in them. It is left out of the reports here; where it
  is counted, limits are wider and less is out.
"""

import argparse
import itertools
import json
import math
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

import pyarrow
import pyarrow.parquet
from program import find_votive

EXPERIMENT = """\
name: resample
description: What the report says of a few seeds, and what many say
corpus: {{text: builtin:keeper}}
model: {{layers: 2, heads: 2, width: 32}}
train:
  sequence_length: 32
  batch_size: 8
  budget: {{tokens: {tokens}}}
run: {{slots: 2, threads: 1}}
grid:
  train.learning_rate: [7.5e-4, 1.5e-3, 3e-3, 6e-3]
  train.clip_norm: [off, 0.5, 0.1]
seeds: {pool}
"""


class Pool:
    """The results of all seeds, and the truth by them."""

    def __init__(self, folder):
        self.folder = folder
        self.table = pyarrow.parquet.read_table(folder / "trials.parquet")
        columns = {name: self.table.column(name).to_pylist() for name in ("configuration", "seed", "common_loss", "status")}
        unfinished = sum(status != "completed" for status in columns["status"])
        if unfinished:
            sys.exit(f"{unfinished} trials of {folder} have no result: `votive run` goes on with them")
        self.rows = list(zip(columns["configuration"], columns["seed"]))
        self.loss = dict(zip(self.rows, columns["common_loss"]))
        self.configurations = sorted({configuration for configuration, _ in self.rows})
        self.seeds = sorted({seed for _, seed in self.rows})
        self.keys = json.loads((folder / "report" / "summary.json").read_text())["swept"]
        values = [self.table.column("swept_" + key.replace(".", "_")).to_pylist() for key in self.keys]
        self.values = {configuration: row for (configuration, _), row in zip(self.rows, zip(*values))}
        self.means = {configuration: self.mean(configuration, self.seeds) for configuration in self.configurations}

    def mean(self, configuration, seeds):
        return statistics.fmean(self.loss[configuration, seed] for seed in seeds)

    def name(self, configuration):
        return ", ".join(f"{key.split('.')[-1].replace('_', ' ')} {value}" for key, value in zip(self.keys, self.values[configuration]))

    def draws(self, n, most):
        """Different sets of n seeds; all there are, where those are no more."""
        if math.comb(len(self.seeds), n) <= most:
            return list(itertools.combinations(self.seeds, n))
        generator, found = random.Random(n), {}
        while len(found) < most:
            found[tuple(sorted(generator.sample(self.seeds, n)))] = None
        return list(found)

    def write(self, into, seeds, truth):
        """A folder with these seeds' results only, shifted so that `truth` is what they scatter around."""
        shrinks = math.sqrt(1.0 - len(seeds) / len(self.seeds))
        shift = {
            c: truth[c] - self.means[c] + (self.mean(c, seeds) - self.means[c]) * (1.0 / shrinks - 1.0) for c in self.configurations
        }
        table = self.table.filter(pyarrow.array([seed in seeds for _, seed in self.rows]))
        losses = [self.loss[row] + shift[row[0]] for row in self.rows if row[1] in seeds]
        changed = {"common_loss": losses, "common_perplexity": [math.exp(loss) for loss in losses]}
        for name, column in changed.items():
            table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), [pyarrow.array(column, pyarrow.float64())])
        pyarrow.parquet.write_table(table, into / "trials.parquet")


class Tally:
    """What came of the draws of one kind and size."""

    def __init__(self, pool, truth):
        self.pool, self.truth = pool, truth
        lowest = min(truth.values())
        # Means that are shifted to be equal differ in their last digit.
        self.best = {c for c in pool.configurations if truth[c] < lowest + 1e-9}
        self.draws = self.no_set = self.named = self.named_wrongly = self.all_limits = 0
        self.out = dict.fromkeys(self.best, 0)
        self.tied, self.pairs, self.level_limits, self.level_out = [], [], [], []
        self.naive, self.fresh, self.leads = [], [], []

    def judged(self):
        """Reports that say which configurations may be the best."""
        return self.draws - self.no_set

    def add(self, found):
        self.draws += 1
        lines = {line["configuration"]: line for line in found["against"]}
        leader = found["leader"]
        if found["no_set"] is None:
            self.tied.append(sum(line["in_best_set"] for line in lines.values()))
            for configuration in self.best:
                self.out[configuration] += not lines[configuration]["in_best_set"]
        else:
            self.no_set += 1
        if found["sole_winner"] is not None:
            self.named += 1
            self.named_wrongly += len(self.best) > 1 or found["sole_winner"] not in self.best
        held = []
        for configuration, line in lines.items():
            if line["limits"] is not None:
                true = self.truth[configuration] - self.truth[leader]
                held.append(line["limits"]["lower"] <= true <= line["limits"]["upper"])
        self.pairs.extend(held)
        self.all_limits += all(held)
        self.naive.append(lines[leader]["mean"] - self.truth[leader])
        if found["fresh"] is not None:
            self.fresh.append(found["fresh"] - self.truth[leader])
        if found["reach"] is not None:
            self.leads.append(found["reach"]["lead"])
        for effect in found["effects"]:
            self.add_effect(effect)

    def add_effect(self, effect):
        places = [self.pool.keys.index(key) for key in effect["keys"]]
        levels = effect["levels"]
        of_value = {}
        for configuration, values in self.pool.values.items():
            of_value.setdefault(" · ".join(values[place] for place in places), []).append(self.truth[configuration])
        true = {value: statistics.fmean(means) for value, means in of_value.items()}
        centre, true_centre = statistics.fmean(level["mean"] for level in levels), statistics.fmean(true.values())
        for level in levels:
            if level["limits"] is not None:
                from_centre = true[level["value"]] - true_centre
                lower, upper = level["limits"]["lower"] - centre, level["limits"]["upper"] - centre
                self.level_limits.append(lower <= from_centre <= upper)
        lowest = min(true.values())
        best = [level for level in levels if true[level["value"]] < lowest + 1e-9]
        if best[0]["in_best_set"] is not None:
            self.level_out.append(statistics.fmean(not level["in_best_set"] for level in best))


def report(votive, folder):
    """The statistics of `votive report`."""
    done = subprocess.run([votive, "report", folder, "--into", folder / "report"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"votive report exited with {done.returncode}:\n{done.stderr}")
    return json.loads((folder / "report" / "summary.json").read_text())["statistics"]


def resample(votive, pool, folder, n, most, kind, truth):
    """The tally of all draws of n seeds whose results scatter around these true means."""
    tally, draws = Tally(pool, truth), pool.draws(n, most)
    print(f"{len(draws)} draws of {n} seeds, {kind}", file=sys.stderr)
    for seeds in draws:
        pool.write(folder, set(seeds), truth)
        tally.add(report(votive, folder))
    return tally


def share(part, whole=None):
    """A share in percent; of a list how many of it are true."""
    part, whole = (part, whole) if whole is not None else (sum(part), len(part))
    return f"{100.0 * part / whole:.1f} %" if whole else "-"


def higher(differences):
    """By how much perplexity is higher, in the mean."""
    return f"{100.0 * math.expm1(statistics.fmean(differences)):+.2f} %" if differences else "-"


def lines(trained, equal, leads):
    """The table: (name, a cell for each number of seeds drawn)."""

    def row(name, tallies, cell):
        return name, [cell(tally) for tally in tallies]

    def of_both(name, cell):
        return [row(f"{name}, as trained", trained, cell), row(f"{' ' * len(name)}  all equal", equal, cell)]

    return [
        row("draws", trained, lambda t: str(t.draws)),
        row("reports without a set", trained, lambda t: str(t.no_set)),
        row("tied with the best, of all; as trained", trained, lambda t: f"{statistics.fmean(t.tied):.1f}" if t.tied else "-"),
        row("best out, as trained", trained, lambda t: share(max(t.out.values()), t.judged())),
        row("          all equal, mean", equal, lambda t: share(sum(t.out.values()), t.judged() * len(t.out))),
        row("          all equal, the worst", equal, lambda t: share(max(t.out.values()), t.judged())),
        row("sole winner, as trained", trained, lambda t: share(t.named, t.draws)),
        row("             as trained, wrongly", trained, lambda t: share(t.named_wrongly, t.draws)),
        row("             all equal, wrongly", equal, lambda t: share(t.named_wrongly, t.draws)),
        *of_both("limits of a pair hold", lambda t: share(t.pairs)),
        *of_both("limits of all pairs hold", lambda t: share(t.all_limits, t.draws)),
        *of_both("setting's limits hold", lambda t: share(t.level_limits)),
        *of_both("setting's best out", lambda t: share(sum(t.level_out), len(t.level_out))),
        *of_both("the winner, measured", lambda t: higher(t.naive)),
        *of_both("the winner, fresh seeds", lambda t: higher(t.fresh)),
        row("reach, stated in the median", trained, lambda t: higher([statistics.median(t.leads)]) if t.leads else "-"),
        row("       a lead of that much is found", leads, lambda t: share(t.named - t.named_wrongly, t.draws) if t else "-"),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--votive", help="the program")
    parser.add_argument("--out", type=pathlib.Path, help="a folder for all that is made, new or of an earlier time; a temporary one otherwise")
    parser.add_argument("--draws", type=int, default=300, help="for each number of seeds drawn and each kind")
    parser.add_argument("--drawn", default="2,3,5", help="numbers of seeds drawn, with commas between them")
    parser.add_argument("--pool", type=int, default=20, help="seeds that are trained")
    parser.add_argument("--tokens", type=int, default=60_000, help="that each training sees")
    arguments = parser.parse_args()
    votive = find_votive(arguments.votive)
    drawn = sorted(int(n) for n in arguments.drawn.split(","))
    if drawn[0] < 2 or drawn[-1] >= arguments.pool:
        parser.error("--drawn takes numbers from 2 on that are below --pool")

    with tempfile.TemporaryDirectory() as temporary:
        out = (arguments.out or pathlib.Path(temporary)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        (out / "resample.yaml").write_text(EXPERIMENT.format(pool=arguments.pool, tokens=arguments.tokens))
        runs = out / "runs"
        print("training, or what is left of it", file=sys.stderr)
        done = subprocess.run([votive, "run", "resample.yaml", "--runs", runs], cwd=out, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"votive run exited with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        pool = Pool(runs / "resample")
        order = sorted(pool.configurations, key=pool.means.get)
        print(f"{len(order)} configurations, {len(pool.seeds)} seeds each; deviation over the seeds, and above the best in perplexity:")
        for c in order:
            deviation = statistics.stdev(pool.loss[c, seed] for seed in pool.seeds)
            above = 100.0 * math.expm1(pool.means[c] - pool.means[order[0]])
            print(f"  {pool.name(c):38} perplexity {math.exp(pool.means[c]):7.3f}  ± {100.0 * deviation:5.2f} %  {above:+7.2f} %")

        folder = pathlib.Path(temporary) / "drawn"
        folder.mkdir()
        shutil.copy(pool.folder / "experiment.json", folder)
        trained, equal, leads = [], [], []
        centre = statistics.fmean(pool.means.values())
        level = dict.fromkeys(pool.configurations, centre)
        for n in drawn:
            trained.append(resample(votive, pool, folder, n, arguments.draws, "as trained", pool.means))
            equal.append(resample(votive, pool, folder, n, arguments.draws, "all equal", level))
            lead = statistics.median(trained[-1].leads) if trained[-1].leads else None
            ahead = lead and {**level, order[0]: centre - lead}
            leads.append(resample(votive, pool, folder, n, arguments.draws, "one leads", ahead) if ahead else None)
        print(f"\n{'seeds drawn':38}" + "".join(f"{n:>10}" for n in drawn))
        for name, cells in lines(trained, equal, leads):
            print(f"{name:38}" + "".join(f"{cell:>10}" for cell in cells))


if __name__ == "__main__":
    main()
