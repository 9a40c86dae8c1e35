//! Element types that the graph dialect lacks: reference evaluation of conversions against brute force, and what keeps or refuses them.

use super::*;
use crate::import::proto::StringStringEntryProto;
use winze_graph::{
    eval::{EvalContext, eval_function},
    tensor::{Scalar, Tensor},
    types::ElementType,
};
use winze_mlir::walk;

/// Of operator set 25, one node.
fn one(node: NodeProto, inputs: &[(i32, &[&str])], output: (i32, &[&str]), constants: Vec<TensorProto>) -> ModelProto {
    let inputs = inputs.iter().enumerate().map(|(i, (element, dims))| info(&format!("x{i}"), *element, dims)).collect();
    onnx::model_of(25, graph(vec![node], inputs, vec![info("y", output.0, output.1)], constants))
}

fn evaluate(model: &ModelProto, inputs: &[Tensor]) -> Tensor {
    let context = new_context();
    let imported = import(&context, model, &[]).unwrap_or_else(|error| panic!("{error}"));
    let weights = |id: &str| imported.store.tensor(id);
    let function = walk::operations(imported.module.body()).next().expect("a function");
    eval_function(&EvalContext { weights: &weights, ..EvalContext::new(&[]) }, function, inputs).unwrap().remove(0)
}

fn elements(tensor: &Tensor) -> Vec<f64> {
    let number = |element: Scalar| match element {
        Scalar::Float(x) => x,
        Scalar::Signed(x) => x as f64,
        Scalar::Unsigned(x) => x as f64,
        Scalar::Bool(x) => f64::from(x),
    };
    (0..tensor.count()).map(|i| number(tensor.get(i))).collect()
}

/// A float of few bits, as the MX specification and the papers on 8-bit floats tell it.
struct Format {
    number: i32,
    mantissa: i32,
    bias: i32,
    /// Codes of the sign, of what is above the finite numbers, and whether that is infinity at first.
    sign: u8,
    finite: u8,
    infinity: bool,
    /// The sign alone is NaN.
    unsigned_zero: bool,
}

const FORMATS: [Format; 7] = {
    const fn format(number: i32, [mantissa, bias]: [i32; 2], [sign, finite]: [u8; 2], infinity: bool, unsigned_zero: bool) -> Format {
        Format { number, mantissa, bias, sign, finite, infinity, unsigned_zero }
    }
    [
        format(data_type::FLOAT8E4M3FN, [3, 7], [0x80, 0x7e], false, false),
        format(data_type::FLOAT8E4M3FNUZ, [3, 8], [0x80, 0x7f], false, true),
        format(data_type::FLOAT8E5M2, [2, 15], [0x80, 0x7b], true, false),
        format(data_type::FLOAT8E5M2FNUZ, [2, 16], [0x80, 0x7f], false, true),
        format(data_type::FLOAT4E2M1, [1, 1], [0x8, 0x7], false, false),
        format(data_type::FLOAT6E2M3, [3, 1], [0x20, 0x1f], false, false),
        format(data_type::FLOAT6E3M2, [2, 3], [0x20, 0x1f], false, false),
    ]
};

impl Format {
    fn value(&self, code: u8) -> f64 {
        let magnitude = code & (self.sign - 1);
        let sign = if code & self.sign != 0 { -1.0 } else { 1.0 };
        if self.unsigned_zero && code == self.sign {
            return f64::NAN;
        }
        if magnitude > self.finite {
            return if self.infinity && magnitude == self.finite + 1 { sign * f64::INFINITY } else { f64::NAN };
        }
        let (exponent, fraction) = (i32::from(magnitude) >> self.mantissa, i32::from(magnitude) % (1 << self.mantissa));
        let steps = if exponent == 0 { fraction } else { fraction + (1 << self.mantissa) };
        sign * f64::from(steps) * f64::from(exponent.max(1) - self.bias - self.mantissa).exp2()
    }

    /// The nearest number's code; of two, the even one. Twice the step above the largest is where rounding ends.
    fn code(&self, x: f64, saturate: bool) -> Option<u8> {
        if x.is_nan() {
            return None;
        }
        let largest = self.value(self.finite);
        let step = largest - self.value(self.finite - 1);
        let magnitude = x.abs();
        let even = self.finite.is_multiple_of(2);
        let beyond = magnitude > largest + step / 2.0 || magnitude == largest + step / 2.0 && !even;
        let sign = if x.is_sign_negative() { self.sign } else { 0 };
        if beyond {
            let none = self.sign <= 0x20;
            return match saturate || none {
                true => Some(sign | self.finite),
                false if self.infinity => Some(sign | (self.finite + 1)),
                false => None,
            };
        }
        let distance = |code: &u8| (self.value(*code) - magnitude).abs();
        let nearest = (0..=self.finite).map(|code| distance(&code)).fold(f64::INFINITY, f64::min);
        let mut found = (0..=self.finite).filter(|code| distance(code) == nearest).collect::<Vec<_>>();
        found.sort_by_key(|code| code % 2);
        Some(if self.unsigned_zero && found[0] == 0 { 0 } else { sign | found[0] })
    }
}

#[test]
fn codes_of_floats_are_their_numbers() {
    for format in FORMATS {
        let codes: Vec<u8> = (0..=format.sign | (format.sign - 1)).collect();
        let dims = codes.len().to_string();
        let cast = node("Cast", &["x0"], &["y"], vec![int("to", i64::from(data_type::FLOAT))]);
        let model = one(cast, &[(format.number, &[&dims])], (data_type::FLOAT, &[&dims]), vec![]);
        let found = elements(&evaluate(&model, &[Tensor::new(&[codes.len()], &codes)]));
        for (code, found) in codes.iter().zip(found) {
            let expected = format.value(*code);
            let same = expected.is_nan() && found.is_nan() || expected.to_bits() == found.to_bits();
            assert!(same, "type {}, code {code:#x}: {found}, not {expected}", format.number);
        }
    }
}

#[test]
fn numbers_go_to_the_nearest_code() {
    for format in FORMATS {
        // All numbers, halfway between two, and a little beside; far outside.
        let mut numbers = vec![0.0f32, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
        for code in 0..=format.finite {
            let (low, high) = (format.value(code), if code == format.finite { f64::NAN } else { format.value(code + 1) });
            let high = if high.is_nan() { 2.0 * low - format.value(code - 1) } else { high };
            for exact in [low, f64::midpoint(low, high)] {
                let exact = exact as f32;
                numbers.extend([exact, exact.next_up(), exact.next_down()].iter().flat_map(|x| [*x, -*x]));
            }
        }
        let dims = numbers.len().to_string();
        for saturate in [true, false] {
            let to = vec![int("to", i64::from(format.number)), int("saturate", i64::from(saturate))];
            let cast = node("Cast", &["x0"], &["y"], to);
            let model = one(cast, &[(data_type::FLOAT, &[&dims])], (format.number, &[&dims]), vec![]);
            let found = evaluate(&model, &[Tensor::new(&[numbers.len()], &numbers)]);
            for (x, found) in numbers.iter().zip(elements(&found)) {
                let found = found as u8;
                // As in f32, a NaN that is made is a quiet one, with its highest bit alone.
                let quiet = 1 << (format.mantissa - 1);
                let nan = format.infinity && x.is_nan();
                assert!(!nan || found & (format.sign - 1) == format.finite + 1 + quiet, "type {}: {found:#x}", format.number);
                match format.code(f64::from(*x), saturate) {
                    Some(expected) => assert_eq!(found, expected, "type {}, saturate {saturate}: {x:e}", format.number),
                    // Types of less than 8 bits have no NaN.
                    None => assert!(format.sign < 0x80 || format.value(found).is_nan(), "type {}: {x} to {found:#x}", format.number),
                }
            }
        }
    }
}

#[test]
fn powers_of_two_are_rounded_as_told() {
    let cases: [(&str, bool, [u8; 9]); 5] = [
        ("up", true, [0, 127, 128, 128, 128, 129, 254, 254, 0]),
        ("down", true, [0, 127, 127, 127, 127, 128, 254, 254, 0]),
        ("nearest", true, [0, 127, 127, 128, 128, 128, 254, 254, 0]),
        ("up", false, [255, 127, 128, 128, 128, 129, 255, 255, 0]),
        ("nearest", false, [255, 127, 127, 128, 128, 128, 255, 255, 0]),
    ];
    let x = [0.0f32, 1.0, 1.0f32.next_up(), 1.5, 1.75, 2.5, f32::MAX, f32::INFINITY, 2.0f32.powi(-127)];
    let x = Tensor::new(&[9], &x);
    for (mode, saturate, expected) in cases {
        let attributes =
            vec![int("to", i64::from(data_type::FLOAT8E8M0)), string("round_mode", mode), int("saturate", i64::from(saturate))];
        let model = one(node("Cast", &["x0"], &["y"], attributes), &[(data_type::FLOAT, &["9"])], (data_type::FLOAT8E8M0, &["9"]), vec![]);
        assert_eq!(evaluate(&model, std::slice::from_ref(&x)), Tensor::new(&[9], &expected), "{mode}, saturate {saturate}");
    }
    let codes: Vec<u8> = (0..=255).collect();
    let cast = node("Cast", &["x0"], &["y"], vec![int("to", i64::from(data_type::FLOAT))]);
    let model = one(cast, &[(data_type::FLOAT8E8M0, &["256"])], (data_type::FLOAT, &["256"]), vec![]);
    let found = elements(&evaluate(&model, &[Tensor::new(&[256], &codes)]));
    assert!(found[255].is_nan() && (0..255).all(|i| found[i as usize] == f64::from(i - 127).exp2()), "{found:?}");
}

/// int4 and so on, as they stand in files: packed from the lowest bits on.
#[test]
fn packed_constants_are_unpacked() {
    let f32_of = |number: i32, dims: &[i64], bytes: Vec<u8>| {
        let count = dims.iter().product::<i64>().to_string();
        let nodes = vec![
            node("Flatten", &["w"], &["flat"], vec![int("axis", 0)]),
            node("Cast", &["flat"], &["y"], vec![int("to", i64::from(data_type::FLOAT))]),
        ];
        let weights = tensor("w", number, dims, bytes);
        onnx::model_of(25, graph(nodes, vec![], vec![info("y", data_type::FLOAT, &["1", &count])], vec![weights]))
    };
    let found = |number: i32, dims: &[i64], bytes: &[u8]| elements(&evaluate(&f32_of(number, dims, bytes.to_vec()), &[]));
    assert_eq!(found(data_type::INT4, &[3], &[0x7f, 0xf8]), [-1.0, 7.0, -8.0]);
    assert_eq!(found(data_type::UINT4, &[3, 1], &[0x7f, 0x08]), [15.0, 7.0, 8.0]);
    assert_eq!(found(data_type::INT2, &[5], &[0b_11_10_01_00, 0b10]), [0.0, 1.0, -2.0, -1.0, -2.0]);
    assert_eq!(found(data_type::UINT2, &[2, 2], &[0b_11_10_01_00]), [0.0, 1.0, 2.0, 3.0]);
    assert_eq!(found(data_type::FLOAT4E2M1, &[3], &[0xf1, 0x02]), [0.5, -6.0, 1.0]);
    // Codes 1, 63, 32 and 8, one behind the other.
    assert_eq!(found(data_type::FLOAT6E2M3, &[4], &[0b1100_0001, 0b0000_1111, 0b0010_0010]), [0.125, -7.5, -0.0, 1.0]);

    // A field of old files holds the same bytes, each as a number.
    let mut typed = f32_of(data_type::INT4, &[3], vec![]);
    let weights = &mut typed.graph.as_mut().unwrap().initializer[0];
    (weights.raw_data, weights.int32_data) = (None, vec![0x7f, 0xf8]);
    assert_eq!(elements(&evaluate(&typed, &[])), [-1.0, 7.0, -8.0]);

    let message = error(&f32_of(data_type::INT4, &[3], vec![0; 3]), &[]);
    assert!(message.contains("3 bytes of data, 2 are needed"), "{message}");
    let message = error(&f32_of(data_type::INT2, &[9], vec![0; 2]), &[]);
    assert!(message.contains("2 bytes of data, 3 are needed"), "{message}");
    typed.graph.as_mut().unwrap().initializer[0].int32_data.pop();
    let message = error(&typed, &[]);
    assert!(message.contains("int32_data has 1 elements, 2 are needed"), "{message}");
    let mut external = f32_of(data_type::INT4, &[300], vec![]);
    let weights = &mut external.graph.as_mut().unwrap().initializer[0];
    (weights.raw_data, weights.data_location) = (None, 1);
    weights.external_data = vec![StringStringEntryProto { key: "location".into(), value: "model.onnx".into() }];
    weights.external_data.push(StringStringEntryProto { key: "length".into(), value: "100".into() });
    let message = error(&external, &[]);
    assert!(message.contains("100 bytes of data, 150 are needed"), "{message}");
}

#[test]
fn integers_keep_their_lowest_bits() {
    let cast = |number: i32, x: &[f32]| {
        let dims = x.len().to_string();
        let node = node("Cast", &["x0"], &["y"], vec![int("to", i64::from(number))]);
        elements(&evaluate(&one(node, &[(data_type::FLOAT, &[&dims])], (number, &[&dims]), vec![]), &[Tensor::new(&[x.len()], x)]))
    };
    assert_eq!(cast(data_type::INT4, &[7.9, -8.9, 9.0, -9.0, 100.0]), [7.0, -8.0, -7.0, 7.0, 4.0]);
    assert_eq!(cast(data_type::UINT4, &[15.9, -1.0, 17.0]), [15.0, 15.0, 1.0]);
    assert_eq!(cast(data_type::INT2, &[1.0, 2.0, -3.0]), [1.0, -2.0, 1.0]);
    assert_eq!(cast(data_type::UINT2, &[3.0, 4.0, -1.0]), [3.0, 0.0, 3.0]);
}

#[test]
fn quantization_saturates_at_the_range_of_the_type() {
    let x = Tensor::new(&[2, 3], &[0.5f32, 1.5, 300.0, -1.0, 3.0, -50.0]);
    let quantize = |number: i32, zeros: Vec<u8>| {
        let constants = vec![floats("s", &[2], &[1.0, 2.0]), tensor("z", number, &[2], zeros)];
        let node = node("QuantizeLinear", &["x0", "s", "z"], &["y"], vec![int("axis", 0)]);
        elements(&evaluate(&one(node, &[(data_type::FLOAT, &["2", "3"])], (number, &["2", "3"]), constants), std::slice::from_ref(&x)))
    };
    // Zero points 1 and -2, and 1 and 14.
    assert_eq!(quantize(data_type::INT4, vec![0xe1]), [1.0, 3.0, 7.0, -2.0, 0.0, -8.0]);
    assert_eq!(quantize(data_type::UINT4, vec![0xe1]), [1.0, 3.0, 15.0, 14.0, 15.0, 0.0]);
    // 0.5, 1.5, 288, -0.5, 1.5 and -24.
    assert_eq!(quantize(data_type::FLOAT8E4M3FN, vec![0, 0]), [48.0, 60.0, 121.0, 176.0, 60.0, 220.0]);
}

/// 4-bit weights in blocks, as exports of language models have them, with zero points and scales that are powers of two.
#[test]
fn blocks_of_few_bits_are_dequantized() {
    let dequantize = |scales: TensorProto| {
        let constants = vec![
            tensor("w", data_type::INT4, &[3, 2], vec![0x21, 0x43, 0x87]),
            scales,
            tensor("z", data_type::INT4, &[2, 2], vec![0x11, 0xf0]),
        ];
        let nodes = vec![
            node("DequantizeLinear", &["w", "s", "z"], &["d"], vec![int("axis", 0), int("block_size", 2)]),
            node("MatMul", &["x0", "d"], &["y"], vec![]),
        ];
        let inputs = vec![info("x0", data_type::FLOAT, &["1", "3"])];
        onnx::model_of(25, graph(nodes, inputs, vec![info("y", data_type::FLOAT, &["1", "2"])], constants))
    };
    let x = Tensor::new(&[1, 3], &[1.0f32, 10.0, 100.0]);
    // [1 2; 3 4; 7 -8] less [1 1; 1 1; 0 -1], times [0.5 1; 0.5 1; 2 4].
    let expected = Tensor::new(&[1, 2], &[10.0f32 + 1400.0, 1.0 + 30.0 - 2800.0]);
    let inputs = std::slice::from_ref(&x);
    assert_eq!(evaluate(&dequantize(floats("s", &[2, 2], &[0.5, 1.0, 2.0, 4.0])), inputs), expected);
}

#[test]
fn moving_elements_keeps_their_type() {
    let e5m2 = data_type::FLOAT8E5M2;
    let nodes = vec![
        node("Transpose", &["x"], &["t"], vec![]),
        node("Concat", &["t", "t"], &["c"], vec![int("axis", 0)]),
        node("Gather", &["c", "i"], &["g"], vec![]),
        node("If", &["b"], &["j"], {
            let branch = |name: &str, node: NodeProto| body(name, graph(vec![node], vec![], vec![info("o", e5m2, &[])], vec![]));
            vec![
                branch("then_branch", node("Identity", &["g"], &["o"], vec![])),
                branch("else_branch", node("Cast", &["f"], &["o"], vec![int("to", i64::from(e5m2))])),
            ]
        }),
        node("Cast", &["j"], &["y"], vec![int("to", i64::from(data_type::FLOAT))]),
    ];
    let inputs = vec![info("x", e5m2, &["2", "1"]), info("b", data_type::BOOL, &[]), info("f", data_type::FLOAT, &["1", "2"])];
    let outputs = vec![info("y", data_type::FLOAT, &["1", "2"]), info("j", e5m2, &["1", "2"])];
    let model = onnx::model_of(25, graph(nodes, inputs, outputs, vec![longs("i", &[1])]));
    let x = Tensor::new(&[2, 1], &[0x3cu8, 0xc0]);
    let f = Tensor::new(&[1, 2], &[0.5f32, 3.0]);
    let taken = |b: bool| {
        let b = Tensor::scalar(ElementType::Bool, Scalar::Bool(b));
        elements(&evaluate(&model, &[x.clone(), b, f.clone()]))
    };
    assert_eq!(taken(true), [1.0, -2.0]);
    assert_eq!(taken(false), [0.5, 3.0]);
    let text = text(&model, &[], false);
    assert!(text.contains(r#"{graph.model_type = "float8e5m2", graph.name = "x"}"#), "{text}");
    assert!(text.contains(r#"{graph.model_type = "float8e5m2", graph.name = "j"}"#), "{text}");
}

#[test]
fn computing_with_elements_that_stand_for_others_is_refused() {
    let e4m3 = data_type::FLOAT8E4M3FN;
    let refused = |node: NodeProto, inputs: &[(i32, &[&str])], output: i32, expected: &str| {
        let message = error(&one(node, inputs, (output, &["2"]), vec![]), &[]);
        assert!(message.contains(expected), "{expected}: {message}");
    };
    let add = || node("Add", &["x0", "x1"], &["y"], vec![]);
    refused(add(), &[(e4m3, &["2"]), (e4m3, &["2"])], e4m3, "unsupported: Add at y_node: element type float8e4m3fn of input 0");
    refused(add(), &[(data_type::INT8, &["2"]), (data_type::INT4, &["2"])], data_type::INT8, "element type int4 of input 1");
    let concat = node("Concat", &["x0", "x1"], &["y"], vec![int("axis", 0)]);
    refused(concat, &[(data_type::INT4, &["1"]), (data_type::INT8, &["1"])], data_type::INT4, "int4 of input 0, and i8 of input 1");
    let gather = node("Gather", &["x0", "x1"], &["y"], vec![]);
    refused(gather, &[(data_type::FLOAT, &["3"]), (data_type::UINT4, &["2"])], data_type::FLOAT, "uint4 of input 1, and f32 of input 0");
    let identity = node("Identity", &["x0"], &["y"], vec![]);
    refused(identity, &[(data_type::INT4, &["2"])], data_type::INT8, "declared with element type i8, but is int4");
    let dequantize = node("DequantizeLinear", &["x0", "x1", "x2"], &["y"], vec![]);
    let types: [(i32, &[&str]); 3] = [(data_type::INT4, &["2"]), (data_type::FLOAT, &[]), (data_type::INT8, &[])];
    refused(dequantize, &types, data_type::FLOAT, "a tensor of int4 and a zero point of i8");
}
