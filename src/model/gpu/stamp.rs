//! What a training was computed by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a training was computed by: where all of it is equal, it goes on bit for bit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The GPU's name.
    pub gpu: String,
    /// Its streaming multiprocessors: products are cut for them.
    pub multiprocessors: u32,
    /// Hash of the kernels, their options and compiler.
    pub kernels: String,
    /// Version of cublasLt, such as `130101`.
    pub products: u64,
    /// Hash of the algorithms that were chosen for a step's products.
    pub algorithms: String,
}

impl Stamp {
    /// Why what was computed by `before` does not go on by this one, in words that follow "the trial starts over: ".
    pub fn unlike(&self, before: &Self) -> String {
        let (made_on, this) = (before.to_string(), self.to_string());
        if made_on != this {
            return format!("its checkpoint was made on {made_on}, and this is {this}");
        }
        let what = if before.multiprocessors != self.multiprocessors {
            format!("{} multiprocessors where it has {} now", before.multiprocessors, self.multiprocessors)
        } else if before.kernels != self.kernels {
            "other kernels: those of another version of this program or of NVIDIA's compiler".to_owned()
        } else {
            "other algorithms for its products".to_owned()
        };
        format!("its checkpoint was made on {made_on} as well, but with {what}")
    }
}

/// `an NVIDIA H200 with cuBLAS 13.1.1`.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gpu, products, .. } = self;
        // NVIDIA is said with a vowel first.
        let vowel = gpu.starts_with("NVIDIA") || gpu.starts_with(['A', 'E', 'I', 'O', 'U']);
        let (article, [major, minor, patch]) =
            (if vowel { "an" } else { "a" }, [products / 10_000, products / 100 % 100, products % 100]);
        write!(f, "{article} {gpu} with cuBLAS {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        let [gpu, kernels, algorithms] = ["NVIDIA H100 80GB HBM3", "k", "a"].map(str::to_owned);
        Stamp { gpu, multiprocessors: 132, kernels, products: 130_001, algorithms }
    }

    #[test]
    fn what_differs_is_said_in_words() {
        let before = stamp();
        let other = |change: fn(&mut Stamp)| {
            let mut now = stamp();
            change(&mut now);
            now.unlike(&before)
        };
        let made_on = "its checkpoint was made on an NVIDIA H100 80GB HBM3 with cuBLAS 13.0.1";
        for (said, rest) in [
            (other(|s| s.gpu = "NVIDIA H200".to_owned()), ", and this is an NVIDIA H200 with cuBLAS 13.0.1"),
            (other(|s| s.gpu = "Tesla T4".to_owned()), ", and this is a Tesla T4 with cuBLAS 13.0.1"),
            (other(|s| s.products = 120_804), ", and this is an NVIDIA H100 80GB HBM3 with cuBLAS 12.8.4"),
            (other(|s| s.multiprocessors = 114), " as well, but with 132 multiprocessors where it has 114 now"),
            (
                other(|s| s.kernels = "l".to_owned()),
                " as well, but with other kernels: those of another version of this program or of NVIDIA's compiler",
            ),
            (other(|s| s.algorithms = "b".to_owned()), " as well, but with other algorithms for its products"),
        ] {
            assert_eq!(said, format!("{made_on}{rest}"));
        }
    }
}
