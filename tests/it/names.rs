//! One name for one thing, in every command.

use crate::support::{Scene, small};

#[test]
fn every_command_takes_an_experiment_a_configuration_or_a_trial_by_every_name() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}\nseeds: 2"));
    scene.run(&[]).exits(0);
    let summary = scene.summary();
    let best = &summary["configurations"][0];
    let number = best["configuration"].to_string();
    let id = best["trials"][0].as_str().unwrap();
    let said = |arguments: &[&str]| scene.votive(arguments).exits(0).out;

    for name in ["small", "runs/small", "runs/small/", "small.yaml"] {
        assert_eq!(said(&["status", name]), said(&["status"]), "{name}");
        assert_eq!(said(&["report", name]), said(&["report", "small"]), "{name}");
        assert_eq!(said(&["show", name]), said(&["show", "small", &number]), "an experiment stands for its best configuration");
        assert_eq!(said(&["sample", name]), said(&["sample", id]), "and that for its first trial");
        assert!(said(&["compare", name, "small#1"]).starts_with(&format!("A  small#{number}  ")), "{name}");
    }
    let configuration = format!("small#{number}");
    for name in [&configuration, &format!("runs/small#{number}"), &format!("#{number}"), &number] {
        assert_eq!(said(&["show", name]), said(&["show", "small"]), "{name}");
        assert_eq!(said(&["sample", name]), said(&["sample", "small"]), "{name}");
        let status = said(&["status", name]);
        assert!(status.starts_with("small: 2 trials: 2 completed") && status.contains(id), "{status}");
        scene.votive(&["report", name]).exits(0).says("note: a report is of a whole experiment: that of runs/small");
        assert!(said(&["compare", name, "small#1"]).starts_with(&format!("A  small#{number}  ")), "{name}");
    }
    let folder = format!("runs/small/trials/{id}");
    for name in [id, &id[..7], &folder] {
        let shown = said(&["show", name]);
        assert!(shown.contains("\nseeds: 1\n"), "one trial has one seed: {shown}");
        let status = said(&["status", name]);
        assert!(status.starts_with("small: 1 trial, 1 completed") && status.contains(id), "{status}");
        assert_eq!(said(&["sample", name]), said(&["sample", "small"]), "{name}");
        assert_eq!(said(&["report", name]), said(&["report", "small"]), "{name}");
        assert!(said(&["compare", name, "small#1"]).contains(id), "{name}");
    }

    // Elsewhere than under `runs`.
    std::fs::rename(scene.path().join("runs"), scene.path().join("elsewhere")).unwrap();
    for arguments in [&["status", "small"][..], &["status"], &["show", &configuration], &["report", id], &["sample", &id[..7]]] {
        assert!(scene.votive(&[arguments, &["--runs", "elsewhere"]].concat()).exits(0).out.contains('\n'), "{arguments:?}");
    }
    for command in ["status", "show", "report", "sample"] {
        scene.votive(&[command, "smal"]).exits(2).says("there is no experiment, configuration, trial or checkpoint `smal`");
        scene.votive(&[command, "elsewhere/small#9"]).exits(2).says("there is no configuration 9").says("from 1 to 2");
        scene.votive(&[command, "smal#1", "--runs", "elsewhere"]).exits(2).says("did you mean `small#1`?");
        scene.votive(&[command, "elsewhere"]).exits(4).says("it holds experiments: name one, as in `elsewhere/small`");
    }
    scene.votive(&["status", "small.yaml"]).exits(4).says("the experiment of small.yaml was not run yet: there is no runs/small");
    scene.votive(&["show", "elsewhere/small#1", "2"]).exits(2).says("is no experiment that 2 could be a number in");
}

#[test]
fn the_page_names_the_weights_and_the_commands_to_go_on() {
    let scene = Scene::new(&small("grid: {train.batch_size: [4, 8]}"));
    scene.run(&[]).exits(0);
    let best = scene.summary()["configurations"][0].clone();
    let (number, id) = (&best["configuration"], best["trials"][0].as_str().unwrap());
    let read = |file: &str| std::fs::read_to_string(scene.experiment().report().join(file)).unwrap();
    let weights = format!("runs/small/trials/{id}/checkpoints/step-00000040");
    assert!(scene.path().join(&weights).join("model.safetensors").is_file());
    let expected = [
        weights.replace('_', "\\_"),
        format!("votive sample runs/small#{number} --prompt 'Once'"),
        format!("votive show runs/small#{number} > longer.yaml"),
        "votive run longer.yaml".to_owned(),
    ];
    let page = read("index.html").replace("&#x27;", "'").replace("&gt;", ">").replace("&#x2f;", "/");
    for part in &expected {
        assert!(page.contains(part.as_str()), "`{part}` is not on the page");
        assert!(read("report.md").contains(part.as_str()), "`{part}` is not in\n{}", read("report.md"));
    }
    scene.votive(&["report", "small"]).exits(0).says(&format!("settings: votive show runs/small#{number}\n"));
}
