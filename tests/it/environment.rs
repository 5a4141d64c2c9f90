//! Surroundings that are not plain text: variables, folders and names that are not UTF-8, or begin with a dash.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use crate::support::{SMALL, Scene};

/// `café` in Latin-1.
const CAFE: &[u8] = b"caf\xe9";

fn cafe() -> &'static OsStr {
    OsStr::from_bytes(CAFE)
}

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), text.concat())
}

#[test]
fn variables_that_are_not_utf8_are_passed_over_unless_they_set_something() {
    let scene = Scene::new(SMALL);
    for command in ["check", "plan", "explain"] {
        let (code, text) = said(scene.command(&[command, "small.yaml"]).env("NOTE", cafe()).env(cafe(), "x"));
        assert_eq!(code, Some(0), "{command}: {text}");
    }
    let (code, text) = said(scene.command(&["run", "small.yaml"]).env("NOTE", cafe()));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = said(scene.command(&["check", "small.yaml"]).env("VOTIVE_SET__DESCRIPTION", cafe()));
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("the environment variable `VOTIVE_SET__DESCRIPTION` is not UTF-8"), "{text}");
    let name = OsStr::from_bytes(b"VOTIVE_SET__caf\xe9");
    let (code, text) = said(scene.command(&["check", "small.yaml"]).env(name, "x"));
    assert_eq!(code, Some(2), "{text}");
}

#[test]
fn a_folder_whose_name_is_not_utf8_works_in_every_command() {
    let scene = Scene::new(SMALL);
    let folder = scene.path().join(cafe());
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("one.txt"), "A lamp was lit at dusk.\n\n".repeat(400)).unwrap();
    fs::write(folder.join("small.yaml"), SMALL.replace("builtin:keeper", "'*.txt'")).unwrap();
    let votive = |arguments: &[&OsStr], at: &std::path::Path| {
        let mut command = scene.command(&[]);
        command.args(arguments).current_dir(at).env("PWD", at).stdin(Stdio::null());
        said(&mut command)
    };
    let words = |text: &'static str| text.split(' ').map(OsStr::new).collect::<Vec<_>>();
    for arguments in [
        "check small.yaml",
        "plan small.yaml",
        "explain small.yaml",
        "run small.yaml",
        "status",
        "status runs/small",
        "show runs/small 1",
        "report runs/small",
        "sample small --tokens 3",
    ] {
        let (code, text) = votive(&words(arguments), &folder);
        assert_eq!(code, Some(0), "{arguments}: {text}");
    }
    // From outside, by paths.
    let file = OsStr::from_bytes(b"caf\xe9/small.yaml").to_owned();
    let runs = OsStr::from_bytes(b"caf\xe9/outside").to_owned();
    let trained = OsStr::from_bytes(b"caf\xe9/outside/small").to_owned();
    for arguments in [
        vec![OsStr::new("check"), &file],
        vec![OsStr::new("run"), &file, OsStr::new("--runs"), &runs],
        vec![OsStr::new("report"), &trained],
        vec![OsStr::new("status"), &trained],
        vec![OsStr::new("sample"), &trained, OsStr::new("--tokens"), OsStr::new("3")],
    ] {
        let (code, text) = votive(&arguments, scene.path());
        assert_eq!(code, Some(0), "{arguments:?}: {text}");
    }

    // What training starts from is written down, which is only possible in UTF-8.
    let trial = fs::read_dir(folder.join("runs/small/trials")).unwrap().next().unwrap().unwrap().path();
    fs::rename(trial.join("checkpoints/step-00000040"), folder.join("start")).unwrap();
    let tuned =
        SMALL.replace("layers: 1, heads: 2, width: 16, dropout: 0.1", "from: start").replace("name: small", "name: tuned");
    fs::write(folder.join("tuned.yaml"), tuned.replace("builtin:keeper", "one.txt")).unwrap();
    let (code, text) = votive(&words("plan tuned.yaml"), &folder);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is not UTF-8") && !text.contains("panicked"), "{text}");
}

#[test]
fn names_that_begin_with_a_dash_are_names() {
    let scene = Scene::new(&SMALL.replace("builtin:keeper", "-text.txt"));
    scene.put("-text.txt", "A lamp was lit at dusk.\n\n".repeat(400));
    scene.votive(&["run", "small.yaml", "--runs=-x"]).exits(0);
    scene.votive(&["report", "--", "-x/small"]).exits(0);
    scene.votive(&["status", "--", "-x/small"]).exits(0).says("1 completed");
    scene.votive(&["sample", "--tokens", "3", "--runs=-x", "small"]).exits(0);
    fs::rename(scene.path().join("small.yaml"), scene.path().join("-small.yaml")).unwrap();
    scene.votive(&["check", "--", "-small.yaml"]).exits(0);
}
