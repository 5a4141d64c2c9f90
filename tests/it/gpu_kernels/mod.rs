//! Every kernel against what it stands for, computed plainly in 64 bits.
//!
//! Each test runs with three members and with one of them alone, whose bits must be the same, for both types of operands,
//! and over shapes that fill no block and no vector. Output arrays begin as NaN, so what is not written is seen.

mod activation;
mod bench;
mod dropout;
mod embedding;
mod heads;
mod loss;
mod norm;
mod short_attention;
mod softmax;
mod tiled_attention;
mod update;
