//! What commands read and write -> where a barrier is needed: exactly where a byte range would be read or written after a write, or written
//! after a read, since the last barrier.

/// Bytes of a buffer; `place` tells buffers apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub place: u32,
    pub start: u64,
    pub end: u64,
}

impl Span {
    fn overlaps(&self, other: &Self) -> bool {
        self.place == other.place && self.start < other.end && other.start < self.end
    }
}

/// Accesses since the last barrier.
#[derive(Debug, Default)]
pub(super) struct Hazards {
    reads: Vec<Span>,
    writes: Vec<Span>,
}

impl Hazards {
    /// Notes a command; true if it must be separated by a barrier from what came before, all of which the barrier then covers.
    pub fn add(&mut self, reads: &[Span], writes: &[Span]) -> bool {
        let hit = |new: &[Span], old: &[Span]| new.iter().any(|new| old.iter().any(|old| new.overlaps(old)));
        let conflict = hit(reads, &self.writes) || hit(writes, &self.writes) || hit(writes, &self.reads);
        if conflict {
            self.clear();
        }
        self.reads.extend_from_slice(reads);
        self.writes.extend_from_slice(writes);
        conflict
    }

    /// A barrier was placed.
    pub fn clear(&mut self) {
        self.reads.clear();
        self.writes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span { place: 0, start, end }
    }

    #[test]
    fn only_hazards_need_a_barrier() {
        let mut hazards = Hazards::default();
        assert!(!hazards.add(&[span(0, 4)], &[span(4, 8)]));
        assert!(!hazards.add(&[span(0, 4)], &[span(8, 12)]), "reading what was read");
        assert!(!hazards.add(&[span(12, 16)], &[span(16, 20)]), "neighbours do not touch");
        assert!(hazards.add(&[span(4, 5)], &[span(20, 24)]), "read after write");
        assert!(!hazards.add(&[], &[span(8, 12)]), "the barrier covered all before it");
        assert!(hazards.add(&[], &[span(4, 6)]), "write after read");
        assert!(hazards.add(&[], &[span(0, 5)]), "write after write");
        let elsewhere = Span { place: 1, ..span(0, 5) };
        assert!(!hazards.add(&[elsewhere], &[elsewhere]), "another buffer; in place");
    }
}
