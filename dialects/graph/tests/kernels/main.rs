//! Every op: reference values made by hand, and kernels compiled by stock MLIR passes against the reference evaluation.

mod jit;

use jit::check;
use winze_graph::{
    tensor::{Data, Scalar, Tensor},
    testing::context,
    types::ElementType,
};

fn ramp(element: ElementType, shape: &[usize]) -> Tensor {
    Tensor::from_fn(element, shape, |i| match element {
        ElementType::Bool => Scalar::Bool(i % 3 == 0),
        _ if element.is_float() => Scalar::Float(((i * 37 % 101) as f64 - 50.0) / 16.0),
        _ => Scalar::of(element, (i * 37 % 101) as i64),
    })
}

fn f32s(tensor: &Tensor) -> &[f32] {
    match &tensor.data {
        Data::F32(values) => values,
        other => panic!("{other:?} is not f32"),
    }
}

#[track_caller]
fn checked(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Vec<Tensor> {
    check(text, inputs, symbols).unwrap_or_else(|message| panic!("{message}"))
}

#[test]
fn add_and_relu_fuse() {
    let text = "func.func @k(%a: tensor<2x3xf32>, %b: tensor<2x3xf32>) -> tensor<2x3xf32> {
        %zero = graph.constant dense<0.0> : tensor<2x3xf32>
        %sum = graph.add %a, %b : tensor<2x3xf32>
        %r = graph.maximum %sum, %zero : tensor<2x3xf32>
        return %r : tensor<2x3xf32> }";
    let a = Tensor::new(&[2, 3], &[1f32, -2.0, 3.0, -4.0, 5.0, -6.0]);
    let b = Tensor::new(&[2, 3], &[1f32, 1.0, 1.0, 1.0, 1.0, f32::NAN]);
    let r = checked(text, &[a, b], &[]);
    assert_eq!(f32s(&r[0])[..5], [2.0, 0.0, 4.0, 0.0, 6.0]);
    assert!(f32s(&r[0])[5].is_nan());
    let context = context();
    let (linalg, _) = jit::lower_to_buffers(&context, text).unwrap();
    assert_eq!(linalg.matches("linalg.generic").count(), 1, "{linalg}");
    assert!(linalg.contains("winze.root") && !linalg.contains("tensor.empty"), "{linalg}");
}

#[test]
fn arithmetic_of_every_class_matches_evaluation() {
    use ElementType::*;
    let families: [(&[ElementType], &[&str]); 4] = [
        (
            &[F32, F64, F16, BF16],
            &["abs", "neg", "sign", "ceil", "floor", "round", "trunc", "exp", "tanh", "sin", "erf", "logistic", "atan", "erfc"],
        ),
        (&[I8, I16, I32, I64, U8, U16, U32, U64], &["neg", "abs", "sign", "not", "popcnt", "clz"]),
        (&[F32, F16, F64], &["add", "sub", "mul", "div", "rem", "mod", "maximum", "minimum", "atan2"]),
        (
            &[I8, I16, I32, I64, U8, U16, U32, U64],
            &["add", "sub", "mul", "div", "rem", "mod", "maximum", "minimum", "and", "or", "xor", "shl", "shr", "pow"],
        ),
    ];
    for (i, (elements, ops)) in families.into_iter().enumerate() {
        for element in elements {
            // All ops of a family in one function: one compilation each.
            let ty = format!("tensor<24x{element}>");
            let (mut body, mut names) = (String::new(), vec![]);
            for op in ops {
                let operands = if i < 2 { "%a" } else { "%a, %b" };
                body += &format!("%{op} = graph.{op} {operands} : {ty}\n");
                names.push(format!("%{op}"));
            }
            let types = vec![ty.clone(); names.len()].join(", ");
            let text = format!("func.func @k(%a: {ty}, %b: {ty}) -> ({types}) {{\n{body} return {} : {types} }}", names.join(", "));
            // Every sign, zero, overflow and shift amounts beyond the width.
            let pattern =
                |values: &[i64], by: usize| Tensor::from_fn(*element, &[24], |i| Scalar::of(*element, values[i / by % values.len()]));
            let a = pattern(&[0, 1, -1, 7, -7, i64::MIN >> (64 - element.bits().max(2)), 100, 3], 3);
            let b = pattern(&[0, 2, -1], 1);
            let a = if element.is_float() { pattern(&[0, 1, -1, 7, -7, 4, 2, 3], 3) } else { a };
            checked(&text, &[a, b], &[]);
        }
    }
}

#[test]
fn integer_corner_cases_are_as_documented() {
    let text = "func.func @k(%a: tensor<4xi32>, %b: tensor<4xi32>) -> (tensor<4xi32>, tensor<4xi32>, tensor<4xi32>, tensor<4xi32>) {
        %d = graph.div %a, %b : tensor<4xi32>
        %r = graph.rem %a, %b : tensor<4xi32>
        %m = graph.mod %a, %b : tensor<4xi32>
        %p = graph.pow %a, %b : tensor<4xi32>
        return %d, %r, %m, %p : tensor<4xi32>, tensor<4xi32>, tensor<4xi32>, tensor<4xi32> }";
    let a = Tensor::new(&[4], &[-7i32, i32::MIN, -7, -1]);
    let b = Tensor::new(&[4], &[0i32, -1, 3, -3]);
    let r = checked(text, &[a, b], &[]);
    assert_eq!(r[0], Tensor::new(&[4], &[-1i32, i32::MIN, -2, 0]));
    assert_eq!(r[1], Tensor::new(&[4], &[-7i32, 0, -1, -1]));
    assert_eq!(r[2], Tensor::new(&[4], &[-7i32, 0, 2, -1]));
    assert_eq!(r[3], Tensor::new(&[4], &[1i32, 0, -343, -1]));
}

#[test]
fn comparisons_and_selects_store_bool() {
    let text = "func.func @k(%a: tensor<4xf32>, %b: tensor<4xf32>, %c: tensor<4xi1>) -> (tensor<4xi1>, tensor<4xf32>, tensor<4xi1>) {
        %lt = graph.lt %a, %b : tensor<4xf32>
        %s = graph.select %c, %a, %b : tensor<4xi1>, tensor<4xf32>
        %n = graph.is_nan %a : tensor<4xf32>
        %o = graph.or %n, %c : tensor<4xi1>
        return %lt, %s, %o : tensor<4xi1>, tensor<4xf32>, tensor<4xi1> }";
    let (a, b) = (Tensor::new(&[4], &[1f32, f32::NAN, 3.0, -0.0]), Tensor::new(&[4], &[2f32, 1.0, 3.0, 0.0]));
    let r = checked(text, &[a, b, Tensor::new(&[4], &[true, false, false, true])], &[]);
    assert_eq!(r[0], Tensor::new(&[4], &[true, false, false, false]));
    assert_eq!(r[1], Tensor::new(&[4], &[1f32, 1.0, 3.0, -0.0]));
    assert_eq!(r[2], Tensor::new(&[4], &[true, true, false, true]));
}

#[test]
fn conversions_saturate_round_and_wrap() {
    use ElementType::*;
    for from in [F32, F64, F16, BF16, I8, I32, I64, U8, U32, Bool] {
        let (mut body, mut names, mut types) = (String::new(), vec![], vec![]);
        for to in [F32, F64, F16, BF16, I8, I32, U8, U32, U64, I64, Bool] {
            body += &format!("%{to} = graph.convert %a : tensor<7x{from}> -> tensor<7x{to}>\n");
            names.push(format!("%{to}"));
            types.push(format!("tensor<7x{to}>"));
        }
        let types = types.join(", ");
        let text = format!("func.func @k(%a: tensor<7x{from}>) -> ({types}) {{\n{body} return {} : {types} }}", names.join(", "));
        let values = [0.0, 1.9, -1.9, 300.0, -300.0, 1e12, f64::NAN];
        let a =
            Tensor::from_fn(from, &[7], |i| if from.is_float() { Scalar::Float(values[i]) } else { Scalar::of(from, values[i] as i64) });
        checked(&text, &[a], &[]);
    }
    let text = "func.func @k(%a: tensor<3xi32>) -> tensor<3xui8> {
        %r = graph.convert %a saturate : tensor<3xi32> -> tensor<3xui8>
        return %r : tensor<3xui8> }";
    assert_eq!(checked(text, &[Tensor::new(&[3], &[-5i32, 300, 7])], &[])[0], Tensor::new(&[3], &[0u8, 255, 7]));
}

#[test]
fn views_and_movement_match_evaluation() {
    let cases: &[(&str, &[&[usize]])] = &[
        ("(%a: tensor<2x3xf32>) -> tensor<4x3x2xf32> { %t = graph.transpose %a permutation [1, 0] : tensor<2x3xf32>
          %r = graph.broadcast %t axes [1, 2] : tensor<3x2xf32> -> tensor<4x3x2xf32> return %r : tensor<4x3x2xf32> }", &[&[2, 3]]),
        ("(%a: tensor<1x3xf32>) -> tensor<2x3xf32> { %r = graph.broadcast %a axes [0, 1] : tensor<1x3xf32> -> tensor<2x3xf32>
          return %r : tensor<2x3xf32> }", &[&[1, 3]]),
        ("(%a: tensor<4x6xf32>) -> tensor<3x8xf32> { %e = graph.reshape %a : tensor<4x6xf32> -> tensor<3x8xf32>
          %r = graph.neg %e : tensor<3x8xf32> return %r : tensor<3x8xf32> }", &[&[4, 6]]),
        ("(%a: tensor<4x6xf32>) -> tensor<4x2x3xf32> { %e = graph.exp %a : tensor<4x6xf32>
          %v = graph.reshape %e : tensor<4x6xf32> -> tensor<4x2x3xf32> %r = graph.neg %v : tensor<4x2x3xf32> return %r : tensor<4x2x3xf32> }", &[&[4, 6]]),
        ("(%a: tensor<7x6xf32>) -> tensor<3x4xf32> { %r = graph.slice %a starts [1, -4] limits [7, 9] strides [2, 1] : tensor<7x6xf32>
          return %r : tensor<3x4xf32> }", &[&[7, 6]]),
        ("(%a: tensor<7x6xf32>) -> tensor<3x6xf32> { %r = graph.slice %a starts [0, 0] limits [3, 6] strides [1, 1] : tensor<7x6xf32>
          return %r : tensor<3x6xf32> }", &[&[7, 6]]),
        ("(%a: tensor<7x6xf32>) -> tensor<3x3xf32> { %r = graph.slice %a starts [0, 0] limits [3, 6] strides [1, 2] : tensor<7x6xf32>
          return %r : tensor<3x3xf32> }", &[&[7, 6]]),
        ("(%a: tensor<7x6xf32>) -> tensor<7x0xf32> { %r = graph.slice %a starts [0, 6] limits [7, 6] strides [1, 1] : tensor<7x6xf32>
          return %r : tensor<7x0xf32> }", &[&[7, 6]]),
        ("(%a: tensor<3x5xf32>) -> tensor<3x5xf32> { %r = graph.reverse %a axes [1] : tensor<3x5xf32> return %r : tensor<3x5xf32> }", &[&[3, 5]]),
        ("(%a: tensor<2x3xf32>, %b: tensor<2x4xf32>) -> tensor<2x10xf32> { %n = graph.neg %b : tensor<2x4xf32>
          %r = graph.concat %a, %n, %a axis 1 : tensor<2x3xf32>, tensor<2x4xf32>, tensor<2x3xf32> return %r : tensor<2x10xf32> }", &[&[2, 3], &[2, 4]]),
        ("(%a: tensor<4x6xf32>) -> tensor<3x8xf32> { %e = graph.neg %a : tensor<4x6xf32>
          %r = graph.reshape %e : tensor<4x6xf32> -> tensor<3x8xf32> return %r : tensor<3x8xf32> }", &[&[4, 6]]),
        ("(%a: tensor<2x3xf32>) -> (tensor<2x3xf32>, tensor<2x3xf32>) { return %a, %a : tensor<2x3xf32>, tensor<2x3xf32> }", &[&[2, 3]]),
        ("(%a: tensor<2x3xf32>, %v: tensor<f32>) -> tensor<5x4xf32> { %r = graph.pad %a, %v low [1, 0] high [2, 1] interior [0, 0]
          : tensor<2x3xf32>, tensor<f32> return %r : tensor<5x4xf32> }", &[&[2, 3], &[]]),
        ("(%a: tensor<4x3xf32>, %v: tensor<f32>) -> tensor<6x6xf32> { %r = graph.pad %a, %v low [-1, 1] high [0, 0] interior [1, 1]
          : tensor<4x3xf32>, tensor<f32> return %r : tensor<6x6xf32> }", &[&[4, 3], &[]]),
    ];
    for (text, shapes) in cases {
        let inputs: Vec<Tensor> = shapes.iter().map(|shape| ramp(ElementType::F32, shape)).collect();
        checked(&format!("func.func @k{text}"), &inputs, &[]);
    }
    let text = "func.func @k() -> (tensor<2x3xi64>, tensor<3xbf16>) { %r = graph.iota axis 1 : tensor<2x3xi64>
        %h = graph.iota axis 0 : tensor<3xbf16> return %r, %h : tensor<2x3xi64>, tensor<3xbf16> }";
    assert_eq!(checked(text, &[], &[])[0], Tensor::new(&[2, 3], &[0i64, 1, 2, 0, 1, 2]));
}

#[test]
fn symbolic_shapes_become_index_arguments() {
    let ty = "tensor<?x6xf32, affine_map<()[s0] -> (s0)>>";
    let half = "tensor<?x3xf32, affine_map<()[s0] -> (s0 * 2)>>";
    let joined = "tensor<?x3xf32, affine_map<()[s0, s1] -> (s0 * 2 + s1)>>";
    let other = "tensor<?x3xf32, affine_map<()[s0, s1] -> (s1)>>";
    let text = format!(
        "func.func @k(%a: {ty}, %b: {other}) -> ({joined}, tensor<i64>, {ty}) {{
        %r = graph.reshape %a : {ty} -> {half}
        %c = graph.concat %r, %b axis 0 : {half}, {other}
        %e = graph.exp %c : {joined}
        %d = graph.dim %e axis 0 : {joined}
        %s = graph.softmax %a axis 1 : {ty}
        return %e, %d, %s : {joined}, tensor<i64>, {ty} }}"
    );
    // The last row of the first input is at the end of an empty second one, too.
    for symbols in [[4, 5], [1, 0]] {
        let inputs = [ramp(ElementType::F32, &[symbols[0] as usize, 6]), ramp(ElementType::F32, &[symbols[1] as usize, 3])];
        let r = evaluate_and_compare(&text, &inputs, &symbols);
        assert_eq!(r[1], Tensor::scalar(ElementType::I64, Scalar::Signed(symbols[0] * 2 + symbols[1])));
    }
}

/// As `checked`, without the limits on allocation: row statistics of a symbolic number of rows are only bounded once tiled.
#[track_caller]
fn evaluate_and_compare(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Vec<Tensor> {
    let expected = jit::evaluate(text, inputs, symbols).unwrap_or_else(|message| panic!("{message}"));
    let found = jit::execute_unchecked(text, inputs, symbols).unwrap_or_else(|message| panic!("{message}"));
    for (expected, found) in expected.iter().zip(&found) {
        assert!(jit::distance(expected, found) <= 1.0, "expected {expected:?}\nfound {found:?}");
    }
    expected
}

#[test]
fn contractions_match_evaluation() {
    let text = "func.func @k(%a: tensor<2x3x4xf32>, %b: tensor<2x4x5xf32>, %c: tensor<5xf32>) -> tensor<2x3x5xf32> {
        %d = graph.dot_general %a, %b batch [0] x [0] contract [2] x [1] : tensor<2x3x4xf32>, tensor<2x4x5xf32>
        %e = graph.broadcast %c axes [2] : tensor<5xf32> -> tensor<2x3x5xf32>
        %s = graph.add %d, %e : tensor<2x3x5xf32>
        %r = graph.tanh %s : tensor<2x3x5xf32>
        return %r : tensor<2x3x5xf32> }";
    let f = |shape: &[usize]| ramp(ElementType::F32, shape);
    checked(text, &[f(&[2, 3, 4]), f(&[2, 4, 5]), f(&[5])], &[]);
    let context = context();
    let (linalg, _) = jit::lower_to_buffers(&context, text).unwrap();
    assert!(!linalg.contains("tensor.empty"), "the epilogue updates the sum in its destination: {linalg}");

    let ty = "tensor<?x4xf32, affine_map<()[s0] -> (s0)>>";
    let out = "tensor<?x3xf32, affine_map<()[s0] -> (s0)>>";
    let text = format!(
        "func.func @k(%a: {ty}, %b: tensor<4x3xf32>) -> {out} {{
        %d = graph.dot_general %a, %b batch [] x [] contract [1] x [0] : {ty}, tensor<4x3xf32>
        %r = graph.exp %d : {out}
        return %r : {out} }}"
    );
    let r = checked(&text, &[f(&[5, 4]), f(&[4, 3])], &[5]);
    let (a, b) = (f(&[5, 4]), f(&[4, 3]));
    let by_hand: f64 = (0..4).map(|k| a.at(&[2, k]).f64() * b.at(&[k, 1]).f64()).sum();
    assert!((r[0].at(&[2, 1]).f64() / by_hand.exp() - 1.0).abs() < 1e-5);

    let text = "func.func @k(%a: tensor<3x4xi8>, %b: tensor<4x2xui8>) -> tensor<3x2xi32> {
        %d = graph.dot_general %a, %b batch [] x [] contract [1] x [0] accumulate i32 : tensor<3x4xi8>, tensor<4x2xui8>
        return %d : tensor<3x2xi32> }";
    checked(text, &[ramp(ElementType::I8, &[3, 4]), ramp(ElementType::U8, &[4, 2])], &[]);
    let text = "func.func @k(%a: tensor<3x4xf16>, %b: tensor<4x2xf16>) -> tensor<3x2xf16> {
        %d = graph.dot_general %a, %b batch [] x [] contract [1] x [0] : tensor<3x4xf16>, tensor<4x2xf16>
        return %d : tensor<3x2xf16> }";
    checked(text, &[ramp(ElementType::F16, &[3, 4]), ramp(ElementType::F16, &[4, 2])], &[]);
}

#[test]
fn convolutions_match_evaluation() {
    let conv = |input: &[usize], filter: &[usize], rest: &str, result: &str| {
        let ty = |shape: &[usize]| shape.iter().map(|e| format!("{e}x")).collect::<String>() + "f32";
        let (a, b) = (ty(input), ty(filter));
        let text = format!(
            "func.func @k(%a: tensor<{a}>, %b: tensor<{b}>) -> tensor<{result}xf32> {{
            %r = graph.conv %a, %b {rest} : tensor<{a}>, tensor<{b}>
            return %r : tensor<{result}xf32> }}"
        );
        checked(&text, &[ramp(ElementType::F32, input), ramp(ElementType::F32, filter)], &[])
    };
    let dense = "strides [2, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 2] groups 1";
    conv(&[1, 2, 7, 6], &[3, 2, 3, 2], dense, "1x3x3x4");
    let padded = "strides [1, 2] low [1, 1] high [1, 0] dilation [1, 1] x [1, 1] groups 1";
    conv(&[2, 2, 5, 6], &[3, 2, 3, 3], padded, "2x3x5x3");
    let grouped = "strides [1, 1] low [1, 1] high [1, 1] dilation [1, 1] x [1, 1] groups 2";
    conv(&[1, 4, 4, 4], &[6, 2, 3, 3], grouped, "1x6x4x4");
    let depthwise = "strides [1, 1] low [0, 0] high [0, 0] dilation [1, 1] x [1, 1] groups 4";
    conv(&[1, 4, 5, 5], &[4, 1, 3, 3], depthwise, "1x4x3x3");
    let transposed = "strides [1, 1] low [2, 2] high [2, 2] dilation [2, 2] x [1, 1] groups 1 channels_last";
    conv(&[1, 4, 3, 2], &[3, 2, 4, 4], transposed, "1x8x6x3");
    let one_d = conv(&[1, 1, 4], &[1, 1, 2], "strides [1] low [1] high [0] dilation [1] x [1] groups 1", "1x1x4");
    let (x, w) = (ramp(ElementType::F32, &[4]), ramp(ElementType::F32, &[2]));
    let by_hand: Vec<f32> =
        (0..4).map(|i| (if i > 0 { x.get(i - 1).f64() * w.get(0).f64() } else { 0.0 } + x.get(i).f64() * w.get(1).f64()) as f32).collect();
    assert_eq!(f32s(&one_d[0]), by_hand);
}

#[test]
fn reductions_and_windows_match_evaluation() {
    let f = |shape: &[usize]| ramp(ElementType::F32, shape);
    for kind in ["add", "mul", "max", "min"] {
        let text = format!(
            "func.func @k(%a: tensor<3x4x5xf32>, %b: tensor<2x0xf32>, %c: tensor<3x4xbf16>, %d: tensor<6xui8>)
              -> (tensor<4xf32>, tensor<2xf32>, tensor<3xbf16>, tensor<ui8>) {{
            %r = graph.reduce {kind:?} %a axes [2, 0] : tensor<3x4x5xf32>
            %s = graph.reduce {kind:?} %b axes [1] : tensor<2x0xf32>
            %t = graph.reduce {kind:?} %c axes [1] : tensor<3x4xbf16>
            %u = graph.reduce {kind:?} %d axes [0] : tensor<6xui8>
            return %r, %s, %t, %u : tensor<4xf32>, tensor<2xf32>, tensor<3xbf16>, tensor<ui8> }}"
        );
        checked(&text, &[f(&[3, 4, 5]), f(&[2, 0]), ramp(ElementType::BF16, &[3, 4]), ramp(ElementType::U8, &[6])], &[]);
        let text = format!(
            "func.func @k(%a: tensor<1x2x6x7xf32>) -> (tensor<1x2x3x3xf32>, tensor<1x2x2x5xf32>) {{
            %r = graph.reduce_window {kind:?} %a window [1, 1, 3, 3] strides [1, 1, 2, 3] low [0, 0, 1, 1] high [0, 0, 1, 1] dilation [1, 1, 1, 1]
              : tensor<1x2x6x7xf32>
            %s = graph.reduce_window {kind:?} %a window [1, 1, 2, 3] strides [1, 1, 2, 1] low [0, 0, 0, 0] high [0, 0, 0, 0] dilation [1, 1, 3, 1]
              : tensor<1x2x6x7xf32>
            return %r, %s : tensor<1x2x3x3xf32>, tensor<1x2x2x5xf32> }}"
        );
        checked(&text, &[f(&[1, 2, 6, 7])], &[]);
    }
    let text = "func.func @k(%a: tensor<2x3xi1>) -> (tensor<2xi1>, tensor<3xi1>) {
        %r = graph.reduce \"and\" %a axes [1] : tensor<2x3xi1>
        %s = graph.reduce \"or\" %a axes [0] : tensor<2x3xi1>
        return %r, %s : tensor<2xi1>, tensor<3xi1> }";
    let r = checked(text, &[Tensor::new(&[2, 3], &[true, true, true, true, false, false])], &[]);
    assert_eq!(r[0], Tensor::new(&[2], &[true, false]));
}

#[test]
fn softmax_matches_evaluation_on_any_axis() {
    for (axis, element) in [(0, "f32"), (1, "f32"), (2, "f64"), (1, "f16")] {
        let text = format!(
            "func.func @k(%a: tensor<2x3x4x{element}>) -> tensor<2x3x4x{element}> {{
            %r = graph.softmax %a axis {axis} : tensor<2x3x4x{element}>
            return %r : tensor<2x3x4x{element}> }}"
        );
        let element = ElementType::ALL.into_iter().find(|e| e.name() == element).unwrap();
        checked(&text, &[ramp(element, &[2, 3, 4])], &[]);
    }
}

#[test]
fn control_flow_is_evaluated() {
    let text = "func.func @k(%n: tensor<i64>) -> (tensor<i64>, tensor<i64>) {
        %one = graph.constant dense<1> : tensor<i64>
        %zero = graph.constant dense<0> : tensor<i64>
        %i, %sum = graph.while %n, %zero : tensor<i64>, tensor<i64> while {
        ^bb0(%i: tensor<i64>, %sum: tensor<i64>):
          %more = graph.gt %i, %zero : tensor<i64>
          graph.yield %more : tensor<i1>
        } do {
        ^bb0(%i: tensor<i64>, %sum: tensor<i64>):
          %s = graph.add %sum, %i : tensor<i64>
          %next = graph.sub %i, %one : tensor<i64>
          graph.yield %next, %s : tensor<i64>, tensor<i64>
        } -> tensor<i64>, tensor<i64>
        %big = graph.gt %sum, %n : tensor<i64>
        %r = graph.if %big : tensor<i1> -> tensor<i64> { graph.yield %sum : tensor<i64> } else { graph.yield %n : tensor<i64> }
        return %r, %i : tensor<i64>, tensor<i64> }";
    let r = jit::evaluate(text, &[Tensor::scalar(ElementType::I64, Scalar::Signed(5))], &[]).unwrap();
    assert_eq!(r, [Tensor::scalar(ElementType::I64, Scalar::Signed(15)), Tensor::scalar(ElementType::I64, Scalar::Signed(0))]);
}

#[test]
fn random_graphs_compile_to_what_they_evaluate_to() {
    // Control flow is launched by the host and cannot stand in a kernel.
    let graphs = (0..).map(|seed| (seed, winze_graph::testing::random_graph(seed, 8)));
    let kernels = graphs.filter(|(_, graph)| !graph.text.contains("graph.if") && !graph.text.contains("graph.while"));
    for (seed, graph) in kernels.take(40) {
        let expected = jit::evaluate(&graph.text, &graph.inputs, &graph.symbols).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        let found = jit::execute_unchecked(&graph.text, &graph.inputs, &graph.symbols).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for (expected, found) in expected.iter().zip(&found) {
            let error = jit::distance(expected, found);
            assert!(error <= 4.0, "seed {seed}: {error} tolerances\n{}expected {expected:?}\nfound {found:?}", graph.text);
        }
    }
}

/// Two trees: one of a test and two leaves, one of a leaf alone. Node 4 names what is not there.
#[test]
fn trees_are_descended() {
    let text = "func.func @k(%x: tensor<3x2xf32>, %t: tensor<5xf32>, %n: tensor<5x4xi32>, %r: tensor<3xi32>) -> tensor<3x3xi32> {
        %0 = graph.tree_leaf %x, %t, %n, %r depth 3 : tensor<3x2xf32>, tensor<5xf32>, tensor<5x4xi32>, tensor<3xi32>
        return %0 : tensor<3x3xi32> }";
    let x = Tensor::new(&[3, 2], &[0f32, 1.0, 0.0, 1.5, 0.0, f32::NAN]);
    let thresholds = Tensor::new(&[5], &[0f32, 0.0, 0.0, 1.0, 0.5]);
    let leaf = [-1, 0, 0, 0];
    let nodes = Tensor::new(&[5, 4], &[leaf, leaf, leaf, [1, 0, 1, 2], [9, 7, -3, 1]].concat());
    let r = checked(text, &[x, thresholds, nodes, Tensor::new(&[3], &[3i32, 1, 4])], &[]);
    // The last root tests the last feature; what lies beyond the table is its last node, what lies before it the first.
    assert_eq!(r[0], Tensor::new(&[3, 3], &[0i32, 1, 0, 1, 1, 0, 2, 1, 1]));
}

#[test]
fn a_remainder_of_zero_has_the_sign_of_the_divisor() {
    let text = "func.func @k(%a: tensor<4xf32>, %b: tensor<4xf32>) -> tensor<4xf32> {
        %0 = graph.mod %a, %b : tensor<4xf32>
        return %0 : tensor<4xf32> }";
    let r = checked(text, &[Tensor::new(&[4], &[0f32, -0.0, 4.0, -4.0]), Tensor::new(&[4], &[-2f32, 2.0, -2.0, 2.0])], &[]);
    assert_eq!(f32s(&r[0]).iter().map(|x| x.is_sign_negative()).collect::<Vec<_>>(), [true, false, true, false]);
}

/// Equals keep their order, from either end and in every integer type.
#[test]
fn the_best_of_rows_are_found() {
    for element in [ElementType::I8, ElementType::U8, ElementType::I32, ElementType::I64, ElementType::U64] {
        let name = element.name();
        for (smallest, k) in ["", " smallest"].into_iter().flat_map(|smallest| [0, 1, 4, 8, 9].map(|k| (smallest, k))) {
            let text = format!(
                "func.func @k(%x: tensor<2x?x{name}, affine_map<()[s0] -> (s0)>>) -> tensor<2x{k}xi32> {{
                    %0 = graph.top_k %x{smallest} : tensor<2x?x{name}, affine_map<()[s0] -> (s0)>> -> tensor<2x{k}xi32>
                    return %0 : tensor<2x{k}xi32> }}"
            );
            let x = Tensor::from_fn(element, &[2, 9], |i| {
                Scalar::of(element, [3, -7, 3, 120, 0, -7, 5, 120, 1][i % 9] * (1 - 2 * (i as i64 / 9)))
            });
            let r = checked(&text, &[x], &[9]);
            if element == ElementType::I32 && k == 4 {
                let expected = if smallest.is_empty() { [3i32, 7, 6, 0, 1, 5, 4, 8] } else { [1, 5, 4, 8, 3, 7, 6, 0] };
                assert_eq!(r[0], Tensor::new(&[2, 4], &expected));
            }
        }
    }
}

#[test]
fn slices_of_empty_tensors_are_empty() {
    let text = "func.func @k(%x: tensor<4x0x3xf32>) -> tensor<1x0x3xf32> {
        %part = graph.slice %x starts [1, 0, 0] limits [2, 0, 3] strides [1, 1, 1] : tensor<4x0x3xf32>
        return %part : tensor<1x0x3xf32> }";
    let found = checked(text, &[ramp(ElementType::F32, &[4, 0, 3])], &[]);
    assert_eq!(found[0].shape, [1, 0, 3]);
}
