//! All parameters in one array: what is done to each value alike then takes a few operations for all of them, and not a few for
//! each parameter. On a GPU an operation costs more to start than a small parameter takes.

use candle_core::{DType, Tensor};

use crate::error::{Error, Result};
use crate::model::Parameter;

/// Joined arrays are a multiple of this long, zeros after the last value: sums go row by row.
const ROW: usize = 1024;

/// These tensors one after another, row by row, filled up with zeros.
///
/// # Errors
/// None given.
pub fn join(tensors: impl IntoIterator<Item = Tensor>) -> Result<Tensor> {
    let mut all = tensors.into_iter().map(|t| Ok(t.flatten_all()?)).collect::<Result<Vec<_>>>()?;
    let len: usize = all.iter().map(Tensor::elem_count).sum();
    let first = all.first().ok_or_else(|| Error::internal("there is no parameter"))?;
    if !len.is_multiple_of(ROW) {
        all.push(Tensor::zeros(len.next_multiple_of(ROW) - len, first.dtype(), first.device())?);
    }
    Ok(Tensor::cat(&all, 0)?)
}

/// The part of each parameter in a joined array, in its shape: a view.
pub fn cut(joined: &Tensor, parameters: &[Parameter]) -> Result<Vec<Tensor>> {
    let mut start = 0;
    let part = |parameter: &Parameter| {
        let part = joined.narrow(0, start, parameter.len())?;
        start += parameter.len();
        Ok(part.reshape(parameter.shape.as_slice())?)
    };
    parameters.iter().map(part).collect()
}

/// The sum of a joined array's squares, left on its device.
pub fn square_sum(joined: &Tensor) -> Result<Tensor> {
    Ok(wide(joined)?.sqr()?.reshape(((), ROW))?.sum(1)?.sum_all()?)
}

/// In 64 bits, but in 32 on Metal, which has no others.
pub(super) fn wide(x: &Tensor) -> Result<Tensor> {
    Ok(if x.device().is_metal() { x.clone() } else { x.to_dtype(DType::F64)? })
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::model::{Group, Start};

    #[test]
    fn what_is_joined_is_cut_into_the_same_parts() {
        let parameter = |shape: &[usize]| Parameter {
            name: String::new(),
            shape: shape.to_vec(),
            group: Group::Decay,
            start: Start::Constant(0.0),
        };
        for shapes in [vec![vec![2, 3], vec![1000], vec![7, 31]], vec![vec![32, 32]], vec![vec![5]]] {
            let parameters: Vec<_> = shapes.iter().map(|shape| parameter(shape)).collect();
            let values: Vec<Tensor> =
                parameters.iter().map(|p| Tensor::rand(-1f32, 1.0, p.shape.as_slice(), &Device::Cpu).unwrap()).collect();
            let joined = join(values.clone()).unwrap();
            assert!(joined.elem_count().is_multiple_of(ROW));
            let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let mut squares = 0.0;
            for (value, part) in values.iter().zip(cut(&joined, &parameters).unwrap()) {
                assert_eq!(part.dims(), value.dims());
                assert_eq!(flat(&part), flat(value));
                squares += flat(value).iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
            }
            let sum = square_sum(&joined).unwrap().to_scalar::<f64>().unwrap();
            assert!((sum / squares - 1.0).abs() < 1e-12, "{sum} {squares}");
        }
        assert!(join([]).is_err());
    }
}
