//! Threads that live from step to step and share numbered jobs.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Kind, Result};

/// A fixed number of threads.
pub struct Pool {
    threads: Option<rayon::ThreadPool>,
    count: usize,
}

impl Pool {
    /// `count` threads; one runs everything on the caller's.
    pub fn new(count: usize) -> Result<Self> {
        let threads = match count {
            0 => return Err(Error::internal("an engine needs at least one thread")),
            1 => None,
            _ => Some(
                rayon::ThreadPoolBuilder::new()
                    .num_threads(count)
                    .thread_name(|i| format!("engine-{i}"))
                    .build()
                    .map_err(|e| Error::new(Kind::Device, format!("failed to start {count} threads")).caused_by(e))?,
            ),
        };
        Ok(Self { threads, count })
    }

    /// Number of threads.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Does jobs 0 … `jobs` − 1, each once, on whichever thread is free; returns when all are done.
    /// The job is also told its thread's index.
    pub fn run(&self, jobs: usize, job: impl Fn(usize, usize) + Sync) {
        let next = AtomicUsize::new(0);
        let work = |thread: usize| {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= jobs {
                    return;
                }
                job(index, thread);
            }
        };
        match &self.threads {
            Some(threads) if jobs > 1 => {
                threads.broadcast(|context| work(context.index()));
            }
            _ => work(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_once_whatever_the_number_of_threads() {
        for threads in 1..4 {
            let pool = Pool::new(threads).unwrap();
            for jobs in [0, 1, 2, 7, 100] {
                let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
                pool.run(jobs, |i, thread| {
                    assert!(thread < threads);
                    done[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(done.iter().all(|d| d.load(Ordering::Relaxed) == 1));
            }
        }
        assert!(Pool::new(0).is_err());
    }
}
