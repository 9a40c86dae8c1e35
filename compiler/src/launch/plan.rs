//! Buffers with sizes and lifetimes -> byte offsets in one arena.
//!
//! For some values of the symbols buffers are packed as numbers: best fit by decreasing size over the positions where they live. What stands below what then
//! is the plan: whatever the dims become, a buffer starts where those end that live together with it and stand below it. The larger of two ends has
//! the larger coefficient of each product of symbols, so offsets are polynomials that are known before any dim is, and two buffers that live at the
//! same time never share a byte. Of the plans for several values the one is taken that is the smallest for all of them together.

use winze_graph::dim::Dim;

/// Values of all symbols for which plans are made.
const SAMPLES: [i64; 3] = [1, 16, 256];

/// A buffer to place. It lives from position `first` to `last`, both included.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub bytes: Dim,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where everything stands: one offset per buffer, and the size of the arena.
#[derive(Debug)]
pub struct Plan {
    pub offsets: Vec<Dim>,
    pub arena: Dim,
}

/// Plans buffers whose offsets must be multiples of `align` bytes for any value of the symbols.
pub fn plan(buffers: &[Lifetime], align: i64) -> Plan {
    let sizes: Vec<Dim> = buffers.iter().map(|buffer| buffer.bytes.clone()).collect();
    let sizes = Dim::over_common_factors(&sizes);
    let symbols = sizes.iter().map(Dim::symbol_count).max().unwrap_or(0) as usize;
    let value = |dim: &Dim, sample: i64| dim.eval(&vec![sample; symbols]).unwrap_or(i64::MAX).max(0);
    // Without symbols all samples are the same.
    let samples = if symbols == 0 { &SAMPLES[..1] } else { &SAMPLES[..] };
    let plans = samples.iter().map(|sample| {
        let known: Vec<i64> = sizes.iter().map(|size| value(size, *sample)).collect();
        stack(buffers, &sizes, &order(buffers, &known), align)
    });
    // The product over all samples.
    let cost = |plan: &Plan| samples.iter().map(|sample| (value(&plan.arena, *sample).max(1) as f64).ln()).sum::<f64>();
    plans.min_by(|a, b| cost(a).total_cmp(&cost(b))).expect("there is a sample")
}

/// The buffers from the bottom to the top of an arena in which their `sizes` are packed.
fn order(buffers: &[Lifetime], sizes: &[i64]) -> Vec<usize> {
    let mut largest_first: Vec<usize> = (0..buffers.len()).collect();
    // Ties in program order, so that plans are deterministic.
    largest_first.sort_by_key(|&buffer| (std::cmp::Reverse(sizes[buffer]), buffer));
    let mut placed: Vec<(i64, usize)> = vec![];
    for buffer in largest_first {
        let taken = placed.iter().filter(|(_, other)| buffers[buffer].overlaps(&buffers[*other]));
        let start = best_fit(taken.map(|(start, other)| (*start, start.saturating_add(sizes[*other]))).collect(), sizes[buffer]);
        placed.push((start, buffer));
    }
    placed.sort_by_key(|(start, _)| *start);
    placed.into_iter().map(|(_, buffer)| buffer).collect()
}

/// Start of the smallest gap of at least `size` between ranges, or the end of all.
fn best_fit(mut taken: Vec<(i64, i64)>, size: i64) -> i64 {
    taken.sort_unstable();
    let mut best: Option<(i64, i64)> = None;
    let mut end = 0;
    for (start, stop) in taken {
        let gap = start - end;
        if gap >= size && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, start)| start)
}

/// Puts each buffer, in this order, where those end that live together with it and were put before.
fn stack(buffers: &[Lifetime], sizes: &[Dim], order: &[usize], align: i64) -> Plan {
    let mut starts = vec![Dim::from(0); buffers.len()];
    let mut ends: Vec<Dim> = vec![];
    let top = |ends: &mut dyn Iterator<Item = &Dim>| match ends.next() {
        Some(first) => ends.fold(first.clone(), |top, end| top.join(end)),
        None => Dim::from(0),
    };
    for (i, &buffer) in order.iter().enumerate() {
        let below = order[..i].iter().zip(&ends).filter(|(other, _)| buffers[buffer].overlaps(&buffers[**other]));
        let start = top(&mut below.map(|(_, end)| end));
        // Starts are aligned at the end, which moves them by less than `align`.
        let gap = if start.is_multiple_of(align) { 0 } else { align - 1 };
        ends.push(&(&start + &sizes[buffer]) + &Dim::from(gap));
        starts[buffer] = start;
    }
    let aligned = |start: &Dim| {
        if start.is_multiple_of(align) { start.clone() } else { &start.ceil_div(&Dim::from(align)) * &Dim::from(align) }
    };
    Plan { offsets: starts.iter().map(aligned).collect(), arena: aligned(&top(&mut ends.iter())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lifetime(bytes: Dim, first: usize, last: usize) -> Lifetime {
        Lifetime { bytes, first, last }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let batch = Dim::symbol(0);
        let chain: Vec<Lifetime> = (0..10).map(|i| lifetime(&batch * &Dim::from(1000), i, i + 1)).collect();
        // Twice the 33,000 bytes, with less than 64 for the start of the second, rounded up.
        assert_eq!(plan(&chain, 64).arena.eval(&[33]), Some(66_112));
    }

    #[test]
    fn an_image_and_its_halves_share_their_place() {
        let image = Dim::symbol(0);
        let half = image.ceil_div(&Dim::from(2));
        let quarter = half.ceil_div(&Dim::from(2));
        let sizes = [&image * &Dim::from(64), &half * &Dim::from(128), &quarter * &Dim::from(256), &image * &Dim::from(64)];
        let chain: Vec<Lifetime> = sizes.into_iter().enumerate().map(|(i, bytes)| lifetime(bytes, i, i + 1)).collect();
        assert_eq!(plan(&chain, 64).arena, &quarter * &Dim::from(512));
    }

    #[test]
    fn an_image_and_its_padding_share_their_place() {
        let (image, pad) = (Dim::symbol(0), Dim::from(2));
        let padded = &(&image + &pad) * &(&image + &pad);
        let plain = &image * &image;
        let chain: Vec<Lifetime> =
            (0..10).map(|i| lifetime(&(if i % 2 == 0 { &plain } else { &padded }).clone() * &Dim::from(64), i, i + 1)).collect();
        assert_eq!(plan(&chain, 64).arena, &(&plain + &padded) * &Dim::from(64));
    }

    #[test]
    fn pooled_rows_that_leave_a_rest_share_their_place() {
        let rows = Dim::symbol(0);
        let pooled = rows.floor_div(&Dim::from(2));
        let sizes = [&rows * &Dim::from(64), &pooled * &Dim::from(128), &rows * &Dim::from(64), &pooled * &Dim::from(128)];
        let chain: Vec<Lifetime> = sizes.into_iter().enumerate().map(|(i, bytes)| lifetime(bytes, i, i + 1)).collect();
        assert_eq!(plan(&chain, 64).arena, &(&pooled * &Dim::from(256)) + &Dim::from(64));
    }

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(
            raw in proptest::collection::vec((1i64..5000, 0u32..9, 0usize..30, 0usize..10), 1..60),
            symbols in proptest::collection::vec(0i64..7, 2),
        ) {
            let half = |dim: Dim| dim.ceil_div(&Dim::from(2));
            let class = |which| match which {
                0 => Dim::from(1),
                1 | 2 => Dim::symbol(which - 1),
                3 => half(Dim::symbol(0)),
                4 => half(half(Dim::symbol(0))),
                5 => half(Dim::symbol(0)).floor_div(&Dim::from(2)),
                6 => &(&Dim::symbol(0) + &Dim::from(2)) * &(&Dim::symbol(1) + &Dim::from(2)),
                7 => &(&Dim::symbol(0) - &Dim::from(2)) * &(&Dim::symbol(0) - &Dim::from(2)),
                // Two less at first, not below 0.
                _ => &(&Dim::symbol(1) - &Dim::from(5)).floor_div(&Dim::from(3)) + &Dim::from(2),
            };
            let buffers: Vec<Lifetime> = raw
                .iter()
                .map(|&(bytes, which, first, length)| lifetime(&class(which) * &Dim::from(bytes), first, first + length))
                .collect();
            let plan = plan(&buffers, 64);
            let value = |dim: &Dim| dim.eval(&symbols).unwrap();
            for (i, a) in buffers.iter().enumerate() {
                let start = value(&plan.offsets[i]);
                prop_assert_eq!(start % 64, 0);
                prop_assert!(start + value(&a.bytes) <= value(&plan.arena));
                for (j, b) in buffers.iter().enumerate().skip(i + 1) {
                    if a.first <= b.last && b.first <= a.last {
                        let (s, t) = (start, value(&plan.offsets[j]));
                        prop_assert!(s + value(&a.bytes) <= t || t + value(&b.bytes) <= s);
                    }
                }
            }
        }
    }
}
