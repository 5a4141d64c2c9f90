//! Autocovariances of a long series, by the Fourier transform of its pieces: N log L products for L lags in place of N L.

use std::f64::consts::PI;

/// Σ x(t) x(t + k) / N for the lags k = 0 … `lags` of a series x of N values whose mean is 0.
///
/// The series is cut into pieces longer than the longest lag, so that a product lies within a piece or reaches from one to the next. With P
/// the transform of a piece with as many zeros after it, that of the piece and the next one behind it is P(f) + (−1)^f P′(f), and the transform
/// of all their products is conj(P) times that.
pub(super) fn autocovariances(centred: &[f64], lags: usize) -> Vec<f64> {
    let piece = (lags + 1).next_power_of_two();
    let fourier = Fourier::new(2 * piece);
    let mut products = Spectrum::zero(2 * piece);
    let mut before = Spectrum::zero(2 * piece);
    for values in centred.chunks(piece) {
        let mut own = Spectrum::zero(2 * piece);
        own.real[..values.len()].copy_from_slice(values);
        fourier.transform(&mut own);
        for f in 0..2 * piece {
            let sign = if f % 2 == 0 { 1.0 } else { -1.0 };
            let (re, im) = (own.real[f], own.imaginary[f]);
            let (re_before, im_before) = (before.real[f], before.imaginary[f]);
            products.real[f] += re * re + im * im + sign * (re_before * re + im_before * im);
            // Of the conjugate, which turns the transform into its inverse.
            products.imaginary[f] -= sign * (re_before * im - im_before * re);
        }
        before = own;
    }
    fourier.transform(&mut products);
    let scale = (2 * piece * centred.len()) as f64;
    products.real[..=lags].iter().map(|sum| sum / scale).collect()
}

/// Complex numbers, by frequency or by time.
struct Spectrum {
    real: Vec<f64>,
    imaginary: Vec<f64>,
}

impl Spectrum {
    fn zero(size: usize) -> Self {
        Self { real: vec![0.0; size], imaginary: vec![0.0; size] }
    }
}

/// The fast Fourier transform of one size, a power of two: X(f) = Σ x(t) exp(−2π i f t / size).
struct Fourier {
    /// exp(−π i j / h) for j = 0 … h − 1 at the places from h on, for each h = 1, 2, 4 … below the size.
    roots: Spectrum,
}

impl Fourier {
    fn new(size: usize) -> Self {
        let mut roots = Spectrum::zero(size);
        for place in 1..size {
            let half = 1 << place.ilog2();
            let angle = -PI * (place - half) as f64 / half as f64;
            (roots.imaginary[place], roots.real[place]) = angle.sin_cos();
        }
        Self { roots }
    }

    /// In place, by halves (Cooley and Tukey, radix 2).
    fn transform(&self, Spectrum { real, imaginary }: &mut Spectrum) {
        let size = real.len();
        let bits = size.trailing_zeros();
        for place in 0..size {
            let mirrored = place.reverse_bits() >> (usize::BITS - bits);
            if place < mirrored {
                real.swap(place, mirrored);
                imaginary.swap(place, mirrored);
            }
        }
        let mut half = 1;
        while half < size {
            let (cosines, sines) = (&self.roots.real[half..2 * half], &self.roots.imaginary[half..2 * half]);
            for (real, imaginary) in real.chunks_exact_mut(2 * half).zip(imaginary.chunks_exact_mut(2 * half)) {
                let ((re_a, re_b), (im_a, im_b)) = (real.split_at_mut(half), imaginary.split_at_mut(half));
                let pairs = re_a.iter_mut().zip(re_b).zip(im_a.iter_mut().zip(im_b));
                for (((re_a, re_b), (im_a, im_b)), (cosine, sine)) in pairs.zip(cosines.iter().zip(sines)) {
                    let (re, im) = (*re_b * cosine - *im_b * sine, *re_b * sine + *im_b * cosine);
                    (*re_b, *im_b) = (*re_a - re, *im_a - im);
                    (*re_a, *im_a) = (*re_a + re, *im_a + im);
                }
            }
            half *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn autocovariances_are_the_sums_of_products() {
        let mut stream = Stream::new(1, "series", &[]);
        for (count, lags) in [(1, 1), (2, 1), (7, 5), (64, 13), (65, 13), (1_000, 37), (5_000, 76)] {
            let series: Vec<f64> = (0..count).map(|_| stream.normal()).collect();
            let found = autocovariances(&series, lags);
            assert_eq!(found.len(), lags + 1);
            for (lag, found) in found.into_iter().enumerate() {
                let products = series.iter().zip(series.iter().skip(lag)).map(|(early, late)| early * late);
                let expected = products.sum::<f64>() / count as f64;
                assert!((found - expected).abs() < 1e-13, "{count} values, lag {lag}: {found} {expected}");
            }
        }
    }
}
