//! Rotary positions as Hugging Face's Llama has them: element i turns together with element i + D/2.

/// Cosines and sines of each position, in 32 bits as Hugging Face computes them: row t is [cos of D/2 angles | sin of them].
pub(in crate::model) fn table(length: usize, head: usize, theta: f64) -> Vec<f32> {
    let half = head / 2;
    let inverse: Vec<f32> = (0..half).map(|i| (1.0 / theta.powf((2 * i) as f64 / head as f64)) as f32).collect();
    let angles = |t: usize| inverse.iter().map(move |f| f64::from(t as f32 * f));
    (0..length).flat_map(|t| angles(t).map(f64::cos).chain(angles(t).map(f64::sin)).map(|x| x as f32)).collect()
}

/// Two elements that turn together, times `scale`.
#[inline(always)]
pub(super) fn pair(a: f32, b: f32, cos: f32, sin: f32, scale: f32) -> [f32; 2] {
    [(a * cos - b * sin) * scale, (b * cos + a * sin) * scale]
}

/// `into` = `from`, turned by one row of the table where there is one.
#[inline(always)]
pub(super) fn turn(into: &mut [f32], from: &[f32], angles: Option<&[f32]>) {
    each_pair(into, from, 1.0, angles, |sin| sin);
}

/// `into` = `from` · scale through the transpose of [`turn`]: what a gradient goes through on its way back.
#[inline(always)]
pub(super) fn turn_back(into: &mut [f32], from: &[f32], scale: f32, angles: Option<&[f32]>) {
    each_pair(into, from, scale, angles, |sin| -sin);
}

#[inline(always)]
fn each_pair(into: &mut [f32], from: &[f32], scale: f32, angles: Option<&[f32]>, direction: impl Fn(f32) -> f32) {
    let Some(angles) = angles else {
        into.iter_mut().zip(from).for_each(|(y, x)| *y = x * scale);
        return;
    };
    let half = angles.len() / 2;
    let ((cos, sin), (a, b)) = (angles.split_at(half), from.split_at(half));
    let (y, z) = into.split_at_mut(half);
    for i in 0..half {
        [y[i], z[i]] = pair(a[i], b[i], cos[i], direction(sin[i]), scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn position_zero_does_not_turn_and_turning_back_undoes_turning() {
        let table = table(5, 6, 10_000.0);
        let x = [1.0, 2.0, 3.0, -4.0, 5.0, 6.0];
        for t in 0..5 {
            let (mut y, mut z) = ([0.0; 6], [0.0; 6]);
            turn(&mut y, &x, Some(&table[t * 6..][..6]));
            turn_back(&mut z, &y, 1.0, Some(&table[t * 6..][..6]));
            assert!(x.iter().zip(&z).all(|(x, z)| (x - z).abs() < 1e-5));
            assert_eq!(t == 0, x == y);
        }
    }

    #[test]
    fn scores_depend_on_the_distance_only() {
        let table = table(40, 8, 10_000.0);
        let at = |t: usize, x: &[f32; 8]| {
            let mut y = [0.0; 8];
            turn(&mut y, x, Some(&table[t * 8..][..8]));
            y
        };
        let (q, k) = ([0.3, -1.0, 2.0, 0.5, 1.5, 0.1, -0.7, 1.0], [1.0, 0.2, -0.4, 0.9, -1.1, 0.6, 0.8, -0.5]);
        let score = |i, j| at(i, &q).iter().zip(at(j, &k)).map(|(a, b)| a * b).sum::<f32>();
        assert!((score(9, 4) - score(30, 25)).abs() < 1e-5);
        assert!((score(9, 4) - score(9, 5)).abs() > 1e-3);
    }
}
