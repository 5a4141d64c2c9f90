//! NVIDIA's library of matrix products as its headers declare it: functions, structures, codes and attributes.
//!
//! Source: `cublasLt.h`.

use std::ffi::{c_char, c_int, c_void};

use super::driver::{Stream, functions};

/// `cublasLtMatmulAlgo_t`.
pub(super) type RawAlgorithm = [u64; 8];

/// `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Choice {
    pub(super) algorithm: RawAlgorithm,
    pub(super) workspace: usize,
    pub(super) state: i32,
    pub(super) waves: f32,
    pub(super) reserved: [c_int; 4],
}

/// `cublasLtHandle_t`, `cublasLtMatmulDesc_t`, `cublasLtMatrixLayout_t`, `cublasLtMatmulPreference_t`.
pub(super) type Handle = *mut c_void;

functions! {
    /// The functions of `libcublasLt` that are called.
    Functions {
        version = "cublasLtGetVersion"() -> usize;
        status_name = "cublasLtGetStatusName"(i32) -> *const c_char;
        create = "cublasLtCreate"(*mut Handle) -> i32;
        destroy = "cublasLtDestroy"(Handle) -> i32;
        description_create = "cublasLtMatmulDescCreate"(*mut Handle, i32, i32) -> i32;
        description_set = "cublasLtMatmulDescSetAttribute"(Handle, i32, *const c_void, usize) -> i32;
        description_destroy = "cublasLtMatmulDescDestroy"(Handle) -> i32;
        layout_create = "cublasLtMatrixLayoutCreate"(*mut Handle, i32, u64, u64, i64) -> i32;
        layout_set = "cublasLtMatrixLayoutSetAttribute"(Handle, i32, *const c_void, usize) -> i32;
        layout_destroy = "cublasLtMatrixLayoutDestroy"(Handle) -> i32;
        preference_create = "cublasLtMatmulPreferenceCreate"(*mut Handle) -> i32;
        preference_set = "cublasLtMatmulPreferenceSetAttribute"(Handle, i32, *const c_void, usize) -> i32;
        preference_destroy = "cublasLtMatmulPreferenceDestroy"(Handle) -> i32;
        heuristic = "cublasLtMatmulAlgoGetHeuristic"(
            Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Choice, *mut c_int,
        ) -> i32;
        check = "cublasLtMatmulAlgoCheck"(
            Handle, Handle, Handle, Handle, Handle, Handle, *const RawAlgorithm, *mut Choice,
        ) -> i32;
        multiply = "cublasLtMatmul"(
            Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void, Handle,
            *mut c_void, Handle, *const RawAlgorithm, *mut c_void, usize, Stream,
        ) -> i32;
    }
}

/// `CUDA_R_32F`, the type of alpha and beta.
pub(super) const SCALE_TYPE: i32 = 0;
/// `CUBLAS_COMPUTE_32F`.
pub(super) const COMPUTE_F32: i32 = 68;
/// `CUBLAS_COMPUTE_32F_FAST_TF32`.
pub(super) const COMPUTE_TF32: i32 = 77;
/// `CUBLASLT_EPILOGUE_BIAS`.
pub(super) const EPILOGUE_BIAS: i32 = 4;
/// `CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE`: split sums are added up by a kernel of their own, in 32 bits.
pub(super) const REDUCTIONS: u32 = 2;
/// `CUBLAS_STATUS_ALLOC_FAILED`.
pub(super) const ALLOCATION_FAILED: i32 = 3;

/// Attributes of a product's description.
pub(super) mod description {
    pub(in super::super) const TRANSPOSE_A: i32 = 3;
    pub(in super::super) const TRANSPOSE_B: i32 = 4;
    pub(in super::super) const EPILOGUE: i32 = 7;
    pub(in super::super) const BIAS_POINTER: i32 = 8;
    pub(in super::super) const BIAS_BATCH_STRIDE: i32 = 10;
}

/// Attributes of a matrix's layout.
pub(super) mod layout {
    pub(in super::super) const BATCH_COUNT: i32 = 5;
    pub(in super::super) const BATCH_STRIDE: i32 = 6;
}

/// Attributes of what is wanted of an algorithm.
pub(super) mod preference {
    pub(in super::super) const WORKSPACE_BYTES: i32 = 1;
    pub(in super::super) const REDUCTION_SCHEMES: i32 = 3;
    pub(in super::super) const ALIGNMENT_A: i32 = 5;
    pub(in super::super) const ALIGNMENT_B: i32 = 6;
    pub(in super::super) const ALIGNMENT_C: i32 = 7;
    pub(in super::super) const ALIGNMENT_D: i32 = 8;
}
