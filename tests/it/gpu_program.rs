//! The program on GPUs: trained, killed, gone on, scored again. The GPUs are stand-ins of NVIDIA's libraries
//! ([`crate::host_gpu`]).

use votive::runs::{Status, TrialFolder, state_of};

use crate::host_gpu;
use crate::support::{Said, Scene, Signal, assert_alike, files_below, json, numbers, random, read, small, words};

const STEPS: u64 = 24;

/// A GPT-2 with dropout and a Llama, on a GPU.
fn experiment(rest: &str) -> String {
    let yaml = small(&format!("points: [{{}}, {{model.family: llama, model.dropout: 0}}]\nrun: {{device: cuda}}\n{rest}"));
    // The processor takes its time to be a GPU.
    let small = [
        ("max_bytes: 40000", "max_bytes: 8000"),
        ("sequence_length: 32", "sequence_length: 16"),
        ("batch_size: 8", "batch_size: 4"),
    ];
    let yaml = small.into_iter().fold(yaml, |yaml, (old, new)| yaml.replace(old, new));
    yaml.replace("steps: 40", &format!("steps: {STEPS}"))
}

fn scene(yaml: &str) -> Scene {
    Scene::on_gpu(yaml, host_gpu::libraries())
}

/// The same GPU, on which a step takes long enough to be hit in its midst.
fn slow() -> tempfile::TempDir {
    host_gpu::libraries_with(&[("DELAY_US", "1000")])
}

/// The losses of a trial's steps.
fn losses(folder: &TrialFolder) -> Vec<f64> {
    numbers(&read(&folder.steps()), "loss").into_iter().flatten().collect()
}

#[track_caller]
fn assert_all_alike(one: &Scene, other: &Scene) {
    let (one, other) = (one.trials(), other.trials());
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    assert_eq!(one.len(), 2);
    for (id, folder) in &one {
        assert_alike(folder, &other[id], STEPS);
    }
}

/// The newest `state.json` of a trial's checkpoints.
fn position(folder: &TrialFolder) -> serde_json::Value {
    json(&files_below(&folder.checkpoints(), "state.json").pop().unwrap())
}

#[test]
fn a_sweep_on_a_gpu_learns_what_it_learns_on_the_processor_and_is_probed() {
    let scene = scene(&experiment(""));
    scene
        .votive(&["run", "small.yaml"])
        .exits(0)
        .says("on cuda:0 (")
        .says("1 at a time")
        .says("probed      2 shapes")
        .says(" of the GPU, ");
    let table = scene.table();
    for device_bytes in numbers(&table, "peak_device_memory_bytes") {
        assert!(device_bytes.unwrap() > 600e6, "the GPU's own context at least");
    }
    assert_eq!(words(&table, "device"), ["cuda:0", "cuda:0"]);
    assert_eq!(words(&table, "status"), ["completed", "completed"]);
    assert_eq!(words(&table, "processor"), ["Processor as a GPU"; 2]);
    let processor = Scene::new(&experiment(""));
    processor.run(&["--device", "cpu"]).exits(0).says_nothing_of(" of the GPU");
    assert_eq!(numbers(&processor.table(), "peak_device_memory_bytes"), [None, None]);
    let arithmetic = Some(f64::from(votive::rows::ARITHMETIC));
    assert_eq!(numbers(&processor.table(), "arithmetic"), [arithmetic; 2]);
    assert_eq!(words(&processor.table(), "processor"), [votive::model::cpu::processor(), votive::model::cpu::processor()]);
    let (ours, theirs) = (numbers(&table, "common_loss"), numbers(&processor.table(), "common_loss"));
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
        assert!((ours / theirs - 1.0).abs() < 1e-3, "{ours} and {theirs}");
    }
    for folder in scene.trials().values() {
        let losses = losses(folder);
        assert_eq!(losses.len() as u64, STEPS);
        assert!(losses[STEPS as usize - 1] < losses[0], "{losses:?}");
        assert!(!position(folder)["made_by"]["kernels"].as_str().unwrap().is_empty());
    }
    scene.run(&[]).exits(0).says("nothing to train: all 2 trials are over already");
}

#[test]
fn killed_at_any_moment_a_trial_on_a_gpu_ends_as_if_nothing_had_happened() {
    let (yaml, slow) = (experiment(""), slow());
    let scene = Scene::on_gpu(&yaml, slow.path());
    for kill in 0..3 {
        let mut runner = scene.start(&[]);
        scene.wait_for_steps(&mut runner, 12 * kill + random(12) as i64);
        if kill == 1 {
            runner.send(Signal::KILL);
        }
        scene.kill_workers();
        runner.send(Signal::KILL);
        runner.wait();
    }
    scene.run(&[]).exits(0);
    assert!(scene.attempts().iter().sum::<usize>() > 2, "{:?}: nothing was killed", scene.attempts());
    let undisturbed = self::scene(&yaml);
    undisturbed.run(&[]).exits(0);
    assert_all_alike(&scene, &undisturbed);
}

#[test]
fn after_ctrl_c_a_trial_on_a_gpu_is_saved_and_goes_on() {
    let (yaml, slow) = (experiment(""), slow());
    let scene = Scene::on_gpu(&yaml, slow.path());
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 3);
    runner.send(Signal::INT);
    runner.wait().exits(130);
    let stopped: Vec<_> = scene.trials().into_values().filter(|folder| state_of(folder).status == Status::Interrupted).collect();
    assert_eq!(stopped.len(), 1, "one trial at a time");
    let steps = read(&stopped[0].steps()).height() as u64;
    assert_eq!(position(&stopped[0])["step"], steps, "every step that has a row is saved, and no other");
    scene.run(&[]).exits(0);
    let undisturbed = self::scene(&yaml);
    undisturbed.run(&[]).exits(0);
    assert_all_alike(&scene, &undisturbed);
}

#[test]
fn an_unfinished_trial_starts_over_on_another_gpu() {
    let yaml = experiment("");
    let other = host_gpu::libraries_with(&[("NAME", "Stand-in X2")]);
    let slow = slow();
    let mut scene = Scene::on_gpu(&yaml, slow.path());
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 3);
    runner.send(Signal::INT);
    runner.wait().exits(130);
    scene.put_gpu(other.path());
    let why = "its checkpoint was made on a Processor as a GPU with cuBLAS 13.0.0, and this is a Stand-in X2 with cuBLAS 13.0.0";
    scene.run(&[]).exits(0).says("starts over ").says(why);
    let events = std::fs::read_to_string(scene.experiment().events()).unwrap();
    assert_eq!(events.matches(r#""kind":"starts_over""#).count(), 1, "{events}");
    let undisturbed = Scene::on_gpu(&yaml, other.path());
    undisturbed.run(&[]).exits(0);
    assert_all_alike(&scene, &undisturbed);
    for folder in scene.trials().values() {
        assert_eq!(position(folder)["made_by"]["gpu"], "Stand-in X2");
        let attempts = votive::runs::attempts(folder).unwrap();
        assert_eq!(attempts.last().unwrap().from_step, 0);
        assert_eq!(numbers(&read(&folder.steps()), "attempt")[0], Some(attempts.len() as f64));
    }
}

#[test]
fn finished_trials_are_scored_again_on_a_gpu_and_nothing_is_trained() {
    let scene = scene(&experiment(""));
    scene.run(&[]).exits(0);
    let native = |scene: &Scene| numbers(&scene.table(), "native_loss");
    let before = native(&scene);
    let context = ["--set", "evaluate.context=8"];
    scene.run(&[&context[..], &["--rescore"]].concat()).exits(0).says("2 finished trials again");
    assert_eq!(numbers(&scene.table(), "common_context"), [Some(8.0), Some(8.0)]);
    assert_eq!(native(&scene), before, "the same weights in the same context give the same bits");
    assert_eq!(scene.attempts(), [1, 1]);
}

/// A run whose GPU fails so at one of its kernels.
fn failing(fault: &str, code: i32) -> (Scene, Said) {
    let broken = host_gpu::libraries_with(&[("FAIL_LAUNCH", fault)]);
    let scene = Scene::on_gpu(&experiment(""), broken.path());
    let said = scene.run(&["--set", "run.retries=0"]);
    (scene, said.exits(code))
}

#[test]
fn a_fault_of_the_gpu_is_told_with_its_kind_and_the_same_command_goes_on() {
    let (mut scene, said) = failing("400:700", 5);
    let said = said.says("a kernel reached for memory that is not its own").says("CUDA_ERROR_ILLEGAL_ADDRESS");
    said.says("cuda:0 (Processor as a GPU) is not used any more").says("no GPU is left that works");
    for folder in scene.trials().values() {
        let attempt = votive::runs::attempts(folder).unwrap().pop().unwrap();
        assert!(attempt.ended.as_ref().unwrap().to_string().starts_with("the device failed: "), "{attempt:?}");
        assert!(position(folder)["step"].as_u64().unwrap() > 0, "it was in the midst of its steps");
    }
    scene.put_gpu(host_gpu::libraries());
    scene.run(&[]).exits(0);
    assert_eq!(scene.attempts(), [2, 2]);
    let undisturbed = self::scene(&experiment(""));
    undisturbed.run(&[]).exits(0);
    assert_all_alike(&scene, &undisturbed);
}

#[test]
fn a_trial_that_the_gpus_memory_does_not_take_is_over() {
    let (scene, said) = failing("1:2", 3);
    said.says("did not fit").says("the GPU's memory ran out").says_nothing_of("memory ran out: the GPU's memory");
    assert_eq!(words(&scene.table(), "status"), ["did_not_fit", "did_not_fit"]);
}

#[test]
fn what_diverges_on_a_gpu_ends_before_its_step_has_a_row() {
    let yaml = experiment("").replace("batch_size: 4", "batch_size: 4\n  learning_rate: 1e30\n  warmup: 0\n  clip_norm: off");
    let scene = scene(&yaml);
    scene.run(&[]).exits(3);
    for folder in scene.trials().values() {
        let outcome = json(&folder.outcome());
        assert_eq!(outcome["end"], "diverged", "{outcome}");
        let losses = losses(folder);
        assert_eq!(outcome["steps"], losses.len());
        assert!(losses.iter().all(|loss| loss.is_finite()));
        let next = format!("at step {}", losses.len() + 1);
        assert!(outcome["reason"].as_str().unwrap().ends_with(&next), "{outcome}");
    }
}

#[test]
fn compiled_kernels_are_kept_in_the_users_cache_or_with_the_experiment() {
    let scene = scene(&experiment("").replace("steps: 24", "steps: 2"));
    let cache = tempfile::tempdir().unwrap();
    let mut command = scene.command(&["run", "small.yaml", "--no-probe"]);
    Said::of(command.env("XDG_CACHE_HOME", cache.path()).output().unwrap()).exits(0);
    let kept = files_below(&cache.path().join("votive/kernels"), "").len();
    assert!(kept > 0);
    let mut homeless = scene.command(&["run", "small.yaml", "--no-probe", "--set", "train.budget.steps=3"]);
    Said::of(homeless.env_remove("XDG_CACHE_HOME").env_remove("HOME").output().unwrap()).exits(0);
    assert_eq!(files_below(&scene.experiment().cache().join("kernels"), "").len(), kept);
}

/// The GPUs of a machine that has two, as its records name them.
fn two_gpus() -> [String; 2] {
    ["cuda:0", "cuda:1"].map(str::to_owned)
}

#[test]
fn on_two_gpus_each_worker_sees_its_own_and_everything_names_the_real_one() {
    let yaml = experiment("");
    let gpus = host_gpu::libraries_with(&[("DEVICES", "2"), ("DELAY_US", "1000")]);
    let scene = Scene::on_gpu(&yaml, gpus.path());
    let mut runner = scene.start(&[]);
    scene.wait_for_steps(&mut runner, 3);
    let last = |folder: &TrialFolder| votive::runs::attempts(folder).ok().and_then(|mut all| all.pop());
    let mut seen = Vec::new();
    for _ in 0..200 {
        let attempts: Vec<_> = scene.trials().values().filter_map(last).collect();
        if attempts.len() == 2 {
            seen = attempts;
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    seen.sort_by_key(|attempt| attempt.slot);
    assert_eq!(seen.iter().map(|attempt| attempt.device.to_string()).collect::<Vec<_>>(), two_gpus());
    for attempt in &seen {
        let gpu = attempt.gpu.as_ref().unwrap();
        let read = |what: &str| std::fs::read(format!("/proc/{}/{what}", attempt.pid)).unwrap_or_default();
        let environment = String::from_utf8_lossy(&read("environ")).into_owned();
        assert!(environment.contains(&format!("CUDA_VISIBLE_DEVICES={}\0", gpu.uuid)), "{environment}");
        assert!(String::from_utf8_lossy(&read("cmdline")).contains("--device\0cuda:0\0"));
        assert_eq!(gpu.name, "Processor as a GPU");
    }
    assert_ne!(seen[0].gpu.as_ref().unwrap().uuid, seen[1].gpu.as_ref().unwrap().uuid);
    let status = scene.votive(&["status", "runs/small"]).exits(0);
    status.says("on cuda:0").says("on cuda:1");
    runner.send(Signal::INT);
    runner.wait().exits(130);
    scene.run(&[]).exits(0);
    let mut devices = words(&scene.table(), "device");
    devices.sort();
    assert_eq!(devices, two_gpus());
    assert_eq!(words(&scene.table(), "processor"), ["Processor as a GPU"; 2]);
    let mut uuids = words(&scene.table(), "gpu_uuid");
    uuids.sort();
    assert_eq!(uuids, [&seen[0], &seen[1]].map(|attempt| attempt.gpu.as_ref().unwrap().uuid.clone()));
    for folder in scene.trials().values() {
        assert!(json(&folder.outcome())["gpu"]["uuid"].as_str().unwrap().starts_with("GPU-"));
    }
    let events = votive::runs::read_events(&scene.experiment().events()).unwrap();
    let mut numbers: Vec<i64> = events.iter().filter_map(|event| event.details.get("gpu")?["number"].as_i64()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [0, 1]);
    let undisturbed = self::scene(&yaml);
    undisturbed.run(&[]).exits(0);
    assert_all_alike(&scene, &undisturbed);
}

#[test]
fn where_one_of_two_gpus_fails_all_trials_end_on_the_other() {
    let yaml = experiment("seeds: 2");
    let gpus = host_gpu::libraries_with(&[("DEVICES", "2"), ("FAIL_LAUNCH_1", "400:700"), ("DELAY_US", "300")]);
    let scene = Scene::on_gpu(&yaml, gpus.path());
    let said = scene.run(&[]).exits(0);
    said.says("left out    cuda:1 (Processor as a GPU) is not used any more").says("its trials go on with the other one");
    assert_eq!(words(&scene.table(), "device"), ["cuda:0"; 4]);
    let events = std::fs::read_to_string(scene.experiment().events()).unwrap();
    assert_eq!(events.matches(r#""kind":"gpu_left_out""#).count(), 1, "{events}");
    assert_eq!(scene.attempts().iter().sum::<usize>(), 6, "two trials failed on it once each");
}

#[test]
fn a_gpu_that_others_use_is_left_alone_and_no_more_trials_share_one_than_fit() {
    let yaml = experiment("").replace("steps: 24", "steps: 2");
    let gpus = host_gpu::libraries_with(&[
        ("DEVICES", "2"),
        ("MEMORY", "1000000000"),
        ("MEMORY_1", "8000000000"),
        ("BUSY_1", "2000000000"),
        ("PROCESS_1", "4711:python"),
    ]);
    let scene = Scene::on_gpu(&yaml, gpus.path());
    let said = scene.run(&["--set", "run.per_device=2"]).exits(0);
    said.says("cuda:1 is left alone: others use 2.0 GB of it (python 4711)").says("cuda:0 takes 1 trial at a time, not 2: ");
    assert_eq!(words(&scene.table(), "device"), ["cuda:0"; 2]);
    let shared = Scene::on_gpu(&yaml, host_gpu::libraries());
    shared.run(&["--set", "run.per_device=2"]).exits(0).says("2 at a time");
    let slots = |folder: &TrialFolder| votive::runs::attempts(folder).unwrap().pop().unwrap().slot;
    let mut slots: Vec<u32> = shared.trials().values().map(slots).collect();
    slots.sort_unstable();
    assert_eq!((slots, words(&shared.table(), "device")), (vec![1, 2], vec!["cuda:0".to_owned(); 2]));
}
