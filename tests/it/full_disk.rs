//! Where the disk is full a trial goes on, waits with what it needs, and loses nothing.

#![expect(clippy::print_stderr, reason = "why a test was skipped must be seen")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use votive::rows::Phase;
use votive::runs::{Status, TrialFolder, read_progress, state_of};

use crate::support::{Runner, Scene, final_weights, small, until};

/// A small file system of its own; taken away where the test ends.
struct Disk(PathBuf);

impl Disk {
    /// One of so many bytes; where there can be none, why.
    fn mount(path: &Path, bytes: u64) -> Result<Self, String> {
        fs::create_dir(path).unwrap();
        let size = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "votive"]).arg(path).output();
        let done = done.map_err(|e| format!("no `mount`: {e}"))?;
        if !done.status.success() {
            return Err(format!("no file system of its own: {}", String::from_utf8_lossy(&done.stderr).trim()));
        }
        Ok(Self(path.to_owned()))
    }

    /// Fills it up for so long, also what is freed meanwhile.
    fn is_full_for(&self, time: Duration) {
        let (path, began) = (self.0.join("filler"), Instant::now());
        let mut filler = File::create(&path).unwrap();
        while began.elapsed() < time {
            while filler.write_all(&[0; 4_096]).is_ok() {}
            sleep(Duration::from_millis(20));
        }
        fs::remove_file(path).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still works there goes on until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn only(scene: &Scene) -> TrialFolder {
    scene.trials().into_values().next().unwrap()
}

fn waits(scene: &Scene) -> bool {
    scene.trials().values().filter_map(read_progress).any(|progress| progress.phase == Phase::WaitingForRoom)
}

#[test]
fn a_disk_that_is_full_for_longer_than_the_timeout_costs_no_attempt_and_no_bit() {
    // With an evaluation at each tenth: it wants to keep the best weights while there is no room.
    let yaml = small("evaluate: {every: 0.1}").replace("steps: 40", "steps: 400");
    let scene = Scene::new(&yaml);
    let disk = match Disk::mount(&scene.path().join("runs"), 24_000_000) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("skipped: {why}"),
    };
    let mut runner = scene.start(&["--set", "run.timeout=4s"]);
    scene.wait_for_steps(&mut runner, 5);
    disk.is_full_for(Duration::from_secs(12));
    runner.wait().exits(0).says("completed").says_nothing_of("hung").says_nothing_of("disk full");
    assert_eq!(scene.attempts(), [1]);
    let log = fs::read_to_string(only(&scene).log()).unwrap();
    assert!(log.contains("waits until the disk has room") && log.contains("seems to have room again"), "{log}");

    let other = Scene::new(&yaml);
    other.run(&[]).exits(0);
    assert_eq!(final_weights(&only(&scene), 400), final_weights(&only(&other), 400));
}

#[test]
fn a_limit_of_the_size_of_files_is_no_crash() {
    let yaml = small("tokenizer: {kind: byte}").replace("width: 16", "width: 256").replace("layers: 1", "layers: 2");
    let scene = Scene::new(&yaml.replace("batch_size: 8", "batch_size: 2").replace("steps: 40", "steps: 3"));
    scene.votive(&["plan", "small.yaml"]).exits(0);
    // Its checkpoints take 19 MB.
    let run = scene.command(&["run", "small.yaml", "--no-probe"]);
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -f 2048 && exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    limited.current_dir(scene.path()).stdin(Stdio::null()).env("CUDA_VISIBLE_DEVICES", "");
    let mut runner = Runner::of(limited.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the trial waits for room", || waits(&scene) || runner.is_over());
    assert!(!runner.is_over() && waits(&scene));
    assert_eq!(state_of(&only(&scene)).status, Status::Running);
}
