//! reduce, reduce_window, softmax, dot_general, conv: inferred types, refusals, and values against numbers made by hand.

use half::{bf16, f16};
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::{Data, Tensor},
    testing::context,
};
use winze_mlir::{
    diagnostics,
    melior::ir::{BlockLike, Module, operation::OperationLike},
};

/// A function of `arguments` that returns the result of `op`, which must be inferred as `result`.
fn function(arguments: &str, op: &str, result: &str) -> String {
    format!("func.func @f({arguments}) -> {result} {{\n  %r = {op}\n  return %r : {result}\n}}")
}

/// Evaluates `op` for `inputs` and symbol values.
fn eval(arguments: &str, op: &str, result: &str, symbols: &[i64], inputs: &[Tensor]) -> Tensor {
    let context = context();
    let text = function(arguments, op, result);
    let (module, messages) = diagnostics::collect(&context, || Module::parse(&context, &text));
    let module = module.unwrap_or_else(|| panic!("{text}\n{messages:?}"));
    assert!(module.as_operation().verify(), "{text}");
    let function = module.body().first_operation().expect("holds the function");
    eval_function(&EvalContext::new(symbols), function, inputs).unwrap_or_else(|e| panic!("{text}\n{e}")).remove(0)
}

/// Checks that `op` is refused with a message that contains `expected`.
fn refuse(arguments: &str, op: &str, expected: &str) {
    let context = context();
    let text = function(arguments, op, "tensor<1xf32>");
    let (_, messages) = diagnostics::collect(&context, || Module::parse(&context, &text));
    let found = messages.iter().any(|message| message.to_string().contains(expected));
    assert!(found, "{op}: {expected:?} is not among {messages:?}");
}

#[test]
fn reduce_folds_axes() {
    let x = Tensor::new(&[2, 3], &[1f32, 2., 3., 4., 5., -6.]);
    let (argument, row, column) = ("%x: tensor<2x3xf32>", "tensor<2xf32>", "tensor<3xf32>");
    let on =
        |op: &str, result: &str| eval(argument, &format!("graph.reduce {op} : tensor<2x3xf32>"), result, &[], std::slice::from_ref(&x));
    assert_eq!(on("\"add\" %x axes [1]", row), Tensor::new(&[2], &[6f32, 3.]));
    assert_eq!(on("\"mul\" %x axes [0]", column), Tensor::new(&[3], &[4f32, 10., -18.]));
    assert_eq!(on("\"max\" %x axes [0]", column), Tensor::new(&[3], &[4f32, 5., 3.]));
    assert_eq!(on("\"min\" %x axes [1, 0]", "tensor<f32>"), Tensor::new(&[], &[-6f32]));
    assert_eq!(on("\"add\" %x axes []", "tensor<2x3xf32>"), x);
}

#[test]
fn reduce_of_nothing_is_neutral() {
    let empty = |element: &str, kind: &str, input: Tensor| {
        let op = format!("graph.reduce \"{kind}\" %x axes [1] : tensor<2x0x{element}>");
        eval(&format!("%x: tensor<2x0x{element}>"), &op, &format!("tensor<2x{element}>"), &[], &[input]).data
    };
    assert_eq!(empty("f32", "max", Tensor::new::<f32>(&[2, 0], &[])), Data::F32(vec![f32::NEG_INFINITY; 2]));
    assert_eq!(empty("f16", "min", Tensor::new::<f16>(&[2, 0], &[])), Data::F16(vec![f16::INFINITY; 2]));
    assert_eq!(empty("i8", "max", Tensor::new::<i8>(&[2, 0], &[])), Data::I8(vec![-128; 2]));
    assert_eq!(empty("i64", "min", Tensor::new::<i64>(&[2, 0], &[])), Data::I64(vec![i64::MAX; 2]));
    assert_eq!(empty("i64", "max", Tensor::new::<i64>(&[2, 0], &[])), Data::I64(vec![i64::MIN; 2]));
    assert_eq!(empty("ui64", "min", Tensor::new::<u64>(&[2, 0], &[])), Data::U64(vec![u64::MAX; 2]));
    assert_eq!(empty("ui16", "and", Tensor::new::<u16>(&[2, 0], &[])), Data::U16(vec![u16::MAX; 2]));
    assert_eq!(empty("i32", "and", Tensor::new::<i32>(&[2, 0], &[])), Data::I32(vec![-1; 2]));
    assert_eq!(empty("i1", "and", Tensor::new::<bool>(&[2, 0], &[])), Data::Bool(vec![true; 2]));
    assert_eq!(empty("i1", "or", Tensor::new::<bool>(&[2, 0], &[])), Data::Bool(vec![false; 2]));
}

#[test]
fn reduce_keeps_nan_and_wide_sums() {
    let x = Tensor::new(&[3], &[1f32, f32::NAN, 2.]);
    let max = eval("%x: tensor<3xf32>", "graph.reduce \"max\" %x axes [0] : tensor<3xf32>", "tensor<f32>", &[], &[x]);
    assert!(max.get(0).f64().is_nan());
    // In bf16 the sum would stop at 256.
    let ones = Tensor::new(&[1000], &[bf16::ONE; 1000]);
    let sum = eval("%x: tensor<1000xbf16>", "graph.reduce \"add\" %x axes [0] : tensor<1000xbf16>", "tensor<bf16>", &[], &[ones]);
    assert_eq!(sum, Tensor::new(&[], &[bf16::from_f32(1000.)]));
    let bytes = Tensor::new(&[2], &[200u8, 100]);
    let sum = eval("%x: tensor<2xui8>", "graph.reduce \"add\" %x axes [0] : tensor<2xui8>", "tensor<ui8>", &[], &[bytes]);
    assert_eq!(sum, Tensor::new(&[], &[44u8]));
}

#[test]
fn reduce_of_symbolic_extents() {
    let input = "tensor<?x3x?xf32, affine_map<()[s0, s1] -> (s1, s0 * 2)>>";
    let op = format!("graph.reduce \"add\" %x axes [0, 1] : {input}");
    let x = Tensor::new(&[1, 3, 2], &[1f32, 2., 3., 4., 5., 6.]);
    let sum = eval(&format!("%x: {input}"), &op, "tensor<?xf32, affine_map<()[s0] -> (s0 * 2)>>", &[1, 1], &[x]);
    assert_eq!(sum, Tensor::new(&[2], &[9f32, 12.]));
}

#[test]
fn reduce_refuses() {
    let x = "%x: tensor<2x3xf32>";
    refuse(x, "graph.reduce \"sum\" %x axes [0] : tensor<2x3xf32>", "kind 'sum' is unknown; use add, mul, max, min, and, or");
    refuse(x, "graph.reduce \"and\" %x axes [0] : tensor<2x3xf32>", "kind 'and' is not defined for f32");
    refuse(x, "graph.reduce \"add\" %x axes [2] : tensor<2x3xf32>", "axis 2 is outside the 2 axes");
    refuse(x, "graph.reduce \"add\" %x axes [1, 1] : tensor<2x3xf32>", "axis 1 is named twice");
}

#[test]
fn reduce_window_pools() {
    let x = Tensor::new(&[1, 5], &[1f32, -2., 3., -4., 5.]);
    let pool = |kind: &str, attributes: &str, result: &str| {
        let op = format!("graph.reduce_window \"{kind}\" %x {attributes} : tensor<1x5xf32>");
        eval("%x: tensor<1x5xf32>", &op, result, &[], std::slice::from_ref(&x))
    };
    let max = pool("max", "window [1, 3] strides [1, 2] low [0, 1] high [0, 1] dilation [1, 1]", "tensor<1x3xf32>");
    assert_eq!(max, Tensor::new(&[1, 3], &[1f32, 3., 5.]));
    let sum = pool("add", "window [1, 2] strides [1, 1] low [0, 0] high [0, 0] dilation [1, 3]", "tensor<1x2xf32>");
    assert_eq!(sum, Tensor::new(&[1, 2], &[-3f32, 3.]));
    let outside = pool("min", "window [1, 1] strides [1, 5] low [0, 5] high [0, 0] dilation [1, 1]", "tensor<1x2xf32>");
    assert_eq!(outside, Tensor::new(&[1, 2], &[f32::INFINITY, 1.]));
    let cropped = pool("mul", "window [1, 2] strides [1, 1] low [0, -1] high [0, -2] dilation [1, 1]", "tensor<1x1xf32>");
    assert_eq!(cropped, Tensor::new(&[1, 1], &[-6f32]));
}

#[test]
fn reduce_window_infers_symbolic_extents() {
    let input = "tensor<?x?xi32, affine_map<()[s0, s1] -> (s0, s1)>>";
    let op = format!("graph.reduce_window \"add\" %x window [1, 3] strides [1, 2] low [0, 1] high [0, 1] dilation [1, 1] : {input}");
    let result = "tensor<?x?xi32, affine_map<()[s0, s1] -> (s0, (s1 + 1) floordiv 2)>>";
    let x = Tensor::new(&[1, 4], &[1i32, 2, 3, 4]);
    assert_eq!(eval(&format!("%x: {input}"), &op, result, &[1, 4], &[x]), Tensor::new(&[1, 2], &[3i32, 9]));
}

#[test]
fn reduce_window_refuses() {
    let with = |attributes: &str| format!("graph.reduce_window {attributes} : tensor<1x5xf32>");
    let x = "%x: tensor<1x5xf32>";
    let rest = "low [0, 0] high [0, 0] dilation [1, 1]";
    refuse(x, &with(&format!("\"max\" %x window [3] strides [1, 2] {rest}")), "'window' has 1 entries for 2 axes");
    refuse(x, &with(&format!("\"max\" %x window [1, 3] strides [1, 0] {rest}")), "stride 0 along axis 1; strides are at least 1");
    refuse(x, &with(&format!("\"max\" %x window [1, 7] strides [1, 1] {rest}")), "a window spanning 7 does not fit axis 1 of extent 5");
}

#[test]
fn softmax_normalizes() {
    let x = Tensor::new(&[2, 2], &[1000f64, 0., 1000. + 3f64.ln(), 0.]);
    let y = eval("%x: tensor<2x2xf64>", "graph.softmax %x axis 0 : tensor<2x2xf64>", "tensor<2x2xf64>", &[], &[x]);
    let want = [0.25, 0.5, 0.75, 0.5];
    (0..4).for_each(|i| assert!((y.get(i).f64() - want[i]).abs() < 1e-12, "{y:?}"));
    let symbolic = "tensor<?x?xf16, affine_map<()[s0, s1] -> (s0, s1)>>";
    let op = format!("graph.softmax %x axis 1 : {symbolic}");
    let y = eval(&format!("%x: {symbolic}"), &op, symbolic, &[1, 4], &[Tensor::new(&[1, 4], &[f16::ONE; 4])]);
    assert_eq!(y, Tensor::new(&[1, 4], &[f16::from_f32(0.25); 4]));
    let empty = eval(&format!("%x: {symbolic}"), &op, symbolic, &[3, 0], &[Tensor::new::<f16>(&[3, 0], &[])]);
    assert_eq!(empty.count(), 0);
    refuse("%x: tensor<1xf32>", "graph.softmax %x axis 1 : tensor<1xf32>", "axis 1 is outside the 1 axes");
}

#[test]
fn dot_general_contracts() {
    let (a, b) = (Tensor::new(&[2, 3], &[1f32, 2., 3., 4., 5., 6.]), Tensor::new(&[3, 2], &[1f32, 0., 0., 1., 1., 1.]));
    let arguments = "%a: tensor<2x3xf32>, %b: tensor<3x2xf32>";
    let product = |axes: &str, result: &str| {
        let op = format!("graph.dot_general %a, %b {axes} : tensor<2x3xf32>, tensor<3x2xf32>");
        eval(arguments, &op, result, &[], &[a.clone(), b.clone()])
    };
    assert_eq!(product("batch [] x [] contract [1] x [0]", "tensor<2x2xf32>"), Tensor::new(&[2, 2], &[4f32, 5., 10., 11.]));
    assert_eq!(product("batch [0] x [1] contract [1] x [0]", "tensor<2xf32>"), Tensor::new(&[2], &[4f32, 11.]));
    assert_eq!(product("batch [] x [] contract [0, 1] x [1, 0]", "tensor<f32>"), Tensor::new(&[], &[15f32]));
    let outer = product("batch [] x [] contract [] x []", "tensor<2x3x3x2xf32>");
    assert_eq!((outer.at(&[1, 2, 2, 1]).f64(), outer.at(&[0, 1, 0, 1]).f64()), (6., 0.));
}

#[test]
fn dot_general_accumulates_wider() {
    let op = "graph.dot_general %a, %b batch [] x [] contract [0] x [0] accumulate i32 : tensor<2xui8>, tensor<2xi8>";
    let inputs = [Tensor::new(&[2], &[200u8, 255]), Tensor::new(&[2], &[-128i8, 127])];
    assert_eq!(eval("%a: tensor<2xui8>, %b: tensor<2xi8>", op, "tensor<i32>", &[], &inputs), Tensor::new(&[], &[200 * -128 + 255 * 127]));
    let op = "graph.dot_general %a, %a batch [] x [] contract [0] x [0] : tensor<2xi8>, tensor<2xi8>";
    let wrapped = eval("%a: tensor<2xi8>", op, "tensor<i8>", &[], &[Tensor::new(&[2], &[16i8, 3])]);
    assert_eq!(wrapped, Tensor::new(&[], &[9i8]));
}

#[test]
fn dot_general_infers_symbolic_extents_in_order() {
    let (a, b) = ("tensor<?x4x?xf16, affine_map<()[s0, s1] -> (s0, s1)>>", "tensor<?x?x5xf16, affine_map<()[s0, s1] -> (s1, s0)>>");
    let op = format!("graph.dot_general %a, %b batch [0] x [1] contract [2] x [0] : {a}, {b}");
    let result = "tensor<?x4x5xf16, affine_map<()[s0] -> (s0)>>";
    let inputs = [Tensor::new(&[1, 4, 0], &[] as &[f16]), Tensor::new(&[0, 1, 5], &[] as &[f16])];
    assert_eq!(eval(&format!("%a: {a}, %b: {b}"), &op, result, &[1, 0], &inputs), Tensor::new(&[1, 4, 5], &[f16::ZERO; 20]));
}

#[test]
fn dot_general_refuses() {
    let arguments = "%a: tensor<2x3xf32>, %b: tensor<4x2xf32>, %i: tensor<2x3xi8>";
    let with = |op: &str| format!("graph.dot_general {op}");
    let types = ": tensor<2x3xf32>, tensor<4x2xf32>";
    refuse(arguments, &with(&format!("%a, %b batch [] x [] contract [1] x [0] {types}")), "axis 1 of lhs has extent 3, axis 0 of rhs 4");
    refuse(arguments, &with(&format!("%a, %b batch [0] x [] contract [] x [] {types}")), "1 batch axes of lhs meet 0 of rhs");
    refuse(arguments, &with(&format!("%a, %b batch [0] x [1] contract [0] x [1] {types}")), "axis 0 is named twice");
    let mixed = "%a, %i batch [] x [] contract [0] x [0] : tensor<2x3xf32>, tensor<2x3xi8>";
    refuse(arguments, &with(mixed), "operands are f32 and i8; convert one");
    let narrow = "%a, %a batch [] x [] contract [0] x [0] accumulate f16 : tensor<2x3xf32>, tensor<2x3xf32>";
    refuse(arguments, &with(narrow), "f32 and f32 cannot accumulate in f16");
}

fn conv(x: Tensor, w: Tensor, attributes: &str, types: [&str; 3], symbols: &[i64]) -> Tensor {
    let op = format!("graph.conv %x, %w {attributes} : {}, {}", types[0], types[1]);
    eval(&format!("%x: {}, %w: {}", types[0], types[1]), &op, types[2], symbols, &[x, w])
}

#[test]
fn conv_of_one_axis() {
    let x = || Tensor::new(&[1, 1, 4], &[1f32, 2., 3., 4.]);
    let w = || Tensor::new(&[1, 1, 3], &[1f32, 10., 100.]);
    let of = |attributes: &str, result: &str| conv(x(), w(), attributes, ["tensor<1x1x4xf32>", "tensor<1x1x3xf32>", result], &[]).data;
    let plain = of("strides [1] low [0] high [0] dilation [1] x [1] groups 1", "tensor<1x1x2xf32>");
    assert_eq!(plain, Data::F32(vec![321., 432.]));
    let padded = of("strides [2] low [1] high [1] dilation [1] x [1] groups 1", "tensor<1x1x2xf32>");
    assert_eq!(padded, Data::F32(vec![210., 432.]));
    let dilated = of("strides [1] low [1] high [0] dilation [1] x [2] groups 1", "tensor<1x1x1xf32>");
    assert_eq!(dilated, Data::F32(vec![420.]));
    // 1 0 2 0 3 0 4: a transposed convolution of stride 2.
    let transposed = of("strides [1] low [0] high [0] dilation [2] x [1] groups 1", "tensor<1x1x5xf32>");
    assert_eq!(transposed, Data::F32(vec![201., 20., 302., 30., 403.]));
    let cropped = of("strides [1] low [-1] high [0] dilation [1] x [1] groups 1", "tensor<1x1x1xf32>");
    assert_eq!(cropped, Data::F32(vec![432.]));
}

#[test]
fn conv_groups_and_layouts() {
    // Two groups of two outputs and one channel each.
    let w = || Tensor::new(&[4, 1, 1], &[1f32, 10., 100., 1000.]);
    let attributes = "strides [1] low [0] high [0] dilation [1] x [1] groups 2";
    let first = conv(
        Tensor::new(&[1, 2, 2], &[1f32, 2., 3., 4.]),
        w(),
        attributes,
        ["tensor<1x2x2xf32>", "tensor<4x1x1xf32>", "tensor<1x4x2xf32>"],
        &[],
    );
    assert_eq!(first.data, Data::F32(vec![1., 2., 10., 20., 300., 400., 3000., 4000.]));
    let last = conv(
        Tensor::new(&[1, 2, 2], &[1f32, 3., 2., 4.]),
        w(),
        &format!("{attributes} channels_last"),
        ["tensor<1x2x2xf32>", "tensor<4x1x1xf32>", "tensor<1x2x4xf32>"],
        &[],
    );
    assert_eq!(last.data, Data::F32(vec![1., 10., 300., 3000., 2., 20., 400., 4000.]));
}

#[test]
fn conv_infers_symbolic_extents() {
    let input = "tensor<?x3x?x8xi8, affine_map<()[s0, s1] -> (s0, s1)>>";
    let result = "tensor<?x2x?x4xi32, affine_map<()[s0, s1] -> (s0, (s1 + 1) floordiv 2)>>";
    let (x, w) = (Tensor::new(&[1, 3, 1, 8], &[1i8; 24]), Tensor::new(&[2, 3, 3, 3], &[2i8; 54]));
    let attributes = "strides [2, 2] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 1 accumulate i32";
    let y = conv(x, w, attributes, [input, "tensor<2x3x3x3xi8>", result], &[1, 1]);
    assert_eq!(y, Tensor::new(&[1, 2, 1, 4], &[12i32, 18, 18, 18, 12, 18, 18, 18]));
}

#[test]
fn conv_refuses() {
    let arguments = "%x: tensor<1x4x5xf32>, %w: tensor<6x2x3xf32>, %m: tensor<4x4xf32>";
    let with = |attributes: &str| format!("graph.conv %x, %w {attributes} : tensor<1x4x5xf32>, tensor<6x2x3xf32>");
    let plain = "strides [1] low [0] high [0] dilation [1] x [1]";
    refuse(arguments, &with(&format!("{plain} groups 1")), "4 input channels, but the filter takes 2 in each of 1 groups");
    refuse(arguments, &with(&format!("{plain} groups 0")), "0 groups do not divide 6 output channels");
    refuse(arguments, &with("strides [1, 1] low [0] high [0] dilation [1] x [1] groups 2"), "'strides' has 2 entries for 1 axes");
    refuse(
        arguments,
        &with("strides [1] low [0] high [0] dilation [1] x [3] groups 2"),
        "a window spanning 7 does not fit axis 2 of extent 5",
    );
    let odd = "graph.conv %x, %m strides [1] low [0] high [0] dilation [1] x [1] groups 1 : tensor<1x4x5xf32>, tensor<4x4xf32>";
    refuse(arguments, odd, "filter of rank 2; convolutions have 1 to 3 spatial axes");
    let groups = "graph.conv %x, %w strides [1] low [0] high [0] dilation [1] x [1] groups 4 : tensor<1x4x5xf32>, tensor<6x1x3xf32>";
    refuse("%x: tensor<1x4x5xf32>, %w: tensor<6x1x3xf32>", groups, "4 groups do not divide 6 output channels");
}
