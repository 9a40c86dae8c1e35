//! The launch program: a small register machine, as data.
//!
//! Registers are 64-bit words holding an i64, an f64 or a bool (0 or 1); the compiler knows which. The first registers hold the values of the
//! function's symbols. Buffers hold tensors; control values live on the host, and loading one from a device buffer ends a segment.

use super::{expr::Expr, manifest::ElementType};
use serde::{Deserialize, Serialize};

/// Register number.
pub type Register = u32;
/// Index into `Program::buffers`.
pub type BufferId = u32;
/// Index into `Program::code`.
pub type Target = u32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Program {
    pub registers: u32,
    pub buffers: Vec<Buffer>,
    /// Bytes of the arena, over the function's symbols.
    pub arena: Expr,
    pub code: Vec<Instruction>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Buffer {
    /// Type of the elements as stored; differs from the port's type where a target stores another one (bool as i32 on Vulkan).
    pub storage: ElementType,
    /// Extents over the function's symbols.
    pub dims: Vec<Expr>,
    /// Extents that strides follow; the same as `dims` unless the tensor can grow in place.
    pub capacities: Vec<Expr>,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Place {
    Input(u32),
    Output(u32),
    /// Byte offset, over the function's symbols, in state number `state`: whole rows of its leading axes.
    State {
        state: u32,
        offset: Expr,
    },
    /// Where the next value of a state that does not grow in place is made.
    NextState(u32),
    /// Index into `Manifest::constants`.
    Constant(u32),
    /// Byte offset in the arena, over the function's symbols; a multiple of 64 (CPU) or 256 (Vulkan).
    Arena(Expr),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Instruction {
    ConstInt {
        dst: Register,
        value: i64,
    },
    ConstFloat {
        dst: Register,
        value: f64,
    },
    ConstBool {
        dst: Register,
        value: bool,
    },
    Move {
        dst: Register,
        src: Register,
    },
    /// Integer arithmetic wraps; division by zero is a run-time error.
    Int {
        op: IntOp,
        dst: Register,
        lhs: Register,
        rhs: Register,
    },
    Float {
        op: FloatOp,
        dst: Register,
        lhs: Register,
        rhs: Register,
    },
    Bool {
        op: BoolOp,
        dst: Register,
        lhs: Register,
        rhs: Register,
    },
    Not {
        dst: Register,
        src: Register,
    },
    CompareInt {
        predicate: Predicate,
        dst: Register,
        lhs: Register,
        rhs: Register,
    },
    CompareFloat {
        predicate: Predicate,
        dst: Register,
        lhs: Register,
        rhs: Register,
    },
    Select {
        dst: Register,
        condition: Register,
        on_true: Register,
        on_false: Register,
    },
    IntToFloat {
        dst: Register,
        src: Register,
    },
    /// Truncates toward zero, saturating.
    FloatToInt {
        dst: Register,
        src: Register,
    },
    /// Reads element number `index` of a buffer: integers and bool into i64/bool, floats into f64. Ends a segment.
    Load {
        dst: Register,
        buffer: BufferId,
        index: Register,
    },
    /// Writes a register to element number `index` of a buffer: i64 into integers (their low bits), bool into bool, f64 into f32 and f64.
    Store {
        src: Register,
        buffer: BufferId,
        index: Register,
    },
    /// Runs `Variant::dispatches[dispatch]`.
    Dispatch {
        dispatch: u32,
        buffers: Vec<BufferId>,
        dims: Vec<Register>,
        scalars: Vec<Register>,
    },
    /// Copies `bytes` (the whole source when absent) between buffers; offsets are byte registers, 0 when absent.
    Copy {
        src: BufferId,
        src_offset: Option<Register>,
        dst: BufferId,
        dst_offset: Option<Register>,
        bytes: Option<Register>,
    },
    /// Orders everything before against everything after, on any device.
    Barrier,
    Jump {
        target: Target,
    },
    Branch {
        condition: Register,
        on_true: Target,
        on_false: Target,
    },
    /// Counts `counter` from 0 to `trip` (exclusive); goes to `exit` (just after the matching EndLoop) when done.
    Loop {
        counter: Register,
        trip: Register,
        exit: Target,
    },
    /// Increments the counter of the Loop at `start` and goes back to it.
    EndLoop {
        start: Target,
    },
    /// Runs another function's program: its inputs and outputs are bound to buffers of this one, its arena stands at `arena` inside this one's.
    Call {
        function: u32,
        symbols: Vec<Register>,
        inputs: Vec<BufferId>,
        outputs: Vec<BufferId>,
        arena: Expr,
    },
    /// Runs a kernel that the host has registered: an index into `Variant::externs`.
    CallExtern {
        external: u32,
        buffers: Vec<BufferId>,
        dims: Vec<Register>,
        scalars: Vec<Register>,
    },
    /// Gives a symbol that is found while running the value of a register. The run stops, naming `what`, unless `lower <= value <= upper`,
    /// which are over the function's symbols that have values by now, and the value is within the symbol's own bound.
    SetSymbol {
        symbol: u32,
        value: Register,
        lower: Expr,
        upper: Expr,
        what: String,
    },
    /// Stops the run with this message.
    Fail {
        message: String,
    },
    Return,
    /// Stops the run with this message and both values unless `lhs` and `rhs`, over the function's symbols, are related so.
    Check {
        predicate: Predicate,
        lhs: Expr,
        rhs: Expr,
        message: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum IntOp {
    Add,
    Sub,
    Mul,
    FloorDiv,
    CeilDiv,
    Mod,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FloatOp {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BoolOp {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Predicate {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}
