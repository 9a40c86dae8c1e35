//! Reductions, pooling, softmax, products and convolutions as graph ops -> linalg -> native code, compared with the reference evaluation.

#[path = "cpu/payload.rs"]
#[allow(dead_code)]
mod payload;

use payload::{constant, load, raw, symbol, targets};
use winze_compiler::{
    context::new_context,
    kernel_unit::KernelUnit,
    llvm::CpuUnit,
    schedule::{LoopRole, OpClass, RootLoop, Shapes, select_schedule},
};
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::{Scalar, Tensor},
    types::{Class, ElementType, TensorType},
};
use winze_mlir::{
    diagnostics,
    melior::{
        Context,
        ir::{BlockLike, Module, OperationRef, RegionLike, operation::OperationLike},
    },
    pass_manager::PassManager,
};

/// One op of a kernel `@k`, the values its symbols take, and how its root is scheduled.
struct Case {
    text: String,
    symbols: Vec<Vec<i64>>,
    class: OpClass,
    loops: Vec<RootLoop>,
}

/// `arguments` are `name: type`; the op's result has the type `result`.
fn case(arguments: &str, op: &str, result: &str, symbols: &[&[i64]], class: OpClass, loops: Vec<RootLoop>) -> Case {
    let text = format!("func.func @k({arguments}) -> {result} {{\n  %r = {op}\n  return %r : {result}\n}}");
    Case { text, symbols: symbols.iter().map(|s| s.to_vec()).collect(), class, loops }
}

fn parse<'c>(context: &'c Context, text: &str) -> Module<'c> {
    let (module, messages) = diagnostics::collect(context, || Module::parse(context, text));
    module.unwrap_or_else(|| panic!("{text}\n{messages:?}"))
}

/// Small numbers, exact in every element type, some negative where there are negative ones.
fn random(r#type: &TensorType, symbols: &[i64], seed: u64) -> Tensor {
    let shape = r#type.shape(symbols).unwrap();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    Tensor::from_fn(r#type.element, &shape, |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 59) as i64 - 16;
        match r#type.element.class() {
            Class::Float => Scalar::Float(value as f64 / 8.0),
            Class::Signed => Scalar::Signed(value),
            Class::Unsigned => Scalar::Unsigned((value + 16) as u64),
            Class::Bool => Scalar::Bool(value > 0),
        }
    })
}

fn argument_types(function: OperationRef) -> Vec<TensorType> {
    let block = function.region(0).unwrap().first_block().unwrap();
    (0..block.argument_count()).map(|i| TensorType::of(block.argument(i).unwrap().into()).unwrap()).collect()
}

fn tolerance(element: ElementType) -> f64 {
    match element {
        ElementType::F64 => 1e-12,
        ElementType::F32 => 2e-6,
        ElementType::F16 => 1e-3,
        ElementType::BF16 => 8e-3,
        _ => 0.0,
    }
}

fn check(case: &Case) {
    let context = new_context();
    let reference = parse(&context, &case.text);
    let function = reference.body().first_operation().unwrap();
    let types = argument_types(function);
    let mut module = parse(&context, &case.text);
    let manager = PassManager::parse(&context, &winze_graph::lower::pipeline(8)).unwrap();
    manager.run(&mut module).unwrap_or_else(|e| panic!("{}\n{e}", case.text));
    let lowered = module.as_operation().to_string();
    for target in targets() {
        let schedule =
            select_schedule(case.class, &Shapes { loops: case.loops.clone(), element_bits: 32, ..Shapes::default() }, &target).unwrap();
        let kernel = KernelUnit { name: "k".into(), class: case.class.name().into(), module: lowered.clone().into_bytes() };
        let loaded = std::panic::catch_unwind(|| load(&[CpuUnit { kernel, schedule, in_place: vec![] }], &target))
            .unwrap_or_else(|_| panic!("{}\n{lowered}", case.text));
        for symbols in &case.symbols {
            let inputs: Vec<Tensor> = types.iter().zip(1..).map(|(r#type, seed)| random(r#type, symbols, seed)).collect();
            let expected = eval_function(&EvalContext::new(symbols), function, &inputs).unwrap().remove(0);
            let mut buffers: Vec<Vec<u8>> = inputs.iter().map(Tensor::to_bytes).collect();
            let size = expected.to_bytes().len();
            buffers.push(vec![0xCD; size + 64]);
            // Words, so that elements are aligned.
            let aligned: Vec<Vec<u64>> = buffers
                .iter()
                .map(|bytes| {
                    let mut words = vec![0u64; bytes.len().div_ceil(8) + 1];
                    // SAFETY: the words have room for the bytes.
                    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), words.as_mut_ptr().cast(), bytes.len()) };
                    words
                })
                .collect();
            let pointers: Vec<_> = aligned.iter().map(|words| raw(words)).collect();
            loaded.call("k", &pointers, symbols);
            let words = aligned.last().unwrap();
            // SAFETY: every byte of the words is initialized.
            let bytes = unsafe { std::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size + 64) };
            assert!(bytes[size..].iter().all(|byte| *byte == 0xCD), "{}: written past the end", case.text);
            let actual = Tensor::from_bytes(expected.element(), &expected.shape, &bytes[..size]).unwrap();
            for i in 0..expected.count() {
                let (a, e) = (actual.get(i), expected.get(i));
                let close = (a.f64() - e.f64()).abs() <= tolerance(expected.element()) * e.f64().abs().max(1.0);
                let same = a == e || close || (a.f64().is_nan() && e.f64().is_nan());
                assert!(same, "{} {symbols:?}: element {i} is {a:?}, expected {e:?}\n{}\n{lowered}", target.name, case.text);
            }
        }
    }
}

const ELEMENTS: [&str; 13] = ["f64", "f32", "f16", "bf16", "i64", "i32", "i16", "i8", "ui64", "ui32", "ui16", "ui8", "i1"];

fn is_half(element: &str) -> bool {
    matches!(element, "f16" | "bf16")
}

#[test]
fn reductions_of_every_type_and_kind() {
    for element in ELEMENTS {
        let float = element.contains('f');
        for kind in ["add", "mul", "max", "min", "and", "or"] {
            let logical = matches!(kind, "and" | "or");
            if (float && logical) || (element == "i1" && !logical) {
                continue;
            }
            let input = format!("tensor<?x7x{element}, affine_map<()[s0] -> (s0)>>");
            let result = format!("tensor<?x{element}, affine_map<()[s0] -> (s0)>>");
            let op = format!("graph.reduce \"{kind}\" %x axes [1] : {input}");
            let mut loops = vec![symbol(0, LoopRole::Free)];
            // The root of a half-precision reduction is the rounding of its result.
            let class = if is_half(element) { OpClass::Elementwise } else { OpClass::Reduction };
            if !is_half(element) {
                loops.push(constant(7, LoopRole::Whole));
            }
            check(&case(&format!("%x: {input}"), &op, &result, &[&[0], &[1], &[37]], class, loops));
        }
    }
}

#[test]
fn reductions_over_any_axes() {
    let input = "tensor<4x?x5xf32, affine_map<()[s0] -> (s0)>>";
    let sizes: &[&[i64]] = &[&[0], &[3], &[20]];
    let (free, whole) = (LoopRole::Free, LoopRole::Whole);
    // Loops: the kept axes, then the reduced ones.
    for (axes, result, loops) in [
        ("[1]", "tensor<4x5xf32>", vec![constant(4, free), constant(5, free), symbol(0, whole)]),
        ("[0]", "tensor<?x5xf32, affine_map<()[s0] -> (s0)>>", vec![symbol(0, free), constant(5, free), constant(4, whole)]),
        ("[2, 0]", "tensor<?xf32, affine_map<()[s0] -> (s0)>>", vec![symbol(0, free), constant(5, whole), constant(4, whole)]),
    ] {
        let op = format!("graph.reduce \"add\" %x axes {axes} : {input}");
        check(&case(&format!("%x: {input}"), &op, result, sizes, OpClass::Reduction, loops));
    }
    let op = format!("graph.reduce \"max\" %x axes [0, 1, 2] : {input}");
    check(&case(&format!("%x: {input}"), &op, "tensor<f32>", sizes, OpClass::Sequential, vec![]));
}

#[test]
fn pooling() {
    for (element, kind) in
        [("f32", "max"), ("f32", "add"), ("f16", "add"), ("bf16", "max"), ("i8", "min"), ("ui8", "max"), ("f64", "mul"), ("i1", "or")]
    {
        let input = format!("tensor<?x3x9x11x{element}, affine_map<()[s0] -> (s0)>>");
        for (attributes, result) in [
            ("window [1, 1, 3, 3] strides [1, 1, 2, 2] low [0, 0, 1, 1] high [0, 0, 1, 1] dilation [1, 1, 1, 1]", "5x6"),
            ("window [1, 1, 3, 2] strides [1, 1, 2, 3] low [0, 0, 0, 0] high [0, 0, 0, 0] dilation [1, 1, 1, 2]", "4x3"),
            ("window [1, 1, 1, 4] strides [1, 1, 3, 1] low [0, 0, 0, 0] high [0, 0, 0, -2] dilation [1, 1, 1, 1]", "3x6"),
        ] {
            let result = format!("tensor<?x3x{result}x{element}, affine_map<()[s0] -> (s0)>>");
            let op = format!("graph.reduce_window \"{kind}\" %x {attributes} : {input}");
            // One tile per image.
            let loops = vec![symbol(0, LoopRole::Free)];
            let loops = if is_half(element) { (loops, OpClass::Elementwise) } else { (loops, OpClass::Pooling) };
            check(&case(&format!("%x: {input}"), &op, &result, &[&[0], &[1], &[3]], loops.1, loops.0));
        }
    }
}

/// Rows of several vectors with every kind of rest, wide steps, unknown heights and widths, more taps than are unrolled.
#[test]
fn windows_of_every_width() {
    for (input, op, result, symbols) in [
        ("?x2x9x77", "window [1, 1, 3, 3] strides [1, 1, 1, 1]", "?x2x7x75", 1),
        ("?x2x9x77", "window [1, 1, 3, 3] strides [1, 1, 2, 2]", "?x2x4x38", 1),
        ("?x2x9x77", "window [1, 1, 2, 2] strides [1, 1, 2, 2]", "?x2x4x38", 1),
        ("?x2x21x15", "window [1, 1, 3, 1] strides [1, 1, 1, 2]", "?x2x19x8", 1),
        ("?x1x9x40", "window [1, 1, 7, 7] strides [1, 1, 1, 1]", "?x1x3x34", 1),
        ("?x9x9x21", "window [1, 3, 3, 1] strides [1, 2, 2, 1]", "?x4x4x21", 1),
        ("?x2x7x?", "window [1, 1, 3, 3] strides [1, 1, 2, 1]", "?x2x3x?", 2),
    ] {
        let kinds = [("f32", "max"), ("f16", "add"), ("i8", "max"), ("f64", "min")];
        for (element, kind) in &kinds[..if input == "?x2x9x77" { 4 } else { 1 }] {
            let maps = if symbols == 1 { ["<()[s0] -> (s0)>"; 2] } else { ["<()[s0, s1] -> (s0, s1 + 2)>", "<()[s0, s1] -> (s0, s1)>"] };
            let [input, result] =
                [(input, maps[0]), (result, maps[1])].map(|(dims, map)| format!("tensor<{dims}x{element}, affine_map{map}>"));
            let op = format!("graph.reduce_window \"{kind}\" %x {op} low [0, 0, 0, 0] high [0, 0, 0, 0] dilation [1, 1, 1, 1] : {input}");
            let sizes: &[&[i64]] = if symbols == 1 { &[&[0], &[2]] } else { &[&[1, 4], &[2, 16], &[1, 51]] };
            let class = if is_half(element) { OpClass::Elementwise } else { OpClass::Pooling };
            check(&case(&format!("%x: {input}"), &op, &result, sizes, class, vec![symbol(0, LoopRole::Free)]));
        }
    }
    let float = ["f32", "f32"];
    convolution("3x20x40", "3x1x3x3", "3x18x38", "strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 3", float);
    convolution("3x21x41", "3x1x3x3", "3x10x20", "strides [2, 2] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 3", float);
    convolution("3x21x41", "3x1x5x5", "3x13x33", "strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [2, 2] groups 3", float);
}

/// Grids over the dims that every piece fills.
#[test]
fn pieces_are_cut() {
    let (free, whole) = (LoopRole::Free, LoopRole::Whole);
    for element in ["f32", "i8", "i1", "f64"] {
        let map = "affine_map<()[s0] -> (s0)>";
        let sizes: &[&[i64]] = &[&[0], &[1], &[700]];
        let (a, b) = (format!("tensor<?x3x20x{element}, {map}>"), format!("tensor<?x5x20x{element}, {map}>"));
        let result = format!("tensor<?x8x20x{element}, {map}>");
        let loops = vec![symbol(0, free), constant(8, whole), constant(20, free)];
        check(&case(
            &format!("%a: {a}, %b: {b}"),
            &format!("graph.concat %a, %b axis 1 : {a}, {b}"),
            &result,
            sizes,
            OpClass::Pieces,
            loops,
        ));
        let result = format!("tensor<?x6x21x{element}, {map}>");
        let op = format!("graph.pad %a, %v low [0, 1, 0] high [0, 2, 1] interior [0, 0, 0] : {a}, tensor<{element}>");
        let loops = vec![symbol(0, free), constant(6, whole), constant(21, whole)];
        check(&case(&format!("%a: {a}, %v: tensor<{element}>"), &op, &result, sizes, OpClass::Pieces, loops));
    }
}

#[test]
fn softmax_over_any_axis() {
    for element in ["f32", "f64", "f16", "bf16"] {
        let rows = format!("tensor<?x19x{element}, affine_map<()[s0] -> (s0)>>");
        let loops = vec![symbol(0, LoopRole::Free), constant(19, LoopRole::Whole)];
        let op = format!("graph.softmax %x axis 1 : {rows}");
        check(&case(&format!("%x: {rows}"), &op, &rows, &[&[0], &[1], &[50]], OpClass::Normalization, loops));
        let columns = format!("tensor<4x?x3x{element}, affine_map<()[s0] -> (s0)>>");
        let loops = vec![constant(4, LoopRole::Free), symbol(0, LoopRole::Whole), constant(3, LoopRole::Free)];
        let op = format!("graph.softmax %x axis 1 : {columns}");
        check(&case(&format!("%x: {columns}"), &op, &columns, &[&[0], &[1], &[50]], OpClass::Normalization, loops));
    }
}

#[test]
fn products_of_every_type() {
    for (lhs, rhs, accumulate) in [
        ("f32", "f32", ""),
        ("f64", "f64", ""),
        ("f16", "f16", ""),
        ("bf16", "bf16", ""),
        ("f16", "f16", "f32"),
        ("f32", "f32", "f64"),
        ("i8", "i8", "i32"),
        ("ui8", "i8", "i32"),
        ("i32", "i32", ""),
        ("ui16", "ui16", ""),
        ("i64", "i64", ""),
    ] {
        let (a, b) = (format!("tensor<2x?x9x{lhs}, affine_map<()[s0] -> (s0)>>"), format!("tensor<11x2x9x{rhs}>"));
        let element = if accumulate.is_empty() { lhs } else { accumulate };
        let accumulate = if accumulate.is_empty() { String::new() } else { format!("accumulate {accumulate} ") };
        let op = format!("graph.dot_general %a, %b batch [0] x [1] contract [2] x [2] {accumulate}: {a}, {b}");
        let result = format!("tensor<2x?x11x{element}, affine_map<()[s0] -> (s0)>>");
        let mut loops = vec![constant(2, LoopRole::Free), symbol(0, LoopRole::Free), constant(11, LoopRole::Free)];
        let half = is_half(element);
        if !half {
            loops.push(constant(9, LoopRole::Whole));
        }
        let class = if half { OpClass::Elementwise } else { OpClass::Reduction };
        check(&case(&format!("%a: {a}, %b: {b}"), &op, &result, &[&[0], &[1], &[21]], class, loops));
    }
}

#[test]
fn products_over_symbolic_and_several_axes() {
    let (a, b) = ("tensor<?x3x4xf32, affine_map<()[s0, s1] -> (s1)>>", "tensor<4x?x3xf32, affine_map<()[s0] -> (s0)>>");
    let op = format!("graph.dot_general %a, %b batch [] x [] contract [2, 1] x [0, 2] : {a}, {b}");
    let result = "tensor<?x?xf32, affine_map<()[s0, s1] -> (s1, s0)>>";
    let sizes: &[&[i64]] = &[&[2, 3], &[0, 4], &[9, 1]];
    check(&case(&format!("%a: {a}, %b: {b}"), &op, result, sizes, OpClass::Sequential, vec![]));
    let (a, b) = ("tensor<4x?xf32, affine_map<()[s0] -> (s0)>>", "tensor<?x5xf32, affine_map<()[s0] -> (s0)>>");
    let op = format!("graph.dot_general %a, %b batch [] x [] contract [1] x [0] : {a}, {b}");
    let sizes: &[&[i64]] = &[&[0], &[33]];
    check(&case(&format!("%a: {a}, %b: {b}"), &op, "tensor<4x5xf32>", sizes, OpClass::Sequential, vec![]));
}

#[test]
fn boxes_at_run_time_positions() {
    let sizes: &[&[i64]] = &[&[2], &[3], &[40]];
    for element in ["f32", "i1", "f16"] {
        let input = format!("tensor<?x5x7x{element}, affine_map<()[s0] -> (s0)>>");
        let part = format!("tensor<2x5x3x{element}>");
        let op = format!("graph.dynamic_slice %x at(%i, %j) axes [0, 2] : ({input}, tensor<i64>, tensor<i32>) -> {part}");
        let loops = [2, 5, 3].map(|extent| constant(extent, LoopRole::Free)).to_vec();
        check(&case(&format!("%x: {input}, %i: tensor<i64>, %j: tensor<i32>"), &op, &part, sizes, OpClass::Copy, loops));
        let op = format!("graph.dynamic_update_slice %x, %u at(%i) axes [0] : ({input}, tensor<2x5x7x{element}>, tensor<i64>) -> {input}");
        let arguments = format!("%x: {input}, %u: tensor<2x5x7x{element}>, %i: tensor<i64>");
        let loops = vec![symbol(0, LoopRole::Free), constant(5, LoopRole::Free), constant(7, LoopRole::Free)];
        check(&case(&arguments, &op, &input, sizes, OpClass::Copy, loops));
    }
}

/// A convolution of `[n, c, ...]` or, with `channels_last`, `[n, ..., c]`.
fn convolution(input: &str, filter: &str, result: &str, attributes: &str, elements: [&str; 2]) {
    let input = format!("tensor<?x{input}x{}, affine_map<()[s0] -> (s0)>>", elements[0]);
    let filter = format!("tensor<{filter}x{}>", elements[0]);
    let result = format!("tensor<?x{result}x{}, affine_map<()[s0] -> (s0)>>", elements[1]);
    let accumulate = if elements[0] == elements[1] { String::new() } else { format!(" accumulate {}", elements[1]) };
    let op = format!("graph.conv %x, %w {attributes}{accumulate} : {input}, {filter}");
    let loops = vec![symbol(0, LoopRole::Free)];
    let class = if is_half(elements[1]) { OpClass::Elementwise } else { OpClass::Reduction };
    check(&case(&format!("%x: {input}, %w: {filter}"), &op, &result, &[&[0], &[1], &[3]], class, loops));
}

#[test]
fn convolutions_of_every_form() {
    const PLAIN: &str = "strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1]";
    const PADDED: &str = "strides [2, 1] low [1, 2] high [1, 0] dilation [1, 1] x [1, 2]";
    const TRANSPOSED: &str = "strides [1, 1] low [2, 1] high [2, 1] dilation [2, 3] x [1, 1]";
    for elements in [["f32", "f32"], ["f16", "f16"], ["i8", "i32"]] {
        convolution("4x7x9", "6x4x3x3", "6x5x7", &format!("{PLAIN} groups 1"), elements);
        convolution("4x7x9", "6x2x3x3", "6x4x7", &format!("{PADDED} groups 2"), elements);
    }
    let float = ["f32", "f32"];
    convolution("4x7x9", "6x4x3x3", "6x4x7", &format!("{PADDED} groups 1"), float);
    convolution("4x7x9", "6x2x3x3", "6x5x7", &format!("{PLAIN} groups 2"), float);
    convolution("4x7x9", "4x1x3x3", "4x5x7", &format!("{PLAIN} groups 4"), float);
    convolution("4x7x9", "2x2x3x3", "2x5x7", &format!("{PLAIN} groups 2"), float);
    convolution("4x7x9", "4x1x3x3", "4x4x7", &format!("{PADDED} groups 4"), float);
    convolution("4x3x4", "6x4x3x3", "6x7x10", &format!("{TRANSPOSED} groups 1"), float);
    convolution("7x9x4", "6x4x3x3", "5x7x6", &format!("{PLAIN} groups 1 channels_last"), float);
    convolution("7x9x4", "6x2x3x3", "4x7x6", &format!("{PADDED} groups 2 channels_last"), float);
    convolution("7x9x4", "4x1x3x3", "5x7x4", &format!("{PLAIN} groups 4 channels_last"), float);
    convolution("3x12", "5x3x4", "5x5", "strides [2] low [0] high [0] dilation [1] x [1] groups 1", float);
    convolution(
        "2x4x5x6",
        "3x2x2x2x2",
        "3x4x4x6",
        "strides [1, 1, 1] low [0, 0, 1] high [1, 0, 0] dilation [1, 1, 1] x [1, 1, 1] groups 1",
        float,
    );
    // Cropped on one side, and a window that lies in the padding alone.
    convolution("2x6", "3x2x2", "3x4", "strides [1] low [-1] high [0] dilation [1] x [1] groups 1", float);
    convolution("2x0", "3x2x2", "3x3", "strides [1] low [2] high [2] dilation [1] x [1] groups 1", float);
}

/// The random positions reach outside the input on both sides.
#[test]
fn gathers_of_every_form() {
    let (free, sizes): (_, &[&[i64]]) = (LoopRole::Free, &[&[0], &[1], &[6]]);
    for element in ["f32", "bf16", "i1", "ui8"] {
        let (x, i) = (format!("tensor<?x5x3x{element}, affine_map<()[s0] -> (s0)>>"), "tensor<4x2x1xi64>");
        let op = format!("graph.gather %x, %i axes [0] batch [] x [] at 1 : {x}, {i}");
        let loops = [5, 4, 2, 3].map(|extent| constant(extent, free)).to_vec();
        check(&case(&format!("%x: {x}, %i: {i}"), &op, &format!("tensor<5x4x2x3x{element}>"), sizes, OpClass::Copy, loops));
    }
    let (x, i) = ("tensor<?x5x3xf32, affine_map<()[s0] -> (s0)>>", "tensor<?x2x2xi32, affine_map<()[s0] -> (s0)>>");
    let op = format!("graph.gather %x, %i axes [2, 1] batch [0] x [0] at 0 : {x}, {i}");
    let loops = vec![symbol(0, free), constant(2, free)];
    let result = "tensor<?x2xf32, affine_map<()[s0] -> (s0)>>";
    check(&case(&format!("%x: {x}, %i: {i}"), &op, result, sizes, OpClass::Copy, loops));
    let (x, i) = ("tensor<8x?xf32, affine_map<()[s0] -> (s0)>>", "tensor<8x4x1xi8>");
    let op = format!("graph.gather %x, %i axes [0] batch [1] x [1] at 0 : {x}, {i}");
    let loops = vec![constant(8, free), constant(4, free)];
    check(&case(&format!("%x: {x}, %i: {i}"), &op, "tensor<8x4xf32>", sizes, OpClass::Copy, loops));
}

/// Updates meet each other, and some lie outside the input.
#[test]
fn scatters_of_every_kind() {
    let sizes: &[&[i64]] = &[&[0], &[1], &[6]];
    for (element, kind) in [("f32", "set"), ("f32", "add"), ("bf16", "max"), ("i1", "set"), ("i64", "mul"), ("ui8", "min")] {
        let (x, i) = (format!("tensor<?x5x3x{element}, affine_map<()[s0] -> (s0)>>"), "tensor<9x1xi64>");
        let u = format!("tensor<9x5x3x{element}>");
        let op = format!("graph.scatter \"{kind}\" %x, %i, %u axes [0] batch [] x [] at 0 : {x}, {i}, {u}");
        check(&case(&format!("%x: {x}, %i: {i}, %u: {u}"), &op, &x, sizes, OpClass::Sequential, vec![]));
        let (x, i) = (format!("tensor<?x7x{element}, affine_map<()[s0] -> (s0)>>"), "tensor<?x9x1xi32, affine_map<()[s0] -> (s0)>>");
        let u = format!("tensor<?x9x{element}, affine_map<()[s0] -> (s0)>>");
        let op = format!("graph.scatter \"{kind}\" %x, %i, %u axes [1] batch [0] x [0] at 0 : {x}, {i}, {u}");
        check(&case(&format!("%x: {x}, %i: {i}, %u: {u}"), &op, &x, sizes, OpClass::Sequential, vec![]));
    }
}
