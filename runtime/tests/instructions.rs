//! Every instruction of the launch program, run on the CPU: what it computes and how it fails.

mod fixture;

use fixture::*;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use winze_runtime::{
    artifact::{
        expr::{Expr, ExprOp},
        manifest::{Access, ElementType, Function, Port, Symbol},
        program::{BoolOp, Buffer, FloatOp, Instruction, Instruction::*, IntOp, Place, Predicate, Program as LaunchProgram},
    },
    device::DeviceChoice,
    error::Error,
    session::{Session, SessionOptions},
    tensor::TensorView,
};

const REGISTERS: u32 = 16;

/// A function over i64 input `x` and output `y` of 8 elements each (buffers 0 and 1), with more buffers and any code.
struct Case {
    model: Model,
    buffers: Vec<Buffer>,
    arena: i64,
    options: SessionOptions,
}

impl Case {
    fn new() -> Self {
        let i64s = |place| buffer(ElementType::I64, &[c(8)], place);
        let options = SessionOptions { threads: Some(1), ..Default::default() };
        Self { model: Model::new(), buffers: vec![i64s(Place::Input(0)), i64s(Place::Output(0))], arena: 0, options }
    }

    fn function(name: &str) -> Function {
        let ports = |port_name: &str| -> Vec<Port> { vec![port(port_name, ElementType::I64, &[c(8)])] };
        Function { name: name.into(), symbols: vec![], inputs: ports("x"), outputs: ports("y"), ..Function::default() }
    }

    fn program(&self, code: Vec<Instruction>) -> LaunchProgram {
        LaunchProgram { registers: REGISTERS, buffers: self.buffers.clone(), arena: c(self.arena), code }
    }

    fn session(&mut self, code: Vec<Instruction>) -> Session {
        let program = self.program(code);
        self.model.manifest.functions.insert(0, Self::function("main"));
        self.model.variant().programs.insert(0, program);
        let program = self.model.artifact().open();
        Session::new(&program, &DeviceChoice::Cpu, self.options.clone()).unwrap()
    }

    fn run(&mut self, code: Vec<Instruction>, x: [i64; 8]) -> Result<Vec<i64>, Error> {
        let mut session = self.session(code);
        let outputs = session.run(&[TensorView::of(&[8], &x)])?;
        Ok(outputs.get(0).unwrap().as_slice::<i64>().unwrap().to_vec())
    }

    fn fails(&mut self, code: Vec<Instruction>) -> String {
        self.run(code, [0; 8]).unwrap_err().to_string()
    }
}

/// Code that computes something from constants, then stores register `result` into `y[0]` with the kernel `add_scalar`.
fn store(case: &mut Case, mut code: Vec<Instruction>, result: u32) -> Vec<Instruction> {
    let dispatch = case.model.kernel("add_scalar", &[Access::ReadWrite], 0, c(1), c(0));
    code.insert(0, Copy { src: 0, src_offset: None, dst: 1, dst_offset: None, bytes: None });
    code.push(Dispatch { dispatch, buffers: vec![1], dims: vec![], scalars: vec![result] });
    code.push(Return);
    code
}

/// Runs `code` and returns register `result`.
fn value(code: Vec<Instruction>, result: u32) -> i64 {
    let mut case = Case::new();
    let code = store(&mut case, code, result);
    case.run(code, [0; 8]).unwrap()[0]
}

fn int(dst: u32, value: i64) -> Instruction {
    ConstInt { dst, value }
}

fn float(dst: u32, value: f64) -> Instruction {
    ConstFloat { dst, value }
}

#[test]
fn constants_and_moves() {
    assert_eq!(value(vec![int(3, -7)], 3), -7);
    assert_eq!(value(vec![float(3, 1.5)], 3), 1.5f64.to_bits() as i64);
    assert_eq!(value(vec![ConstBool { dst: 3, value: true }], 3), 1);
    assert_eq!(value(vec![int(3, 9), Move { dst: 4, src: 3 }, int(3, 0)], 4), 9);
}

#[test]
fn arithmetic_reaches_the_registers() {
    assert_eq!(value(vec![int(0, -7), int(1, 2), Int { op: IntOp::FloorDiv, dst: 2, lhs: 0, rhs: 1 }], 2), -4);
    assert_eq!(value(vec![float(0, 1.5), float(1, 2.0), Float { op: FloatOp::Mul, dst: 2, lhs: 0, rhs: 1 }], 2), 3f64.to_bits() as i64);
    let bools = |op| value(vec![int(0, 1), int(1, 0), Bool { op, dst: 2, lhs: 0, rhs: 1 }], 2);
    assert_eq!([BoolOp::And, BoolOp::Or, BoolOp::Xor].map(bools), [0, 1, 1]);
    assert_eq!([0, 1].map(|b| value(vec![int(0, b), Not { dst: 1, src: 0 }], 1)), [1, 0]);
}

#[test]
fn comparisons_selections_conversions() {
    let compare = |predicate| value(vec![int(0, -1), int(1, 1), CompareInt { predicate, dst: 2, lhs: 0, rhs: 1 }], 2);
    assert_eq!([Predicate::Lt, Predicate::Ge].map(compare), [1, 0]);
    let compare = |predicate| value(vec![float(0, f64::NAN), float(1, 1.0), CompareFloat { predicate, dst: 2, lhs: 0, rhs: 1 }], 2);
    assert_eq!([Predicate::Lt, Predicate::Ne].map(compare), [0, 1]);
    let select = |on| value(vec![int(0, on), int(1, 10), int(2, 20), Select { dst: 3, condition: 0, on_true: 1, on_false: 2 }], 3);
    assert_eq!([1, 0].map(select), [10, 20]);
    assert_eq!(value(vec![int(0, -3), IntToFloat { dst: 1, src: 0 }], 1), (-3f64).to_bits() as i64);
    let convert = |from| value(vec![float(0, from), FloatToInt { dst: 1, src: 0 }], 1);
    assert_eq!([-2.9, 1e300, f64::NAN].map(convert), [-2, i64::MAX, 0]);
}

#[test]
fn loads_every_stored_type() {
    use ElementType::*;
    let half_one = 0x3c00u16.to_le_bytes();
    let cases: [(ElementType, Vec<u8>, i64); 13] = [
        (Bool, vec![0, 1], 1),
        (I8, vec![0, 0xff], -1),
        (I16, vec![0, 0, 0xfe, 0xff], -2),
        (I32, [0i32, -3].map(i32::to_le_bytes).concat(), -3),
        (I64, [0i64, -4].map(i64::to_le_bytes).concat(), -4),
        (U8, vec![0, 0xff], 255),
        (U16, vec![0, 0, 0xff, 0xff], 65535),
        (U32, [0, u32::MAX].map(u32::to_le_bytes).concat(), u32::MAX.into()),
        (U64, [0, u64::MAX].map(u64::to_le_bytes).concat(), -1),
        (F16, [[0, 0], half_one].concat(), 1f64.to_bits() as i64),
        (BF16, vec![0, 0, 0x80, 0x3f], 1f64.to_bits() as i64),
        (F32, [0f32, 0.5].map(f32::to_le_bytes).concat(), 0.5f64.to_bits() as i64),
        (F64, [0f64, -0.25].map(f64::to_le_bytes).concat(), (-0.25f64).to_bits() as i64),
    ];
    for (storage, bytes, expected) in cases {
        let mut case = Case::new();
        let constant = case.model.constant(storage, &[2], &bytes);
        case.buffers.push(buffer(storage, &[c(2)], Place::Constant(constant)));
        let code = store(&mut case, vec![int(0, 1), Load { dst: 1, buffer: 2, index: 0 }], 1);
        assert_eq!(case.run(code, [0; 8]).unwrap()[0], expected, "{storage}");
    }
    let mut case = Case::new();
    assert_eq!(
        case.fails(vec![int(0, 8), Load { dst: 1, buffer: 0, index: 0 }, Return]),
        "run: element 8 of a buffer of 8 is loaded at function main, instruction 1"
    );
    assert!(Case::new().fails(vec![int(0, -1), Load { dst: 1, buffer: 0, index: 0 }, Return]).contains("element -1 of"));
}

#[test]
fn stores_what_loads_read() {
    use ElementType::*;
    let half = 0.5f64.to_bits() as i64;
    let values = [(Bool, 1), (I8, -1), (I16, -2), (I32, -3), (I64, i64::MIN), (U8, 255), (U32, u32::MAX.into()), (F32, half), (F64, half)];
    for (storage, value) in values {
        let mut case = Case::new();
        case.arena = 64;
        case.buffers.push(buffer(storage, &[c(2)], Place::Arena(c(0))));
        let through = vec![int(0, 1), int(1, value), Store { src: 1, buffer: 2, index: 0 }, Load { dst: 2, buffer: 2, index: 0 }];
        let code = store(&mut case, through, 2);
        assert_eq!(case.run(code, [0; 8]).unwrap()[0], value, "{storage}");
    }
    let copy = Copy { src: 0, src_offset: None, dst: 1, dst_offset: None, bytes: None };
    let code = vec![copy, int(0, 7), int(1, 100), Store { src: 1, buffer: 1, index: 0 }, Return];
    assert_eq!(Case::new().run(code, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap(), [1, 2, 3, 4, 5, 6, 7, 100]);
    assert_eq!(
        Case::new().fails(vec![int(0, 8), Store { src: 0, buffer: 1, index: 0 }, Return]),
        "run: element 8 of a buffer of 8 is stored at function main, instruction 1"
    );
}

#[test]
fn dispatch_passes_scalars_and_reports_codes() {
    let mut case = Case::new();
    let add = case.model.kernel("add_scalar", &[Access::ReadWrite], 1, s(0), c(0));
    let copy = Copy { src: 0, src_offset: None, dst: 1, dst_offset: None, bytes: None };
    let dispatch = Dispatch { dispatch: add, buffers: vec![1], dims: vec![0], scalars: vec![1] };
    let code = vec![copy.clone(), int(0, 3), int(1, 100), dispatch.clone(), Barrier, Return];
    assert_eq!(case.run(code, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap(), [101, 102, 103, 4, 5, 6, 7, 8]);

    // In a loop over one to three elements, twice: one dispatch with sizes that change.
    let mut case = Case::new();
    let add = case.model.kernel("add_scalar", &[Access::ReadWrite], 1, Expr::binary(ExprOp::Add, &s(0), &c(1)), c(0));
    let dispatch_turn = Dispatch { dispatch: add, buffers: vec![1], dims: vec![2], scalars: vec![1] };
    let turns = [Loop { counter: 2, trip: 0, exit: 6 }, dispatch_turn, EndLoop { start: 3 }];
    let code = [vec![copy, int(0, 3), int(1, 10)], turns.to_vec(), vec![Return]].concat();
    let mut session = case.session(code);
    for _ in 0..2 {
        let outputs = session.run(&[TensorView::of(&[8], &[0i64; 8])]).unwrap();
        assert_eq!(outputs.get(0).unwrap().as_slice::<i64>().unwrap(), [30, 20, 10, 0, 0, 0, 0, 0]);
    }

    let mut case = Case::new();
    case.model.kernel("add_scalar", &[Access::ReadWrite], 1, s(0), c(0));
    assert!(
        case.fails(vec![int(0, -1), dispatch.clone(), Return])
            .contains("kernel add_scalar at function main, instruction 1 has an impossible grid of -1")
    );

    for threads in [1, 4] {
        let mut case = Case::new();
        case.options.threads = Some(threads);
        let fail = case.model.kernel("fail_at_five", &[Access::Write], 0, c(64), c(0));
        let error = case.fails(vec![Dispatch { dispatch: fail, buffers: vec![1], dims: vec![], scalars: vec![] }, Return]);
        assert!(error.starts_with("run: kernel fail_at_five failed with code 42 at node_fail_at_five;"), "{error}");
    }
}

#[test]
fn overlapping_arguments_are_refused_unless_declared() {
    let overlapping = |declared: bool| {
        let mut case = Case::new();
        case.arena = 64;
        case.buffers.push(buffer(ElementType::F32, &[c(16)], Place::Arena(c(0))));
        let quarter = case.model.kernel("quarter", &[Access::Read, Access::Write], 0, c(16), c(0));
        if declared {
            case.model.variant().kernels[0].in_place.push((0, 1));
        }
        case.run(vec![Dispatch { dispatch: quarter, buffers: vec![2, 2], dims: vec![], scalars: vec![] }, Return], [0; 8])
    };
    assert!(overlapping(true).is_ok());
    let error = overlapping(false).unwrap_err().to_string();
    assert!(error.starts_with("run: arguments 0 and 1 of kernel quarter overlap at node_quarter"), "{error}");
}

#[test]
fn copies_parts() {
    let copy = |src_offset, dst_offset, bytes| Copy { src: 0, src_offset, dst: 1, dst_offset, bytes };
    let whole = copy(None, None, None);
    let x = [1, 2, 3, 4, 5, 6, 7, 8];
    assert_eq!(Case::new().run(vec![whole.clone(), Return], x).unwrap(), x);
    let registers = vec![int(0, 16), int(1, 40), int(2, 24)];
    let part = [vec![whole.clone()], registers, vec![copy(Some(0), Some(1), Some(2)), Return]].concat();
    assert_eq!(Case::new().run(part, x).unwrap(), [1, 2, 3, 4, 5, 3, 4, 5]);
    let rest = vec![whole.clone(), int(0, 48), copy(Some(0), None, None), Return];
    assert_eq!(Case::new().run(rest, x).unwrap(), [7, 8, 3, 4, 5, 6, 7, 8]);
    let nothing = vec![whole, int(0, 64), int(1, 0), copy(Some(0), Some(0), Some(1)), Return];
    assert_eq!(Case::new().run(nothing, x).unwrap(), x);
    for (from, to, bytes) in [(60, 0, 8), (0, 60, 8), (-8, 0, 8), (0, 0, -8), (0, 0, 72)] {
        let code = vec![int(0, from), int(1, to), int(2, bytes), copy(Some(0), Some(1), Some(2)), Return];
        let error = Case::new().fails(code);
        assert!(error.starts_with("run: a copy of ") && error.ends_with("leaves its buffers at function main, instruction 3"), "{error}");
    }
}

#[test]
fn jumps_branches_loops() {
    // Sums 0..=x[0] with a loop, then branches on whether the sum is above 10.
    let code = |case: &mut Case| {
        let code = vec![
            int(0, 0),
            Load { dst: 1, buffer: 0, index: 0 },
            int(5, 1),
            Int { op: IntOp::Add, dst: 1, lhs: 1, rhs: 5 },
            // `store` inserts a copy before these, so targets are one higher than they look.
            Loop { counter: 2, trip: 1, exit: 8 },
            Int { op: IntOp::Add, dst: 3, lhs: 3, rhs: 2 },
            EndLoop { start: 5 },
            int(4, 10),
            CompareInt { predicate: Predicate::Gt, dst: 4, lhs: 3, rhs: 4 },
            Branch { condition: 4, on_true: 11, on_false: 13 },
            int(3, 1000),
            Jump { target: 13 },
        ];
        store(case, code, 3)
    };
    for (x, sum) in [(-1, 0), (0, 0), (1, 1), (4, 10), (5, 1000)] {
        let mut case = Case::new();
        let code = code(&mut case);
        let mut input = [0; 8];
        input[0] = x;
        assert_eq!(case.run(code, input).unwrap()[0], sum + x, "{x}");
    }
}

#[test]
fn endless_loops_meet_their_limit_or_a_cancel() {
    let mut case = Case::new();
    case.options.max_iterations = 1000;
    assert_eq!(
        case.fails(vec![Jump { target: 0 }]),
        "run: more than 1000 loop iterations at function main, instruction 0; check the values that end the loop, or raise the limit (--max-iterations)"
    );
    let mut case = Case::new();
    case.options.max_iterations = 1000;
    let dispatch = case.model.kernel("add_scalar", &[Access::ReadWrite], 0, c(1), c(0));
    let error = case.fails(vec![Dispatch { dispatch, buffers: vec![1], dims: vec![], scalars: vec![0] }, Jump { target: 0 }]);
    assert!(
        error.starts_with("run: more than 1000 loop iterations at function main, instruction 1, in the loop around node_add_scalar;"),
        "{error}"
    );

    let mut session = Case::new().session(vec![Jump { target: 0 }]);
    let handle = session.cancel_handle();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        handle.cancel();
    });
    assert!(matches!(session.run(&[TensorView::of(&[8], &[0i64; 8])]), Err(Error::Cancelled)));
    thread.join().unwrap();
}

#[test]
fn a_kernel_in_progress_is_cancelled() {
    let mut case = Case::new();
    let wait = case.model.kernel("wait_for_cancel", &[Access::Write], 0, c(1), c(0));
    let mut session = case.session(vec![Dispatch { dispatch: wait, buffers: vec![1], dims: vec![], scalars: vec![] }, Return]);
    let handle = session.cancel_handle();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        handle.cancel();
    });
    assert!(matches!(session.run(&[TensorView::of(&[8], &[0i64; 8])]), Err(Error::Cancelled)));
    thread.join().unwrap();
}

#[test]
fn external_kernels() {
    let call = || CallExtern { external: 0, buffers: vec![0, 1], dims: vec![0], scalars: vec![1] };
    let new_case = || {
        let mut case = Case::new();
        case.model.external("scale", "(i64[n], by: float) -> (i64[n])", ElementType::I64, 1);
        case
    };
    let mut case = new_case();
    let total = Arc::new(AtomicI64::new(0));
    let seen = total.clone();
    case.options.externs.register(
        "scale",
        Arc::new(move |call| {
            let (factor, scalar) = (call.dims[0], f64::from_bits(call.scalars[0]));
            seen.fetch_add(scalar as i64, Ordering::Relaxed);
            let x = call.slice::<i64>(0).ok_or("buffer 0 is no i64")?.to_vec();
            assert!(call.slice::<f32>(0).is_none() && call.slice_mut::<i64>(0).is_none() && call.raw(2).is_none());
            for (y, x) in call.slice_mut::<i64>(1).ok_or("buffer 1")?.iter_mut().zip(x) {
                *y = x * factor;
            }
            if factor == 0 { Err("no factor".into()) } else { Ok(()) }
        }),
    );
    let options = case.options.clone();
    let x = [1, 2, 3, 4, 5, 6, 7, 8];
    let code = |factor| vec![int(0, factor), float(1, 2.0), call(), Return];
    assert_eq!(case.run(code(3), x).unwrap(), x.map(|x| x * 3));
    assert_eq!(total.load(Ordering::Relaxed), 2);
    let mut case = Case { options, ..new_case() };
    assert_eq!(case.fails(code(0)), "run: external kernel \"scale\" failed at function main, instruction 2: no factor");
    assert_eq!(
        new_case().fails(code(1)),
        "run: no external kernel is registered as \"scale\", which the model calls as (i64[n], by: float) -> (i64[n]); register it before running"
    );
}

#[test]
fn external_kernels_of_another_signature() {
    let code = || vec![int(0, 1), float(1, 2.0), CallExtern { external: 0, buffers: vec![0, 1], dims: vec![0], scalars: vec![1] }, Return];
    let run = |signature: &str| {
        let mut case = Case::new();
        case.model.external("scale", "(i64[n], by: float) -> (i64[n])", ElementType::I64, 1);
        case.options.externs.register_typed("scale", signature, Arc::new(|_| Ok(())));
        case.run(code(), [0; 8])
    };
    assert!(run("(i64[n],by:float)->(i64[n])").is_ok());
    let error = run("(i32[n], by: float) -> (i64[n])").unwrap_err().to_string();
    assert!(
        error.starts_with("run: the external kernel \"scale\" is (i32[n], by: float) -> (i64[n]), but the model calls it as (i64[n]"),
        "{error}"
    );
}

#[test]
fn fail_stops_with_its_message() {
    assert_eq!(Case::new().fails(vec![Fail { message: "shapes differ".into() }]), "run: shapes differ");
}

/// A function `add_n(n; x: i64[n]) -> y: i64[n]` that adds 10 to a copy in its own arena.
fn callee(model: &mut Model) -> (Function, LaunchProgram) {
    let add = model.kernel("add_scalar", &[Access::ReadWrite], 1, s(0), c(0));
    let i64s = |place| buffer(ElementType::I64, &[s(0)], place);
    let copy = |src, dst| Copy { src, src_offset: None, dst, dst_offset: None, bytes: None };
    let function = Function {
        name: "add_n".into(),
        symbols: vec![symbol("n", 1, Some(8))],
        inputs: vec![port("x", ElementType::I64, &[s(0)])],
        outputs: vec![port("y", ElementType::I64, &[s(0)])],
        ..Function::default()
    };
    let program = LaunchProgram {
        registers: 3,
        buffers: vec![i64s(Place::Input(0)), i64s(Place::Output(0)), i64s(Place::Arena(c(64)))],
        arena: c(128),
        code: vec![
            copy(0, 2),
            int(1, 10),
            Dispatch { dispatch: add, buffers: vec![2], dims: vec![0], scalars: vec![1] },
            copy(2, 1),
            Return,
        ],
    };
    (function, program)
}

fn calling(n: i64, repeat: i64, arena: Expr, own: i64) -> Result<Vec<i64>, Error> {
    let mut case = Case::new();
    let (function, program) = callee(&mut case.model);
    case.model.function(function, program);
    case.arena = own;
    case.buffers.push(buffer(ElementType::I64, &[c(8)], Place::Arena(c(0))));
    let call = |input, output| Call { function: 1, symbols: vec![0], inputs: vec![input], outputs: vec![output], arena: arena.clone() };
    let code = vec![
        int(0, n),
        call(0, 2),
        int(1, repeat),
        Loop { counter: 2, trip: 1, exit: 6 },
        call(2, 2),
        EndLoop { start: 3 },
        Copy { src: 2, src_offset: None, dst: 1, dst_offset: None, bytes: None },
        Return,
    ];
    case.run(code, [1, 2, 3, 4, 5, 6, 7, 8])
}

#[test]
fn calls_bind_buffers_and_stack_arenas() {
    assert_eq!(calling(8, 3, c(64), 192).unwrap(), [41, 42, 43, 44, 45, 46, 47, 48]);
    let error = |result: Result<Vec<i64>, Error>| result.unwrap_err().to_string();
    assert_eq!(
        error(calling(9, 0, c(64), 192)),
        "run: call of add_n at function main, instruction 1: bind: dim n is 9, the model was compiled for 1 to 8"
    );
    assert!(error(calling(4, 0, c(64), 192)).contains("it has 32 bytes, the buffer passed for it 64"));
    assert!(error(calling(8, 0, c(128), 192)).contains("its 128 arena bytes at 128 leave the caller's 192"));
    assert!(error(calling(8, 0, c(32), 192)).contains("misaligned"));
}

#[test]
fn only_the_called_function_needs_bound_symbols() {
    let mut case = Case::new();
    let (mut function, program) = callee(&mut case.model);
    function.symbols.push(symbol("free", 0, None));
    let program = LaunchProgram { registers: 4, ..program };
    case.model.function(function, program);
    let mut session = case.session(vec![Return]);
    let error = session.run_function(1, &[TensorView::of(&[2], &[1i64, 2])]).err().unwrap().to_string();
    assert_eq!(error, "bind: no input of add_n determines the dim free; it can only be called with it given");
}

#[test]
fn kernels_see_denormals_and_relocated_tables() {
    let mut case = Case::new();
    let tables = case.model.kernel("use_tables", &[Access::Write], 0, c(4), c(0));
    let quarter = case.model.kernel("quarter", &[Access::Read, Access::Write], 0, c(4), c(0));
    case.arena = 64;
    case.buffers.push(buffer(ElementType::F32, &[c(16)], Place::Arena(c(0))));
    case.buffers[1] = buffer(ElementType::F32, &[c(16)], Place::Output(0));
    let program = case.program(vec![
        Dispatch { dispatch: tables, buffers: vec![2], dims: vec![], scalars: vec![] },
        Dispatch { dispatch: quarter, buffers: vec![2, 1], dims: vec![], scalars: vec![] },
        Return,
    ]);
    let function = Function { outputs: vec![port("y", ElementType::F32, &[c(16)])], ..Case::function("main") };
    case.model.function(function, program);
    let program = case.model.artifact().open();
    let mut session = Session::new(&program, &DeviceChoice::Cpu, SessionOptions::default()).unwrap();
    let outputs = session.run(&[TensorView::of(&[8], &[0i64; 8])]).unwrap();
    assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap()[..4], [1.0, 1.25, 1.0, 1.25]);
}

/// A function of 8 numbers whose output has as many as `x[0]` says, at most `upper`; the arena, of `arena` bytes, holds a copy of them.
fn sized(lower: i64, upper: Expr, arena: Expr, options: SessionOptions) -> Session {
    let mut case = Case::new();
    let mut function = Case::function("main");
    function.symbols.push(Symbol { upper: Some(upper.clone()), ..symbol("chosen", 0, None) });
    function.outputs[0].dims = vec![s(0)];
    let found = |place| buffer(ElementType::I64, &[s(0)], place);
    case.buffers = vec![
        buffer(ElementType::I64, &[c(8)], Place::Input(0)),
        found(Place::Output(0)),
        found(Place::Arena(c(0))),
        found(Place::Input(0)),
    ];
    let copy = |src, dst| Copy { src, src_offset: None, dst, dst_offset: None, bytes: None };
    let what = "chosen numbers of node".to_string();
    let set = SetSymbol { symbol: 0, value: 2, lower: c(lower), upper, what };
    let code = vec![int(1, 0), Load { dst: 2, buffer: 0, index: 1 }, set, copy(3, 2), copy(2, 1), Return];
    let program = LaunchProgram { arena, ..case.program(code) };
    case.model.manifest.functions.insert(0, function);
    case.model.variant().programs.insert(0, program);
    Session::new(&case.model.artifact().open(), &DeviceChoice::Cpu, options).unwrap()
}

#[test]
fn sizes_found_while_running_cut_buffers_and_outputs() {
    let bounded = |lower| sized(lower, c(6), c(64), SessionOptions::default());
    let mut session = bounded(0);
    assert_eq!(session.output_dims(0, &[TensorView::of(&[8], &[0i64; 8])]).unwrap(), [[6]]);
    assert!(session.last_output_dims(0, 0).unwrap_err().to_string().contains("main has not run"));
    for count in [3, 6, 0, 5] {
        let x = [count, 11, 12, 13, 14, 15, 16, 17];
        let outputs = session.run(&[TensorView::of(&[8], &x)]).unwrap();
        let y = outputs.get(0).unwrap();
        assert_eq!((y.dims, y.as_slice::<i64>().unwrap()), (&[count][..], &x[..count as usize]));
        assert_eq!(session.last_output_dims(0, 0).unwrap(), [count]);
    }
    let mut memory = vec![0u8; 6 * 8];
    session.run_into(0, &[TensorView::of(&[8], &[2i64, 11, 12, 13, 14, 15, 16, 17])], &mut [&mut memory]).unwrap();
    assert_eq!((session.last_output_dims(0, 0).unwrap(), &memory[8..16]), (vec![2], &11i64.to_le_bytes()[..]));
    let mut fails = |count: i64| session.run(&[TensorView::of(&[8], &[count; 8])]).err().unwrap().to_string();
    assert_eq!(fails(7), "run: chosen numbers of node is 7; it must be 0 to 6");
    assert_eq!(fails(-1), "run: chosen numbers of node is -1; it must be 0 to 6");
    assert!(bounded(6).run(&[TensorView::of(&[8], &[5i64; 8])]).err().unwrap().to_string().ends_with("is 5; it must be 6"));
}

/// 64 bytes of arena per element, so that its size tells the room.
#[test]
fn sizes_that_nothing_bounds_get_the_room_that_runs_ask_for() {
    let open = |max_bytes| sized(0, s(0), Expr::binary(ExprOp::Mul, &s(0), &c(64)), SessionOptions { max_bytes, ..Default::default() });
    let mut session = open(None);
    let run = |session: &mut Session, count: i64| -> Result<u64, String> {
        let x = [count, 11, 12, 13, 14, 15, 16, 17];
        let outputs = session.run(&[TensorView::of(&[8], &x)]).map_err(|error| error.to_string())?;
        let y = outputs.get(0).unwrap();
        assert_eq!((y.dims, y.as_slice::<i64>().unwrap()), (&[count][..], &x[..count as usize]));
        Ok(session.memory().arena)
    };
    assert_eq!(run(&mut session, 0), Ok(0));
    assert_eq!(run(&mut session, 3), Ok(3 * 64));
    assert_eq!(run(&mut session, 1), Ok(3 * 64));
    // What grows again gets twice as much.
    assert_eq!(run(&mut session, 4), Ok(6 * 64));
    assert_eq!(session.output_dims(0, &[TensorView::of(&[8], &[0i64; 8])]).unwrap(), [[6]]);
    assert_eq!(run(&mut session, -1).unwrap_err(), "run: chosen numbers of node is -1; it must be at least 0");
    // Memory suffices for 4 elements, not for twice 3.
    let mut session = open(Some(4 * (64 + 8)));
    assert_eq!(run(&mut session, 3), Ok(3 * 64));
    assert_eq!(run(&mut session, 4), Ok(4 * 64));
    let why = "run: chosen is 5: the run would need 360 bytes, of which 288 are there; give inputs that ask for less";
    assert_eq!(run(&mut session, 5).unwrap_err(), why);
    let why = run(&mut session, i64::MAX).unwrap_err();
    assert!(why.starts_with("run: chosen is 9223372036854775807: ") && why.contains("too large"), "{why}");
    assert!(run(&mut open(None), 1 << 50).unwrap_err().contains("81064793292668928 bytes"));
    assert_eq!(run(&mut session, 2), Ok(4 * 64));
}

#[test]
fn memory_of_the_caller_that_is_too_small_for_what_a_run_finds_is_an_error_once() {
    let mut session = sized(0, s(0), c(64), SessionOptions::default());
    let x = [2i64, 11, 12, 13, 14, 15, 16, 17];
    let x = [TensorView::of(&[8], &x)];
    let error = session.run_into(0, &x, &mut [&mut []]).unwrap_err().to_string();
    assert_eq!(error, "bind: output \"y\": expected 16 bytes, got 0");
    assert_eq!(session.output_dims(0, &x).unwrap(), [[2]]);
    let mut memory = [0; 16];
    session.run_into(0, &x, &mut [&mut memory]).unwrap();
    assert_eq!(memory[8..], 11i64.to_le_bytes());
    // Room can be made before.
    let mut session = sized(0, s(0), c(64), SessionOptions::default());
    session.prepare(0, &[2]).unwrap();
    session.run_into(0, &x, &mut [&mut memory]).unwrap();
}
