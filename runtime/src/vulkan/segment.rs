//! Resolved commands between two host reads -> a flat sequence of words, which is at once the key of the recording and its description.
//! Holds byte offsets, dims and scalars, but no handles: equal words mean the same work as long as the buffers stay where they are.

/// Which buffer a slice lies in. Constant blocks follow the last of the fixed ones, and behind them are the buffers of states that a session has seen.
pub(super) mod place {
    pub const ARENA: u32 = 0;
    pub const INPUTS: u32 = 1;
    pub const OUTPUTS: u32 = 2;
    /// Host memory on the way to the inputs and from the outputs.
    pub const STAGING: u32 = 3;
    /// Host memory for reads and host calls in the middle of a run.
    pub const BOUNCE: u32 = 4;
    pub const CONSTANTS: u32 = 5;
    pub const STATES: u32 = 1 << 23;

    /// Whether kernels and copies may write there.
    pub const fn writable(place: u32) -> bool {
        matches!(place, ARENA | OUTPUTS | STATES..)
    }
}

/// Bytes of one of the buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Slice {
    pub place: u32,
    pub offset: u64,
    pub bytes: u64,
}

/// Offsets take the low bits of the word that they share with the place.
const OFFSET_BITS: u32 = 40;

impl Slice {
    fn encode(self) -> [u64; 2] {
        // Devices address far less than 2^40 bytes, and a program has fewer than 2^23 constant blocks.
        [u64::from(self.place) << OFFSET_BITS | self.offset, self.bytes]
    }

    fn decode(words: &[u64]) -> Self {
        Self { place: (words[0] >> OFFSET_BITS) as u32, offset: words[0] & ((1 << OFFSET_BITS) - 1), bytes: words[1] }
    }
}

/// A command as it is read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    Dispatch(DispatchWords<'a>),
    Copy {
        src: Slice,
        dst: Slice,
    },
    /// The first `dst.bytes` bytes of a word.
    Write {
        dst: Slice,
        value: u64,
    },
}

/// A dispatch inside a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DispatchWords<'a> {
    pub dispatch: u32,
    pub kernel: u32,
    pub grid: u32,
    /// Two words per buffer: also a key for equal bindings.
    pub bindings: &'a [u64],
    dims: &'a [u64],
    scalars: &'a [u64],
}

impl<'a> DispatchWords<'a> {
    pub fn slices(&self) -> impl Iterator<Item = Slice> + use<'a> {
        self.bindings.chunks_exact(2).map(Slice::decode)
    }

    pub fn dims(&self) -> impl Iterator<Item = i64> + use<'a> {
        self.dims.iter().map(|dim| dim.cast_signed())
    }

    pub fn scalars(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.scalars.iter().copied()
    }
}

const COPY: u64 = u64::MAX;
const WRITE: u64 = u64::MAX - 1;

/// Commands in program order.
#[derive(Debug, Default)]
pub(super) struct Segment {
    words: Vec<u64>,
    commands: usize,
}

impl Segment {
    pub fn clear(&mut self) {
        self.words.clear();
        self.commands = 0;
    }

    pub fn words(&self) -> &[u64] {
        &self.words
    }

    pub fn commands(&self) -> usize {
        self.commands
    }

    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    pub fn push_dispatch(
        &mut self,
        dispatch: u32,
        kernel: u32,
        grid: u32,
        slices: impl Iterator<Item = Slice>,
        dims: &[i64],
        scalars: &[u64],
    ) {
        // Header: dispatch and kernel, grid and number of dims, number of scalars and of binding words (patched below).
        let at = self.words.len();
        self.words.extend([u64::from(dispatch) << 32 | u64::from(kernel), u64::from(grid) << 32 | dims.len() as u64, 0]);
        slices.for_each(|slice| self.words.extend(slice.encode()));
        self.words[at + 2] = (scalars.len() as u64) << 32 | (self.words.len() - at - 3) as u64;
        self.words.extend(dims.iter().map(|dim| dim.cast_unsigned()));
        self.words.extend_from_slice(scalars);
        self.commands += 1;
    }

    pub fn push_copy(&mut self, src: Slice, dst: Slice) {
        self.words.push(COPY);
        self.words.extend(src.encode());
        self.words.extend(dst.encode());
        self.commands += 1;
    }

    pub fn push_write(&mut self, dst: Slice, value: u64) {
        self.words.push(WRITE);
        self.words.extend(dst.encode());
        self.words.push(value);
        self.commands += 1;
    }
}

/// The commands that `words` were made of.
pub(super) fn commands(words: &[u64]) -> impl Iterator<Item = Command<'_>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        match *rest.first()? {
            COPY => {
                let (copy, after) = rest.split_at(5);
                rest = after;
                return Some(Command::Copy { src: Slice::decode(&copy[1..]), dst: Slice::decode(&copy[3..]) });
            }
            WRITE => {
                let (write, after) = rest.split_at(4);
                rest = after;
                return Some(Command::Write { dst: Slice::decode(&write[1..]), value: write[3] });
            }
            _ => {}
        }
        let (head, body) = rest.split_at(3);
        let low = |word: u64| (word & 0xffff_ffff) as usize;
        let (bindings, body) = body.split_at(low(head[2]));
        let (dims, body) = body.split_at(low(head[1]));
        let (scalars, after) = body.split_at((head[2] >> 32) as usize);
        rest = after;
        let (dispatch, kernel, grid) = ((head[0] >> 32) as u32, low(head[0]) as u32, (head[1] >> 32) as u32);
        Some(Command::Dispatch(DispatchWords { dispatch, kernel, grid, bindings, dims, scalars }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let (a, b) = (
            Slice { place: place::ARENA, offset: 256, bytes: 40 },
            Slice { place: place::CONSTANTS + 1, offset: (1 << 40) - 256, bytes: 7 },
        );
        let mut segment = Segment::default();
        segment.push_dispatch(3, 2, u32::MAX, [a, b].into_iter(), &[-1, 5], &[9]);
        segment.push_copy(b, a);
        segment.push_dispatch(0, 0, 1, [].into_iter(), &[], &[]);
        segment.push_write(Slice { bytes: 8, ..a }, 11);
        assert_eq!(segment.commands(), 4);
        let all: Vec<_> = commands(segment.words()).collect();
        let Command::Dispatch(first) = all[0] else { panic!("{all:?}") };
        assert_eq!((first.dispatch, first.kernel, first.grid), (3, 2, u32::MAX));
        assert_eq!(first.slices().collect::<Vec<_>>(), [a, b]);
        assert_eq!(first.dims().collect::<Vec<_>>(), [-1, 5]);
        assert_eq!(first.scalars().collect::<Vec<_>>(), [9]);
        assert_eq!(all[1], Command::Copy { src: b, dst: a });
        assert!(matches!(all[2], Command::Dispatch(d) if d.bindings.is_empty() && d.grid == 1));
        assert_eq!(all[3], Command::Write { dst: Slice { bytes: 8, ..a }, value: 11 });
        assert_eq!(all.len(), 4);
    }
}
