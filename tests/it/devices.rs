//! Which device an experiment's trials run on, and what is said of one that cannot be used. GPUs are stand-ins of NVIDIA's
//! libraries ([`crate::host_gpu`]); nothing is trained on them here.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::host_gpu;
use crate::support::{SMALL, Said, Scene, small};

/// `votive` with NVIDIA's libraries in this folder, so that the environment says it.
fn with(scene: &Scene, libraries: &Path, arguments: &[&str]) -> Said {
    let mut command = scene.command(arguments);
    command.env("VOTIVE_SET__RUN__CUDA_LIBRARIES", libraries).env_remove("CUDA_VISIBLE_DEVICES");
    Said::of(command.output().unwrap())
}

/// Whether it says each of these, wherever its lines are broken.
#[track_caller]
fn says(said: &Said, texts: &[&str]) {
    let words = |text: &str| text.lines().map(|line| line.trim_matches([' ', '|'])).collect::<Vec<_>>().join(" ");
    let all = format!("{} {}", words(&said.err), words(&said.out));
    for text in texts {
        assert!(all.contains(text), "no `{text}` in\n{}\n{}", said.out, said.err);
    }
}

/// The only trial's id.
fn id(said: Said) -> Value {
    let trials = said.exits(0).json()["trials"].clone();
    assert_eq!(trials.as_array().unwrap().len(), 1);
    trials[0]["id"].clone()
}

/// A folder with these libraries of the stand-ins alone.
fn only(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(host_gpu::libraries().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn auto_takes_a_gpu_that_can_be_used_and_says_which() {
    let scene = Scene::new(SMALL);
    let gpus = host_gpu::libraries_with(&[("NAME", "Stand-in X1"), ("DEVICES", "2")]);
    let plan = ["plan", "small.yaml"];
    with(&scene, gpus.path(), &plan)
        .exits(0)
        .says("on cuda:0 and cuda:1 (Stand-in X1), 2 trials at a time")
        .says("of the device's memory");
    let second = [&plan[..], &["--device", "cuda:1"]].concat();
    with(&scene, gpus.path(), &second).exits(0).says("on cuda:1 (Stand-in X1), one trial at a time");
    let third = [&plan[..], &["--device", "cuda:2"]].concat();
    let said = with(&scene, gpus.path(), &third).exits(2);
    says(&said, &["there is no GPU 2: the driver shows 2 GPUs", "`CUDA_VISIBLE_DEVICES`"]);
    with(&scene, gpus.path(), &["check", "small.yaml"]).exits(0).says("is right");
    let processor = [&plan[..], &["--device", "cpu"]].concat();
    with(&scene, gpus.path(), &processor).exits(0).says_nothing_of("cuda");
}

#[test]
fn gpus_of_another_kind_are_left_alone_unless_they_may_be_mixed() {
    let scene = Scene::new(&small("run: {device: cuda}"));
    let gpus = host_gpu::libraries_with(&[("DEVICES", "3"), ("NAME", "Stand-in X1"), ("NAME_0", "Stand-in X2")]);
    let plan = ["plan", "small.yaml"];
    let said = with(&scene, gpus.path(), &plan).exits(0);
    says(&said, &["on cuda:1 and cuda:2 (Stand-in X1), 2 trials at a time", "cuda:0 is left alone: it is Stand-in X2"]);
    let said = with(&scene, gpus.path(), &[&plan[..], &["--set", "run.mixed=true"]].concat()).exits(0);
    says(&said, &["on cuda:0 (Stand-in X2), cuda:1 (Stand-in X1) and cuda:2 (Stand-in X1), 3 trials at a time"]);
    let mut command = scene.command(&plan);
    command.env("VOTIVE_SET__RUN__CUDA_LIBRARIES", gpus.path()).env("CUDA_VISIBLE_DEVICES", "2,0");
    says(&Said::of(command.output().unwrap()).exits(0), &["on cuda:0 (Stand-in X1), one trial at a time"]);
}

#[test]
fn where_others_use_every_gpu_nothing_is_run_and_a_plan_is_made_all_the_same() {
    let scene = Scene::new(&small("run: {device: cuda}"));
    let busy = [("DEVICES", "2"), ("BUSY", "2000000000"), ("PROCESS_1", "4711:python")];
    let gpus = host_gpu::libraries_with(&busy);
    with(&scene, gpus.path(), &["plan", "small.yaml"]).exits(0).says("on cuda:0 and cuda:1");
    let said = with(&scene, gpus.path(), &["run", "small.yaml", "--no-probe"]).exits(2);
    says(
        &said,
        &["others use every GPU that could be taken: cuda:0 (2.0 GB) and cuda:1 (2.0 GB, python 4711)", "`run.gpu_busy`"],
    );
    assert!(!scene.path().join("runs/small/trials").exists());
}

#[test]
fn under_auto_the_processor_trains_where_others_use_every_gpu() {
    let scene = Scene::new(&small("seeds: 1").replace("steps: 40", "steps: 2"));
    let busy = [("DEVICES", "1"), ("BUSY", "1200000000"), ("PROCESS_0", "4711:gnome-shell")];
    let gpus = host_gpu::libraries_with(&busy);
    let processor = id(with(&scene, gpus.path(), &["plan", "small.yaml", "--json", "--device", "cpu"]));
    let instead = "others use every GPU: cuda:0 (1.2 GB, gnome-shell 4711); training on `cpu`, where this experiment then stays";
    says(&with(&scene, gpus.path(), &["plan", "small.yaml"]).exits(0), &[instead, "(`--device cuda:0` shares the GPU"]);
    assert_eq!(id(with(&scene, gpus.path(), &["plan", "small.yaml", "--json"])), processor, "the plan is that of the run");
    let larger = ["plan", "small.yaml", "--set", "run.gpu_busy=2e9"];
    with(&scene, gpus.path(), &larger).exits(0).says("on cuda:0 (");
    let said = with(&scene, gpus.path(), &["plan", "small.yaml", "--device", "cuda:0"]).exits(0);
    says(&said, &["on cuda:0 ("]);
    let said = with(&scene, gpus.path(), &["run", "small.yaml", "--no-probe"]).exits(0);
    says(&said, &[instead]);
    let described: Value = serde_json::from_slice(&fs::read(scene.experiment().experiment_json()).unwrap()).unwrap();
    assert_eq!(described["device"], json!("cpu"));

    // What was trained on a GPU waits for it, and is not trained anew on the processor.
    let mut of_a_gpu = described;
    of_a_gpu["device"] = json!("cuda:0");
    fs::write(scene.experiment().experiment_json(), of_a_gpu.to_string()).unwrap();
    let said = with(&scene, gpus.path(), &["run", "small.yaml", "--no-probe"]).exits(2);
    says(&said, &["others use every GPU that could be taken: cuda:0 (1.2 GB, gnome-shell 4711)"]);
}

#[test]
fn what_cuda_visible_devices_leaves_is_used_in_its_order_and_nothing_where_it_leaves_none() {
    let scene = Scene::new(SMALL);
    let gpus = host_gpu::libraries_with(&[("DEVICES", "3"), ("NAME", "X"), ("NAME_1", "Y"), ("NAME_2", "Z")]);
    let seen = |visible: &str, arguments: &[&str]| {
        let mut command = scene.command(&[&["plan", "small.yaml", "--set", "run.mixed=true"], arguments].concat());
        command.env("VOTIVE_SET__RUN__CUDA_LIBRARIES", gpus.path()).env("CUDA_VISIBLE_DEVICES", visible);
        Said::of(command.output().unwrap())
    };
    // As `uuid_of` in tests/host_gpu/settings.cpp makes them.
    let second = "GPU-10111213-1415-1617-1819-1a1b1c1d1e1f";
    for (visible, used) in [
        ("2,0", "on cuda:0 (Z) and cuda:1 (X), 2 trials"),
        ("1", "on cuda:0 (Y), one trial"),
        (second, "on cuda:0 (Y), one trial"),
        ("GPU-10111213", "on cuda:0 (Y), one trial"),
        // It ends at the first one that is not there.
        ("0,7,1", "on cuda:0 (X), one trial"),
        ("2,-1,0", "on cuda:0 (Z), one trial"),
    ] {
        says(&seen(visible, &[]).exits(0), &[used]);
    }
    // Empty, none, twice the same, one that is not there: the driver shows none.
    for visible in ["", "-1", "0,0", "NoDevFiles", "MIG-10111213-1415-1617-1819-1a1b1c1d1e1f"] {
        seen(visible, &[]).exits(0).says_nothing_of("on cuda").says_nothing_of("cannot be used");
        let refused = seen(visible, &["--device", "cuda"]).exits(2);
        says(&refused, &["the driver shows no GPU", "whether `CUDA_VISIBLE_DEVICES` hides them"]);
    }
}

#[test]
fn the_folder_of_the_libraries_is_relative_to_the_file() {
    let scene = Scene::new(&small("run: {device: cuda, cuda_libraries: nvidia}"));
    scene.votive(&["plan", "small.yaml"]).exits(2).says("small.yaml:8:15");
    std::os::unix::fs::symlink(host_gpu::libraries(), scene.path().join("nvidia")).unwrap();
    let mut plan = scene.command(&["plan", "small.yaml"]);
    Said::of(plan.env_remove("CUDA_VISIBLE_DEVICES").output().unwrap()).exits(0).says("on cuda:0");
}

#[test]
fn a_gpu_that_cannot_be_used_is_a_note_under_auto_and_an_error_under_cuda() {
    let scene = Scene::new(SMALL);
    let old = host_gpu::libraries_with(&[("DRIVER_VERSION", "11080")]);
    let small_chip = host_gpu::libraries_with(&[("CAPABILITY", "75")]);
    for (folder, said) in [(old.path(), "serves CUDA 11.8"), (small_chip.path(), "is too old for the kernels")] {
        let note = with(&scene, folder, &["plan", "small.yaml"]).exits(0).says_nothing_of("on cuda");
        says(&note, &[said]);
        let line = note.err.lines().find(|line| line.contains("a GPU is there and cannot be used")).unwrap();
        assert!(line.contains("driver") || line.contains("take a GPU"), "what to do stands in it: {line}");
        assert!(line.ends_with("training on `cpu`"), "{line}");
        for command in ["check", "plan", "run"] {
            let refused = with(&scene, folder, &[command, "small.yaml", "--set", "run.device=cuda"]).exits(2).says("--set:1:12");
            says(&refused, &[said]);
        }
    }
    assert!(!scene.path().join("runs/small/trials").exists());
}

#[test]
fn libraries_that_are_missing_are_named_with_what_brings_them() {
    let scene = Scene::new(SMALL);
    let driver_alone = only(&["libcuda.so.1"]);
    let mut command = scene.command(&["plan", "small.yaml", "--device", "cuda"]);
    command.env("VOTIVE_SET__RUN__CUDA_LIBRARIES", driver_alone.path()).env_remove("CUDA_VISIBLE_DEVICES");
    // What the machine may have beside it is hidden, but for what lies in the system's own folders.
    for variable in ["LD_LIBRARY_PATH", "CUDA_HOME", "CUDA_PATH", "VIRTUAL_ENV", "CONDA_PREFIX", "PATH"] {
        command.env_remove(variable);
    }
    let said = Said::of(command.env("HOME", scene.path()).output().unwrap());
    if said.code() != 0 {
        says(&said.exits(2), &["pip install nvidia-", "`run.cuda_libraries`"]);
    }
}

#[test]
fn without_a_gpu_the_device_cuda_is_refused_with_what_is_missing() {
    let scene = Scene::new(SMALL);
    for command in ["check", "plan", "run"] {
        let said = scene.votive(&[command, "small.yaml", "--set", "run.device=cuda"]).exits(2).says("--set:1:12");
        assert!(said.err.contains("driver"), "{}", said.err);
    }
    let candle = ["--set", "run.engine=candle", "--set", "run.device=cuda"];
    let said = scene.votive(&[&["check", "small.yaml"][..], &candle].concat()).exits(2);
    #[cfg(not(feature = "cuda"))]
    says(&said, &["no operations of candle", "`--features cuda`"]);
    said.says("--set:1:12");
    assert!(!scene.path().join("runs/small/trials").exists());
}

#[test]
fn auto_keeps_the_device_that_the_experiment_was_run_on() {
    let scene = Scene::new(&small("seeds: 1").replace("steps: 40", "steps: 4"));
    let on_processor = id(scene.votive(&["plan", "small.yaml", "--json"]));
    scene.run(&[]).exits(0);
    let gpus = host_gpu::libraries();
    let plan = ["plan", "small.yaml", "--json"];
    assert_eq!(id(with(&scene, gpus, &plan)), on_processor, "a GPU that comes later renames no trial");
    with(&scene, gpus, &["run", "small.yaml", "--no-probe"]).exits(0).says("nothing to train");
    for device in ["auto", "cuda"] {
        assert_ne!(id(with(&scene, gpus, &[&plan[..], &["--device", device]].concat())), on_processor, "{device}");
    }

    // What was run on a GPU is not trained anew on the processor where the GPU is gone.
    let file = scene.experiment().experiment_json();
    let mut described: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    described["device"] = json!("cuda");
    fs::write(&file, described.to_string()).unwrap();
    says(&scene.votive(&plan).exits(2), &["this experiment was run on `cuda:0`", "`--device cpu`"]);
    assert_eq!(id(scene.votive(&[&plan[..], &["--device", "cpu"]].concat())), on_processor);
    with(&scene, gpus, &["plan", "small.yaml"]).exits(0).says("on cuda:0");
}

#[test]
fn the_engine_is_part_of_the_id_of_a_trial_on_a_gpu_and_the_precision_of_every_id() {
    let scene = Scene::new(SMALL);
    let gpus = host_gpu::libraries();
    let of = |arguments: &[&str]| id(with(&scene, gpus, &[&["plan", "small.yaml", "--json"], arguments].concat()));
    let own = of(&["--device", "cuda"]);
    assert_eq!(of(&["--device", "cuda:0"]), own);
    assert_eq!(of(&["--device", "cuda", "--set", "train.precision=f32"]), own);
    assert_eq!(of(&["--device", "cuda", "--set", "run.slots=1"]), own);
    for precision in ["tf32", "bf16"] {
        assert_ne!(of(&["--device", "cuda", "--set", &format!("train.precision={precision}")]), own);
    }
    #[cfg(feature = "cuda")]
    assert_ne!(of(&["--device", "cuda", "--set", "run.engine=candle"]), own);
    let processor = of(&["--device", "cpu"]);
    assert_ne!(processor, own);
    assert_eq!(processor, id(scene.votive(&["plan", "small.yaml", "--json"])));
}

#[test]
fn what_the_gpu_does_not_take_is_refused_at_its_line() {
    let scene = Scene::new(&small("run: {device: cuda}").replace("width: 16", "width: 20"));
    let gpus = host_gpu::libraries();
    let said = with(&scene, gpus, &["check", "small.yaml", "--set", "train.precision=bf16"]).exits(2);
    says(&said, &["widths that are multiples of 8: the model is 20 wide, a head 10, the hidden layer 80"]);
    said.says("--set:1:17");
    with(&scene, gpus, &["check", "small.yaml", "--set", "train.precision=tf32"]).exits(0);
    scene.write(&small("run: {device: cuda}").replace("batch_size: 8", "batch_size: 8\n  micro_batch: 4"));
    for command in ["check", "plan", "run"] {
        let said = with(&scene, gpus, &[command, "small.yaml"]).exits(2);
        says(&said, &["`train.micro_batch` 4 is fewer windows than go through a GPU at once: 8"]);
        said.says("small.yaml:7:");
    }
    with(&scene, gpus, &["plan", "small.yaml", "--set", "train.micro_batch=8"]).exits(0);
    with(&scene, gpus, &["plan", "small.yaml", "--device", "cpu"]).exits(0);
}

#[test]
fn what_does_not_fit_into_the_memory_of_the_gpu_is_refused_by_the_plan() {
    let scene = Scene::new(&small("run: {device: cuda}"));
    let gpus = host_gpu::libraries_with(&[("MEMORY", "600000000")]);
    for command in ["plan", "run"] {
        let said = with(&scene, gpus.path(), &[command, "small.yaml"]).exits(2);
        says(&said, &["of the device's memory are needed", "and there are 600 MB", "`--device cpu`"]);
    }
    let gpus = host_gpu::libraries_with(&[("MEMORY", "700000000")]);
    with(&scene, gpus.path(), &["plan", "small.yaml"]).exits(0);
}

#[test]
fn under_auto_a_precision_for_gpus_is_a_warning_on_the_processor_and_nothing_is_trained() {
    let scene = Scene::new(&SMALL.replace("batch_size: 8", "batch_size: 8\n  precision: bf16"));
    for command in ["check", "plan", "explain"] {
        let said = scene.votive(&[command, "small.yaml"]).exits(0).says("small.yaml:7:");
        says(&said, &["`train.precision: bf16` needs a GPU"]);
    }
    let said = scene.run(&[]).exits(2).says("small.yaml:7:");
    says(&said, &["need a GPU, and none is used", "leave it at `f32`"]);
    assert!(!scene.path().join("runs/small/trials").exists());
    says(&scene.run(&["--device", "cpu"]).exits(2), &["`train.precision: bf16` needs a GPU"]);
}
