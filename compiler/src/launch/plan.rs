//! Buffers with sizes and lifetimes -> byte offsets in one arena.
//!
//! Sizes are `coefficient * primitive`: buffers with the same primitive (for most models: the batch size, or 1) are packed together, best fit
//! by decreasing size over the positions where they live; each primitive gets its own part of the arena, one after the other. So every offset is
//! known before the dims are, and two buffers that live at the same time never share a byte whatever the dims become. An image and its halves have one
//! primitive: sizes are rounded up to the smallest half there is.

use std::collections::BTreeMap;
use winze_graph::dim::Dim;

/// A buffer to place. It lives from position `first` to `last`, both included.
#[derive(Clone, Debug)]
pub struct Lifetime {
    pub bytes: Dim,
    pub first: usize,
    pub last: usize,
}

/// Where everything stands: one offset per buffer, and the size of the arena.
#[derive(Debug)]
pub struct Plan {
    pub offsets: Vec<Dim>,
    pub arena: Dim,
}

/// A buffer of a size class: `coefficient` primitives long, at `start` primitives from the start of its class.
struct Placed {
    buffer: usize,
    start: i64,
    coefficient: i64,
}

/// Plans buffers whose offsets must be multiples of `align` bytes for any value of the symbols.
pub fn plan(buffers: &[Lifetime], align: i64) -> Plan {
    let mut classes: BTreeMap<Dim, Vec<(usize, i64)>> = BTreeMap::new();
    let sizes: Vec<Dim> = buffers.iter().map(|buffer| buffer.bytes.clone()).collect();
    for (i, bytes) in Dim::over_common_factors(&sizes).iter().enumerate() {
        let (coefficient, primitive) = bytes.factor();
        classes.entry(primitive).or_default().push((i, (coefficient + align - 1) / align * align));
    }
    let mut offsets = vec![Dim::from(0); buffers.len()];
    let mut arena = Dim::from(0);
    for (primitive, mut members) in classes {
        // Largest first; ties in program order, so that plans are deterministic.
        members.sort_by_key(|&(i, coefficient)| (std::cmp::Reverse(coefficient), i));
        let mut placed: Vec<Placed> = vec![];
        let mut height = 0;
        for (buffer, coefficient) in members {
            let start = best_fit(&placed, buffers, buffer, coefficient);
            placed.push(Placed { buffer, start, coefficient });
            height = height.max(start + coefficient);
            offsets[buffer] = &arena + &(&primitive * &Dim::from(start));
        }
        arena = &arena + &(&primitive * &Dim::from(height));
    }
    Plan { offsets, arena }
}

/// Start of the smallest gap of at least `coefficient` among the placed buffers that live together with `buffer`.
fn best_fit(placed: &[Placed], buffers: &[Lifetime], buffer: usize, coefficient: i64) -> i64 {
    let overlaps = |other: usize| buffers[buffer].first <= buffers[other].last && buffers[other].first <= buffers[buffer].last;
    let mut taken: Vec<(i64, i64)> = placed.iter().filter(|p| overlaps(p.buffer)).map(|p| (p.start, p.start + p.coefficient)).collect();
    taken.sort_unstable();
    let mut best: Option<(i64, i64)> = None;
    let mut end = 0;
    for (start, stop) in taken {
        let gap = start - end;
        if gap >= coefficient && best.is_none_or(|(smallest, _)| gap < smallest) {
            best = Some((gap, end));
        }
        end = end.max(stop);
    }
    best.map_or(end, |(_, start)| start)
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
        assert_eq!(plan(&chain, 64).arena, &batch * &Dim::from(2048));
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

    proptest! {
        #[test]
        fn buffers_alive_together_never_overlap(
            raw in proptest::collection::vec((1i64..5000, 0u32..5, 0usize..30, 0usize..10), 1..60),
            symbols in proptest::collection::vec(0i64..7, 2),
        ) {
            let half = |dim: Dim| dim.ceil_div(&Dim::from(2));
            let class = |which| match which {
                0 => Dim::from(1),
                1 | 2 => Dim::symbol(which - 1),
                3 => half(Dim::symbol(0)),
                _ => half(half(Dim::symbol(0))),
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
