//! The rows of a trial's steps on their way to `steps.parquet`.
//!
//! While a trial runs, `steps.parquet` holds all its rows and is rewritten whole. A long trial would rewrite more and more, so
//! from [`PART_ROWS`] rows on complete parts of that many rows lie in `steps.parts/` and `steps.parquet` holds the rows after
//! them; [`StepsFile::merge`] makes one file of them at the end. So a pattern over `trials/*/steps.parquet` sees each row
//! at most once at any time, but of a long running trial only the newest rows.
//!
//! **Which rows count**: all of `steps.parquet`, and those of the parts that lie before its first row. Every change of
//! the folder is one rename, and this rule holds before and after each of them:
//! a part is written first and `steps.parquet` cut after it; the merged file is put in place first and the parts removed after it.
//!
//! **What damage costs**: of what lies there the rows count that lead up from step 1 without a gap. Where a part is damaged or gone, the
//! rows after it are of no use to a checkpoint, and are dropped.

use std::fs;
use std::path::{Path, PathBuf};

use super::rows::{steps_rows, steps_table};
use super::schema;
use super::table::{Table, write_tables};
use crate::durable;
use crate::error::{Error, Kind, Result};
use crate::rows::StepRow;
use crate::runs::{Published, TrialFolder};

/// Rows of a complete part.
pub(super) const PART_ROWS: usize = 100_000;

/// The rows of a trial's steps: those of complete parts on disk, the rest in memory.
pub(super) struct StepsFile {
    folder: TrialFolder,
    trial_id: String,
    part_rows: usize,
    /// Complete parts that count; each holds `part_rows` rows.
    parts: Vec<Part>,
    /// The rows after them.
    tail: Vec<StepRow>,
    /// Whether `steps.parquet` lacks something of `tail`.
    changed: bool,
    /// `steps.parquet` as it was written last.
    written: Option<Published>,
}

/// What the rows of a complete part come to.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// Target tokens trained on up to its last row.
    tokens_seen: i64,
    /// Seconds that its steps took together.
    seconds: f64,
}

impl Part {
    fn of(rows: &[StepRow]) -> Self {
        Self { tokens_seen: rows.last().map_or(0, |row| row.tokens_seen), seconds: rows.iter().map(|row| row.step_seconds).sum() }
    }
}

impl StepsFile {
    /// Reads back what an earlier attempt left, every part once: each is needed whole when the trial ends, and whoever goes on from a
    /// checkpoint must know now whether its rows are there.
    ///
    /// # Errors
    /// Where `steps.parquet` cannot be read. A part that cannot ends what counts.
    pub(super) fn open(folder: &TrialFolder, trial_id: &str, part_rows: usize) -> Result<Self> {
        let mut file = Self {
            folder: folder.clone(),
            trial_id: trial_id.to_owned(),
            part_rows,
            parts: Vec::new(),
            tail: Vec::new(),
            changed: true,
            written: None,
        };
        if folder.steps().exists() {
            file.tail = read(&folder.steps())?;
            file.changed = false;
        }
        let first = file.tail.first().map_or(i64::MAX, |row| row.step);
        while file.part(file.parts.len()).exists() && file.rows_before_tail() + (part_rows as i64) < first {
            match file.read_part(file.parts.len()) {
                Ok(rows) => file.parts.push(Part::of(&rows)),
                Err(error) if error.kind() == Kind::Data => {
                    tracing::warn!(error = error.chain(), "the steps from this part on are lost");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let leading = file.tail.iter().zip(file.rows_before_tail() + 1..).take_while(|(row, expected)| row.step == *expected);
        let leading = leading.count();
        if leading < file.tail.len() {
            tracing::warn!(after = file.rows_before_tail() + leading as i64, "steps that others should lead up to are dropped");
            file.tail.truncate(leading);
            file.changed = true;
        }
        Ok(file)
    }

    /// The rows of a part: steps are numbered from 1 without gaps.
    fn read_part(&self, index: usize) -> Result<Vec<StepRow>> {
        let (path, first) = (self.part(index), (index * self.part_rows) as i64 + 1);
        let rows = read(&path)?;
        if rows.len() == self.part_rows && rows.iter().zip(first..).all(|(row, expected)| row.step == expected) {
            return Ok(rows);
        }
        Err(Error::data(format!("{} does not hold the steps from {first} on", path.display())))
    }

    fn part(&self, index: usize) -> PathBuf {
        self.folder.steps_parts().join(format!("part-{:06}.parquet", index + 1))
    }

    fn rows_before_tail(&self) -> i64 {
        (self.parts.len() * self.part_rows) as i64
    }

    /// Number of rows received: they are those of the steps from 1 to that.
    pub(super) fn rows(&self) -> usize {
        self.parts.len() * self.part_rows + self.tail.len()
    }

    pub(super) fn push(&mut self, row: &StepRow) {
        self.tail.push(row.clone());
        self.changed = true;
    }

    /// Drops the rows after `step` and puts what is left on disk; of a trial that begins there is nothing to put.
    pub(super) fn resume(&mut self, step: i64) -> Result<()> {
        let whole_parts = usize::try_from(step).unwrap_or(0) / self.part_rows;
        if whole_parts < self.parts.len() {
            self.tail = self.read_part(whole_parts)?;
            self.parts.truncate(whole_parts);
        }
        self.tail.retain(|row| row.step <= step);
        if self.rows() as i64 != step.max(0) {
            let path = self.folder.steps();
            return Err(Error::data(format!("{} does not hold the steps up to {step}, where the checkpoint is", path.display()))
                .help("delete the trial's folder to train it from the start"));
        }
        self.changed = true;
        if self.rows() > 0 || self.folder.steps().exists() {
            self.flush()?;
        }
        self.remove_parts_from(self.parts.len())
    }

    /// Removes the parts of this number and above, also where one between them is gone.
    fn remove_parts_from(&self, index: usize) -> Result<()> {
        let folder = self.folder.steps_parts();
        if !folder.exists() {
            return Ok(());
        }
        let first = self.part(index);
        let unread = |e| Error::io("read", &folder, e);
        for entry in fs::read_dir(&folder).map_err(unread)? {
            let path = entry.map_err(unread)?.path();
            // Numbers have leading zeros: names are in the order of parts.
            if path >= first {
                durable::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Puts all rows on disk.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        // The tail keeps at least one row, so that it is always known which parts lie before it.
        while self.tail.len() > self.part_rows {
            durable::create_folder(&self.folder.steps_parts())?;
            let rows = &self.tail[..self.part_rows];
            steps_table(&self.trial_id, rows).write(&self.part(self.parts.len()), Some(&self.trial_id))?;
            self.parts.push(Part::of(rows));
            self.tail.drain(..self.part_rows);
        }
        self.written = Some(steps_table(&self.trial_id, &self.tail).write(&self.folder.steps(), Some(&self.trial_id))?);
        self.changed = false;
        Ok(())
    }

    /// The gradient norms of all steps, and how many steps were clipped.
    pub(super) fn norms(&self) -> Result<(Vec<f64>, usize)> {
        let (mut norms, mut clipped) = (Vec::with_capacity(self.rows()), 0);
        for index in 0..self.parts.len() {
            let part = Table::read(&self.part(index), schema::steps())?;
            norms.extend(part.float64("grad_norm").into_iter().flatten());
            clipped += part.bool("clipped").into_iter().filter(|clipped| *clipped == Some(true)).count();
        }
        norms.extend(self.tail.iter().filter_map(|row| row.grad_norm));
        clipped += self.tail.iter().filter(|row| row.clipped).count();
        Ok((norms, clipped))
    }

    /// Target tokens trained on by all steps, and the seconds that these took together.
    pub(super) fn trained(&self) -> (i64, f64) {
        let before = self.parts.last().map_or(0, |part| part.tokens_seen);
        let seconds: f64 = self.parts.iter().map(|part| part.seconds).sum();
        let Part { tokens_seen, seconds: rest } = Part::of(&self.tail);
        (if self.tail.is_empty() { before } else { tokens_seen }, seconds + rest)
    }

    /// Makes one file of all parts, as it is then; `None` where nothing was written since this was opened.
    pub(super) fn merge(&mut self) -> Result<Option<Published>> {
        self.flush()?;
        if !self.parts.is_empty() {
            let parts = (0..self.parts.len()).map(|index| Table::read(&self.part(index), schema::steps()));
            let tail = std::iter::once_with(|| Ok(steps_table(&self.trial_id, &self.tail)));
            let written = write_tables(&self.folder.steps(), &schema::steps(), Some(&self.trial_id), parts.chain(tail))?;
            self.written = Some(written);
        }
        let parts = self.folder.steps_parts();
        if parts.exists() {
            durable::remove_folder(&parts)?;
        }
        Ok(self.written.clone())
    }
}

fn read(path: &Path) -> Result<Vec<StepRow>> {
    let table = Table::read(path, schema::steps())?;
    steps_rows(&table).map_err(|e| e.context(format!("{} is damaged", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::rows::tests::step;

    const ID: &str = "0123456789ab";

    fn folder() -> (tempfile::TempDir, TrialFolder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = TrialFolder::at(dir.path());
        (dir, folder)
    }

    fn filled(folder: &TrialFolder, rows: i64) -> StepsFile {
        let mut file = StepsFile::open(folder, ID, 10).unwrap();
        for number in 1..=rows {
            file.push(&step(number));
            if number % 7 == 0 {
                file.flush().unwrap();
            }
        }
        file
    }

    /// The rows that count, read as the rule of this module says.
    fn on_disk(folder: &TrialFolder) -> Vec<i64> {
        let mut file = StepsFile::open(folder, ID, 10).unwrap();
        let mut steps = Vec::new();
        for index in 0..file.parts.len() {
            steps.extend(read(&file.part(index)).unwrap().iter().map(|r| r.step));
        }
        steps.extend(file.tail.drain(..).map(|r| r.step));
        steps
    }

    fn until(last: i64) -> Vec<i64> {
        (1..=last).collect()
    }

    #[test]
    fn every_row_is_on_disk_once_after_a_flush_whatever_their_number() {
        for rows in [0, 1, 9, 10, 11, 20, 21, 35, 70] {
            let (_dir, folder) = folder();
            filled(&folder, rows).flush().unwrap();
            assert_eq!(on_disk(&folder), until(rows), "{rows}");
        }
    }

    #[test]
    fn steps_parquet_alone_never_holds_a_row_twice_nor_one_of_a_part() {
        let (_dir, folder) = folder();
        filled(&folder, 35).flush().unwrap();
        let rows: Vec<i64> = read(&folder.steps()).unwrap().iter().map(|r| r.step).collect();
        assert_eq!(rows, [31, 32, 33, 34, 35]);
    }

    #[test]
    fn norms_are_those_of_all_parts_and_of_the_rows_after_them() {
        let (_dir, folder) = folder();
        let mut file = StepsFile::open(&folder, ID, 10).unwrap();
        for number in 1..=25 {
            file.push(&StepRow { grad_norm: Some(number as f64), clipped: number % 3 == 0, ..step(number) });
        }
        for flushed in [false, true] {
            let (norms, clipped) = file.norms().unwrap();
            assert_eq!((norms, clipped), ((1..=25).map(f64::from).collect(), 8), "flushed {flushed}");
            file.flush().unwrap();
        }
        let (norms, _) = StepsFile::open(&folder, ID, 10).unwrap().norms().unwrap();
        assert_eq!(norms.len(), 25);
    }

    #[test]
    fn merging_leaves_one_file_with_all_rows_and_no_parts() {
        for rows in [5, 10, 11, 35] {
            let (_dir, folder) = folder();
            filled(&folder, rows).merge().unwrap();
            let all: Vec<i64> = read(&folder.steps()).unwrap().iter().map(|r| r.step).collect();
            assert_eq!(all, until(rows));
            assert!(!folder.steps_parts().exists());
        }
    }

    #[test]
    fn resuming_anywhere_leaves_exactly_the_rows_up_to_there() {
        for merged in [false, true] {
            for at in [0, 1, 9, 10, 11, 20, 29, 30, 31, 35] {
                let (_dir, folder) = folder();
                let mut file = filled(&folder, 35);
                if merged { file.merge().map(drop) } else { file.flush() }.unwrap();
                let mut file = StepsFile::open(&folder, ID, 10).unwrap();
                file.resume(at).unwrap();
                assert_eq!(on_disk(&folder), until(at), "merged {merged}, at {at}");
                for number in at + 1..=40 {
                    file.push(&step(number));
                }
                file.merge().unwrap();
                assert_eq!(on_disk(&folder), until(40));
            }
        }
    }

    #[test]
    fn a_kill_between_a_part_and_the_cut_of_steps_parquet_doubles_nothing() {
        let (_dir, folder) = folder();
        let rows: Vec<StepRow> = (1..=12).map(step).collect();
        let file = StepsFile::open(&folder, ID, 10).unwrap();
        durable::create_folder(&folder.steps_parts()).unwrap();
        steps_table(ID, &rows).write(&folder.steps(), None).unwrap();
        steps_table(ID, &rows[..10]).write(&file.part(0), None).unwrap();
        assert_eq!(on_disk(&folder), until(12));
        let mut file = StepsFile::open(&folder, ID, 10).unwrap();
        file.resume(11).unwrap();
        assert_eq!(on_disk(&folder), until(11));
    }

    #[test]
    fn a_kill_between_the_merged_file_and_the_removal_of_the_parts_doubles_nothing() {
        let (_dir, folder) = folder();
        filled(&folder, 25).flush().unwrap();
        let rows: Vec<StepRow> = (1..=25).map(step).collect();
        steps_table(ID, &rows).write(&folder.steps(), None).unwrap();
        assert!(folder.steps_parts().exists());
        assert_eq!(on_disk(&folder), until(25));
        let mut file = StepsFile::open(&folder, ID, 10).unwrap();
        file.resume(25).unwrap();
        assert_eq!(on_disk(&folder), until(25));
    }

    #[test]
    fn rows_that_do_not_lead_up_to_the_checkpoint_are_told() {
        let (_dir, folder) = folder();
        let mut file = filled(&folder, 5);
        file.flush().unwrap();
        let error = file.resume(6).unwrap_err();
        assert!(error.to_string().ends_with("does not hold the steps up to 6, where the checkpoint is"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_named() {
        let (_dir, folder) = folder();
        fs::write(folder.steps(), b"PAR1 but not really").unwrap();
        let error = StepsFile::open(&folder, ID, 10).err().unwrap();
        assert!(error.to_string().ends_with("steps.parquet is damaged"), "{error}");
    }

    /// A trial of 35 steps in three parts and five rows more, of which the second part is then spoilt.
    fn spoilt(spoil: impl FnOnce(&StepsFile, &Path)) -> (tempfile::TempDir, TrialFolder) {
        let (dir, folder) = folder();
        let mut file = filled(&folder, 35);
        file.flush().unwrap();
        spoil(&file, &file.part(1));
        (dir, folder)
    }

    #[test]
    fn where_a_part_is_damaged_or_gone_the_rows_before_it_count_and_the_trial_goes_on_from_there() {
        let with_rows = |rows: &[i64], path: &Path| {
            steps_table(ID, &rows.iter().map(|&number| step(number)).collect::<Vec<_>>()).write(path, None).map(drop).unwrap();
        };
        for at in [0, 5, 10] {
            for scene in [
                spoilt(|_, part| fs::remove_file(part).unwrap()),
                spoilt(|_, part| fs::write(part, b"torn").unwrap()),
                spoilt(|_, part| {
                    let mut bytes = fs::read(part).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle..].iter_mut().for_each(|byte| *byte = !*byte);
                    fs::write(part, bytes).unwrap();
                }),
                spoilt(|_, part| with_rows(&[11, 12, 13], part)),
                spoilt(|_, part| with_rows(&(1..=10).collect::<Vec<_>>(), part)),
            ] {
                let (_dir, folder) = scene;
                let mut file = StepsFile::open(&folder, ID, 10).unwrap();
                assert_eq!((file.rows(), file.trained().0), (10, step(10).tokens_seen));
                file.resume(at).unwrap();
                assert_eq!(on_disk(&folder), until(at), "{at}");
                let left = fs::read_dir(folder.steps_parts()).unwrap().count();
                assert_eq!(left as i64, at / 10, "no part stays that could be taken for a later one");
                for number in at + 1..=35 {
                    file.push(&step(number));
                }
                assert_eq!(file.norms().unwrap().0.len(), 35);
                file.merge().unwrap();
                assert_eq!(on_disk(&folder), until(35));
            }
        }
    }

    #[test]
    fn rows_that_nothing_leads_up_to_do_not_count() {
        let (_dir, folder) = folder();
        filled(&folder, 35).flush().unwrap();
        fs::remove_dir_all(folder.steps_parts()).unwrap();
        assert_eq!(StepsFile::open(&folder, ID, 10).unwrap().rows(), 0);
        let rows: Vec<StepRow> = [1, 2, 4, 5].map(step).to_vec();
        steps_table(ID, &rows).write(&folder.steps(), None).unwrap();
        let mut file = StepsFile::open(&folder, ID, 10).unwrap();
        assert_eq!(file.rows(), 2);
        file.resume(2).unwrap();
        assert_eq!(on_disk(&folder), until(2));
    }

    #[test]
    fn what_was_trained_is_that_of_all_parts_and_of_the_rows_after_them() {
        let (_dir, folder) = folder();
        let mut file = filled(&folder, 30);
        for flushed in [false, true] {
            let (tokens, seconds) = file.trained();
            assert_eq!(tokens, step(30).tokens_seen, "flushed {flushed}");
            assert!((seconds - 0.06).abs() < 1e-12, "{seconds}");
            file.flush().unwrap();
        }
        assert_eq!(StepsFile::open(&folder, ID, 10).unwrap().trained(), file.trained());
        file.resume(20).unwrap();
        assert_eq!(file.trained().0, step(20).tokens_seen);
    }

    #[test]
    fn flushing_without_news_writes_nothing() {
        let (_dir, folder) = folder();
        let mut file = filled(&folder, 3);
        file.flush().unwrap();
        fs::remove_file(folder.steps()).unwrap();
        file.flush().unwrap();
        assert!(!folder.steps().exists());
    }
}
