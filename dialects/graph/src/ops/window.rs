//! Sliding windows, as graph.conv and graph.reduce_window have them: extents, and input positions of taps.

use crate::{
    dim::Dim,
    lower::{ScalarBuilder, Val},
};
use winze_mlir::melior::ir::AffineExpr;

/// A window along one axis.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub size: i64,
    pub stride: i64,
    pub low: i64,
    pub high: i64,
    /// Distance of neighbouring input elements.
    pub input_dilation: i64,
    /// Distance of neighbouring taps.
    pub dilation: i64,
}

impl Window {
    pub fn check(&self, axis: usize) -> Result<(), String> {
        match () {
            _ if self.size < 1 => Err(format!("window {} along axis {axis} is empty; sizes are at least 1", self.size)),
            _ if self.stride < 1 => Err(format!("stride {} along axis {axis}; strides are at least 1", self.stride)),
            _ if self.input_dilation < 1 || self.dilation < 1 => {
                Err(format!("dilation below 1 along axis {axis}; dilations are at least 1"))
            }
            _ => Ok(()),
        }
    }

    /// Number of window positions: floor((spread + low + high - span) / stride) + 1. A window that is longer than its axis with padding is an error, but
    /// an axis without elements and padding has no positions.
    pub fn extent(&self, input: &Dim, axis: usize) -> Result<Dim, String> {
        self.check(axis)?;
        let spread = match input.as_static() {
            Some(0) => Dim::from(0),
            _ => &(&(input - &Dim::from(1)) * &Dim::from(self.input_dilation)) + &Dim::from(1),
        };
        let span = (self.size - 1) * self.dilation + 1;
        let padded = &spread + &Dim::from(self.low + self.high);
        let extent = &(&padded - &Dim::from(span)).floor_div(&Dim::from(self.stride)) + &Dim::from(1);
        match padded.as_static() {
            Some(0) => Ok(Dim::from(0)),
            Some(padded) if padded < span => Err(format!(
                "a window spanning {span} does not fit axis {axis} of extent {input} with padding {} and {}",
                self.low, self.high
            )),
            _ => Ok(extent),
        }
    }

    /// Input index of a tap, if it is on an element of an axis of `extent` elements.
    pub fn tap(&self, position: usize, tap: usize, extent: usize) -> Option<usize> {
        let at = position as i64 * self.stride + tap as i64 * self.dilation - self.low;
        (at >= 0 && at % self.input_dilation == 0 && at / self.input_dilation < extent as i64)
            .then_some((at / self.input_dilation) as usize)
    }

    /// True if every tap is on an element, so that positions are affine.
    pub fn is_dense(&self) -> bool {
        self.low == 0 && self.high <= 0 && self.input_dilation == 1
    }

    /// Input index of a tap of a dense window.
    pub fn affine<'c>(
        &self,
        position: AffineExpr<'c>,
        tap: Option<AffineExpr<'c>>,
        constant: impl Fn(i64) -> AffineExpr<'c>,
    ) -> AffineExpr<'c> {
        let start = position * constant(self.stride);
        tap.map_or(start, |tap| start + tap * constant(self.dilation))
    }

    /// Input index of a tap and whether it is on an element of an axis of `extent` elements.
    pub fn lower_tap<'c>(
        &self,
        b: &ScalarBuilder<'c>,
        position: Val<'c>,
        tap: Option<Val<'c>>,
        extent: Val<'c>,
    ) -> (Val<'c>, Option<Val<'c>>) {
        let scaled = |value: Val<'c>, by: i64| if by == 1 { value } else { b.same("arith.muli", &[value, b.index(by)]) };
        let mut at = scaled(position, self.stride);
        if let Some(tap) = tap {
            at = b.same("arith.addi", &[at, scaled(tap, self.dilation)]);
        }
        if self.is_dense() {
            return (at, None);
        }
        if self.low != 0 {
            at = b.same("arith.subi", &[at, b.index(self.low)]);
        }
        let mut inside = b.cmpi("sge", at, b.index(0));
        if self.input_dilation > 1 {
            let step = b.index(self.input_dilation);
            let on_element = b.cmpi("eq", b.same("arith.remsi", &[at, step]), b.index(0));
            inside = b.same("arith.andi", &[inside, on_element]);
            at = b.same("arith.divsi", &[at, step]);
        }
        (at, Some(b.same("arith.andi", &[inside, b.cmpi("slt", at, extent)])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_follow_the_formula() {
        let window = Window { size: 3, stride: 2, low: 1, high: 1, input_dilation: 1, dilation: 1 };
        assert_eq!(window.extent(&Dim::from(224), 0), Ok(Dim::from(112)));
        let s = Dim::symbol(0);
        assert_eq!(window.extent(&s, 0), Ok(&(&s - &Dim::from(1)).floor_div(&Dim::from(2)) + &Dim::from(1)));
        let transposed = Window { size: 4, stride: 1, low: 2, high: 2, input_dilation: 2, dilation: 1 };
        assert_eq!(transposed.extent(&Dim::from(8), 0), Ok(Dim::from(16)));
        let long = Window { size: 9, stride: 9, low: 0, high: 0, input_dilation: 1, dilation: 1 };
        assert!(long.extent(&Dim::from(8), 0).is_err());
        assert_eq!(long.extent(&Dim::from(0), 0), Ok(Dim::from(0)));
        assert!(Window { size: 9, stride: 1, low: 0, high: 0, input_dilation: 1, dilation: 1 }.extent(&Dim::from(3), 0).is_err());
    }
}
