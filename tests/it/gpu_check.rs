//! `votive check-gpu` on the stand-ins of NVIDIA's libraries.

use std::process::Command;

use serde_json::Value;

use crate::host_gpu;

#[test]
fn a_gpu_is_tried_by_one_command() {
    let cache = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_votive"))
        .args(["check-gpu", "--sizes", "small", "--libraries"])
        .arg(host_gpu::libraries())
        .arg("--cache")
        .arg(cache.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |part: &str| lines.iter().filter(|line| line["part"] == part).count();
    assert_eq!((of("facts"), of("gradients"), of("bits"), of("speed")), (1, 9, 9, 3));
    assert!(of("product") > 100 && lines.iter().all(|line| line["good"] != false));
    let speed = lines.iter().find(|line| line["part"] == "speed").unwrap();
    assert_eq!([&speed["graphs_a_step"], &speed["waits_a_step"], &speed["allocations_a_step"]], [1.0, 0.0, 0.0]);
}
