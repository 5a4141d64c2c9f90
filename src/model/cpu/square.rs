//! Four rows of four values, transposed: what transposes of matrices are made of.

/// Rows and columns of a square.
pub(super) const SIDE: usize = 4;

/// The transpose. By hand where there are the instructions, for the compiler would write value after value.
#[inline(always)]
pub(super) fn transposed(rows: [[f32; SIDE]; SIDE]) -> [[f32; SIDE]; SIDE] {
    // Every x86-64 processor has them: this is no question at run time.
    #[cfg(target_arch = "x86_64")]
    if let Some(sse) = pulp::core_arch::x86::Sse::try_new() {
        let [a, b, c, d] = rows.map(pulp::cast::<_, std::arch::x86_64::__m128>);
        let left = [sse._mm_unpacklo_ps(a, b), sse._mm_unpacklo_ps(c, d)];
        let right = [sse._mm_unpackhi_ps(a, b), sse._mm_unpackhi_ps(c, d)];
        let pairs = |[above, below]: [_; 2]| [sse._mm_movelh_ps(above, below), sse._mm_movehl_ps(below, above)];
        let ([a, b], [c, d]) = (pairs(left), pairs(right));
        return [a, b, c, d].map(pulp::cast);
    }
    std::array::from_fn(|column| rows.map(|row| row[column]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let rows = std::array::from_fn(|r| std::array::from_fn(|c| (10 * r + c) as f32));
        let turned = transposed(rows);
        assert!((0..SIDE).all(|r| (0..SIDE).all(|c| turned[c][r] == rows[r][c])));
    }
}
