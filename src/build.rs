//! Links the program at a fixed address where it runs on Linux with glibc: a position-independent one has 168,000 addresses to set
//! right at each start: a sixth of the processor time of a worker that trains one step. Each trial is a process of its own.

fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
