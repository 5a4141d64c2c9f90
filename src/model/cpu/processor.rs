//! What kind of processor computes, as far as it matters to bits.

use std::env::consts::ARCH;

use pulp::{Arch, Simd, WithSimd};

/// The kind of processor that this program runs on: its model where the system tells it, else its architecture, and the widest
/// vectors that the engine uses on it: `AMD EPYC 9R14 (AVX2)`, `aarch64 (NEON)`.
pub fn processor() -> String {
    let told = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    named(&told, ARCH, Arch::new().dispatch(VectorWidth))
}

/// Asks for the floats in a vector.
struct VectorWidth;

impl WithSimd for VectorWidth {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

fn named(cpuinfo: &str, architecture: &str, lanes: usize) -> String {
    let model = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let words: Vec<&str> = value.split_whitespace().collect();
        (key.trim() == "model name" && !words.is_empty()).then(|| words.join(" "))
    });
    let vectors = match (architecture, lanes) {
        ("x86_64", 16) => Some("AVX-512"),
        ("x86_64", 8) => Some("AVX2"),
        ("aarch64", 4) => Some("NEON"),
        _ => None,
    };
    let name = model.unwrap_or_else(|| architecture.to_owned());
    vectors.map_or_else(|| name.clone(), |vectors| format!("{name} ({vectors})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_its_model_and_its_vectors_or_its_architecture() {
        let cpuinfo =
            "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9R14   96-Core\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(named(cpuinfo, "x86_64", 16), "AMD EPYC 9R14 96-Core (AVX-512)");
        assert_eq!(named(cpuinfo, "x86_64", 8), "AMD EPYC 9R14 96-Core (AVX2)");
        assert_eq!(named(cpuinfo, "x86_64", 1), "AMD EPYC 9R14 96-Core");
        assert_eq!(named("processor\t: 0\nCPU part\t: 0xd40\n", "aarch64", 4), "aarch64 (NEON)");
        assert_eq!(named("model name\t:\n", "riscv64", 1), "riscv64");
        assert!(!processor().is_empty());
    }
}
