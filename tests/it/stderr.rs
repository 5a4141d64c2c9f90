//! A run goes on where nobody takes what it says.

use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::process::Stdio;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use votive::runs::{Status, state_of};

use crate::support::{Runner, Scene, Signal, small, until};

/// A pipe into which nothing goes any more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4_096]).is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

/// A run in the background whose standard error nobody reads, as long as the pipe's end is there.
fn unheard(scene: &Scene) -> (Runner, PipeReader) {
    let (reader, writer) = full_pipe();
    let mut command = scene.command(&["run", "small.yaml", "--no-probe", "--slots", "2"]);
    (Runner::of(command.stdout(Stdio::null()).stderr(writer).spawn().unwrap()), reader)
}

#[test]
fn a_run_whose_words_nobody_takes_trains_everything_and_ends() {
    let scene = Scene::new(&small("seeds: 4"));
    let (mut runner, _reader) = unheard(&scene);
    until("the run is over", || runner.is_over());
    assert_eq!(runner.code(), Some(0));
    let status: Vec<Status> = scene.trials().values().map(|folder| state_of(folder).status).collect();
    assert_eq!(status, [Status::Completed; 4]);
}

#[test]
fn a_run_whose_words_nobody_takes_heeds_every_ctrl_c() {
    let scene = Scene::new(&small("seeds: 2").replace("steps: 40", "steps: 1000000"));
    let (mut runner, _reader) = unheard(&scene);
    scene.wait_for_steps(&mut runner, 4);
    runner.send(Signal::INT);
    runner.send(Signal::INT);
    until("the run is over", || runner.is_over());
    assert_eq!(runner.code(), Some(130));
}
