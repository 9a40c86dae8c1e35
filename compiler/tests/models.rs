//! Small ONNX models with control flow or symbolic dims -> one artifact -> values computed here or by the reference evaluation.

#[allow(dead_code)]
mod pipeline;

use pipeline::onnx::{body, floats, graph, info, int, ints, longs, model, node, tensor, write};
use pipeline::{
    CPU, DESKTOP, MIN, compile_at_level, compile_model, difference, evaluate, expect_valid, has_vulkan, run, session, try_compile,
};
use winze_compiler::{
    context::new_context,
    import::{
        ImportOptions, import_onnx,
        proto::{GraphProto, NodeProto, TensorProto, data_type},
    },
};
use winze_graph::tensor::Tensor;

const TARGETS: [&str; 3] = [CPU, MIN, DESKTOP];

/// Runs every case on one session per device: 1 and 2 threads, and Vulkan with each profile.
fn check(test: &str, graph: GraphProto, cases: &[(Vec<Tensor>, Vec<Tensor>)], tolerance: f64) {
    let (_folder, model) = write(&model(graph));
    let all = compile_model(&model, &TARGETS, 2);
    let mut runs = vec![("cpu, 1 thread", all.clone(), Some(1)), ("cpu, 2 threads", all, Some(2))];
    if has_vulkan(test) {
        // One artifact per profile, since a device that suits both would never run the smaller.
        runs.extend([MIN, DESKTOP].map(|profile| (profile, compile_model(&model, &[profile], 2), None)));
    }
    for (device, artifact, threads) in runs {
        let mut session = session(&artifact, threads).unwrap_or_else(|e| panic!("{device}: {e}"));
        for (case, (inputs, expected)) in cases.iter().enumerate() {
            let actual = run(&mut session, inputs).unwrap_or_else(|e| panic!("{device}, case {case}: {e}"));
            if let Some(difference) = difference(&actual, expected, tolerance) {
                panic!("{device}, case {case}: {difference}");
            }
        }
    }
    expect_valid();
}

/// Values of both signs, the same on every run.
fn values(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// y = c ? -(x + x) : |x| * x, where only one branch uses an op of its own.
#[test]
fn if_takes_one_branch() {
    let output = |name: &str| vec![info(name, data_type::FLOAT, &["n", "3"])];
    let then = graph(vec![node("Add", &["x", "x"], &["d"], vec![]), node("Neg", &["d"], &["a"], vec![])], vec![], output("a"), vec![]);
    let r#else = graph(vec![node("Abs", &["x"], &["m"], vec![]), node("Mul", &["m", "x"], &["b"], vec![])], vec![], output("b"), vec![]);
    let graph = graph(
        vec![node("If", &["c"], &["y"], vec![body("then_branch", then), body("else_branch", r#else)])],
        vec![info("c", data_type::BOOL, &[]), info("x", data_type::FLOAT, &["n", "3"])],
        output("y"),
        vec![],
    );
    let mut cases = vec![];
    for (rows, taken) in [(2, true), (2, false), (5, true), (5, false)] {
        let x = values(rows * 3, 1);
        let y: Vec<f32> = x.iter().map(|x| if taken { -(x + x) } else { x.abs() * x }).collect();
        cases.push((vec![Tensor::new(&[], &[taken]), Tensor::new(&[rows, 3], &x)], vec![Tensor::new(&[rows, 3], &y)]));
    }
    check("if_takes_one_branch", graph, &cases, 0.0);
}

/// y = c ? |x| : x * x as matrices, which no matrix of 2 rows and 3 columns has: that branch fails when it is taken.
#[test]
fn a_branch_for_other_sizes_fails_when_it_is_taken() {
    let output = |name: &str| vec![info(name, data_type::FLOAT, &["2", "3"])];
    let then = graph(vec![node("Abs", &["x"], &["a"], vec![])], vec![], output("a"), vec![]);
    let r#else = graph(vec![node("MatMul", &["x", "x"], &["b"], vec![])], vec![], output("b"), vec![]);
    let (_folder, model) = write(&model(graph(
        vec![node("If", &["c"], &["y"], vec![body("then_branch", then), body("else_branch", r#else)])],
        vec![info("c", data_type::BOOL, &[]), info("x", data_type::FLOAT, &["2", "3"])],
        output("y"),
        vec![],
    )));
    let mut session = session(&compile_model(&model, &[CPU], 1), Some(1)).unwrap();
    let x = values(6, 1);
    let size: Vec<f32> = x.iter().map(|x| x.abs()).collect();
    let inputs = |taken: bool| vec![Tensor::new(&[], &[taken]), Tensor::new(&[2, 3], &x)];
    assert_eq!(difference(&run(&mut session, &inputs(true)).unwrap(), &[Tensor::new(&[2, 3], &size)], 0.0), None);
    let error = run(&mut session, &inputs(false)).unwrap_err();
    assert!(error.contains("node `y_node` chose a branch that does not fit these sizes"), "{error}");
    assert!(error.contains("b_node"), "{error}");
}

/// Doubles x until its sum reaches the limit; how often depends on the values.
#[test]
fn loop_ends_when_the_data_says_so() {
    let iteration = graph(
        vec![
            node("Add", &["v", "v"], &["w"], vec![]),
            node("ReduceSum", &["w"], &["sum"], vec![int("keepdims", 0)]),
            node("Less", &["sum", "limit"], &["on"], vec![]),
        ],
        vec![info("i", data_type::INT64, &[]), info("go", data_type::BOOL, &[]), info("v", data_type::FLOAT, &["3"])],
        vec![info("on", data_type::BOOL, &[]), info("w", data_type::FLOAT, &["3"])],
        vec![],
    );
    let graph = graph(
        vec![node("Loop", &["trips", "start", "x"], &["y"], vec![body("body", iteration)])],
        vec![
            info("trips", data_type::INT64, &[]),
            info("start", data_type::BOOL, &[]),
            info("x", data_type::FLOAT, &["3"]),
            info("limit", data_type::FLOAT, &[]),
        ],
        vec![info("y", data_type::FLOAT, &["3"])],
        vec![],
    );
    let mut cases = vec![];
    for (trips, start, limit) in [(100i64, true, 50.0f32), (100, true, 5.0), (2, true, 50.0), (100, false, 50.0), (0, true, 50.0)] {
        let x = [0.25f32, 0.5, 1.0];
        let (mut y, mut on, mut i) = (x, start, 0);
        while on && i < trips {
            y = y.map(|v| v + v);
            on = y.iter().sum::<f32>() < limit;
            i += 1;
        }
        let inputs = vec![Tensor::new(&[], &[trips]), Tensor::new(&[], &[start]), Tensor::new(&[3], &x), Tensor::new(&[], &[limit])];
        cases.push((inputs, vec![Tensor::new(&[3], &y)]));
    }
    check("loop_ends_when_the_data_says_so", graph, &cases, 0.0);
}

fn convnet() -> GraphProto {
    graph(
        vec![
            node("Conv", &["x", "filter", "filter_bias"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
            node("PRelu", &["c", "slope"], &["p"], vec![]),
            node("MaxPool", &["p"], &["m"], vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])]),
            node("Flatten", &["m"], &["f"], vec![]),
            node("Gemm", &["f", "weight", "bias"], &["g"], vec![]),
            node("Softmax", &["g"], &["y"], vec![]),
        ],
        vec![info("x", data_type::FLOAT, &["batch", "2", "6", "8"])],
        vec![info("y", data_type::FLOAT, &["batch", "5"])],
        vec![
            floats("filter", &[4, 2, 3, 3], &values(72, 2)),
            floats("filter_bias", &[4], &values(4, 3)),
            floats("slope", &[4, 1, 1], &values(4, 4)),
            floats("weight", &[48, 5], &values(240, 5)),
            floats("bias", &[5], &values(5, 6)),
        ],
    )
}

/// What the imported model evaluates to, its weights being constants.
fn reference(graph: GraphProto, inputs: &[Tensor], symbols: &[i64]) -> Vec<Tensor> {
    let (_folder, model) = write(&model(graph));
    let context = new_context();
    let imported = import_onnx(&context, &model, &ImportOptions::default()).unwrap_or_else(|e| panic!("{e}"));
    evaluate(&imported.module, &imported.store, inputs, symbols).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn one_artifact_serves_every_batch() {
    let cases: Vec<_> = [1usize, 3, 8]
        .into_iter()
        .map(|batch| {
            let inputs = vec![Tensor::new(&[batch, 2, 6, 8], &values(batch * 96, batch as u64))];
            let expected = reference(convnet(), &inputs, &[batch as i64]);
            assert_eq!(expected[0].shape, [batch, 5]);
            (inputs, expected)
        })
        .collect();
    check("one_artifact_serves_every_batch", convnet(), &cases, 1e-5);
}

/// Lower levels leave more instructions in the kernels, and change no value beyond rounding.
#[test]
fn optimization_levels_agree() {
    let inputs = vec![Tensor::new(&[3, 2, 6, 8], &values(288, 1))];
    let expected = reference(convnet(), &inputs, &[3]);
    let (_folder, model) = write(&model(convnet()));
    let mut sizes = vec![];
    for level in 0..=3 {
        let artifact = compile_at_level(&model, level);
        let actual = session(&artifact, Some(1)).and_then(|mut session| run(&mut session, &inputs));
        let actual = actual.unwrap_or_else(|e| panic!("level {level}: {e}"));
        if let Some(difference) = difference(&actual, &expected, 1e-5) {
            panic!("level {level}: {difference}");
        }
        sizes.push(artifact.len());
    }
    assert!(sizes[0] > sizes[3], "{sizes:?}");
}

/// Groups that fill panels, groups that are merged to do so, and groups that cannot.
#[test]
fn grouped_convolutions() {
    let convolutions = || {
        let conv = |input: &str, filter: &str, output: &str, groups| {
            let attributes = vec![ints("pads", &[1, 1, 1, 1]), int("group", groups)];
            node("Conv", &[input, filter], &[output], attributes)
        };
        graph(
            vec![conv("x", "a", "u", 2), conv("u", "b", "v", 8), conv("v", "c", "y", 4)],
            vec![info("x", data_type::FLOAT, &["batch", "6", "7", "9"])],
            vec![info("y", data_type::FLOAT, &["batch", "12", "7", "9"])],
            vec![
                floats("a", &[32, 3, 3, 3], &values(864, 7)),
                floats("b", &[32, 4, 3, 3], &values(1152, 8)),
                floats("c", &[12, 8, 3, 3], &values(864, 9)),
            ],
        )
    };
    let inputs = vec![Tensor::new(&[2, 6, 7, 9], &values(756, 10))];
    let expected = reference(convolutions(), &inputs, &[2]);
    // Values are up to 30.
    check("grouped_convolutions", convolutions(), &[(inputs, expected)], 1e-4);
}

/// Along each axis, forwards and backwards, with and without the element itself.
#[test]
fn running_sums_and_products() {
    let sums = || {
        let (mut nodes, mut outputs, mut axes) = (vec![], vec![], vec![]);
        for axis in 0..3 {
            axes.push(longs(&format!("a{axis}"), &[axis]));
            for (exclusive, reverse) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for op in ["CumSum", "CumProd"] {
                    let name = format!("{op}{axis}{exclusive}{reverse}");
                    let attributes = vec![int("exclusive", exclusive), int("reverse", reverse)];
                    nodes.push(node(op, &["x", &format!("a{axis}")], &[&name], attributes));
                    outputs.push(info(&name, data_type::FLOAT, &["rows", "columns", "5"]));
                }
            }
        }
        graph(nodes, vec![info("x", data_type::FLOAT, &["rows", "columns", "5"])], outputs, axes)
    };
    let cases = [[3, 4], [1, 70], [2, 0]].map(|[rows, columns]: [usize; 2]| {
        let inputs = vec![Tensor::new(&[rows, columns, 5], &values(rows * columns * 5, 11))];
        let expected = reference(sums(), &inputs, &[rows as i64, columns as i64]);
        (inputs, expected)
    });
    check("running_sums", sums(), &cases, 1e-5);
}

fn bytes(name: &str, r#type: i32, dims: &[i64], seed: u64) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    let raw: Vec<u8> = values(count, seed).iter().map(|x| (x * 128.0).floor() as i8 as u8).collect();
    tensor(name, r#type, dims, raw)
}

fn byte_input(shape: &[usize], seed: u64, signed: bool) -> Tensor {
    let all = values(shape.iter().product(), seed).into_iter().map(|x| (x * 128.0).floor());
    if signed {
        Tensor::new(shape, &all.map(|x| x as i8).collect::<Vec<_>>())
    } else {
        Tensor::new(shape, &all.map(|x| (x + 128.0) as u8).collect::<Vec<_>>())
    }
}

/// Products and convolutions of 8-bit integers: bytes in fours where the weights are constant, with depths that are no multiple of four, on every kind of
/// instructions; floats where that is exact.
#[test]
fn integer_products_are_exact() {
    let products = || {
        graph(
            vec![
                node("MatMulInteger", &["a", "signed", "za", "zb"], &["p"], vec![]),
                node("MatMulInteger", &["b", "unsigned", "", "z"], &["q"], vec![]),
                node("MatMulInteger", &["b", "columns", "zs"], &["r"], vec![]),
                node("MatMulInteger", &["a", "c", "za"], &["s"], vec![]),
                node("ConvInteger", &["x", "wide", "za", "zs"], &["t"], vec![ints("pads", &[1, 0, 1, 2]), ints("strides", &[1, 2])]),
                node("ConvInteger", &["x", "single", "za"], &["u"], vec![ints("pads", &[1, 1, 1, 1])]),
            ],
            vec![
                info("a", data_type::UINT8, &["batch", "71"]),
                info("b", data_type::INT8, &["batch", "2", "40"]),
                info("c", data_type::INT8, &["71", "9"]),
                info("x", data_type::UINT8, &["batch", "33", "6", "8"]),
            ],
            vec![
                info("p", data_type::INT32, &["batch", "37"]),
                info("q", data_type::INT32, &["batch", "2", "70"]),
                info("r", data_type::INT32, &["batch", "2", "33"]),
                info("s", data_type::INT32, &["batch", "9"]),
                info("t", data_type::INT32, &["batch", "20", "6", "4"]),
                info("u", data_type::INT32, &["batch", "16", "6", "8"]),
            ],
            vec![
                bytes("signed", data_type::INT8, &[71, 37], 1),
                bytes("unsigned", data_type::UINT8, &[40, 70], 2),
                bytes("columns", data_type::INT8, &[40, 33], 3),
                bytes("wide", data_type::INT8, &[20, 33, 3, 3], 4),
                bytes("single", data_type::INT8, &[16, 33, 1, 1], 5),
                bytes("za", data_type::UINT8, &[], 6),
                bytes("zs", data_type::INT8, &[], 7),
                bytes("z", data_type::UINT8, &[], 8),
                bytes("zb", data_type::INT8, &[37], 9),
            ],
        )
    };
    let cases: Vec<_> = [1usize, 3, 21]
        .into_iter()
        .map(|batch| {
            let (a, b) = (byte_input(&[batch, 71], 10, false), byte_input(&[batch, 2, 40], 11, true));
            let inputs = vec![a, b, byte_input(&[71, 9], 12, true), byte_input(&[batch, 33, 6, 8], 13, false)];
            let expected = reference(products(), &inputs, &[batch as i64]);
            (inputs, expected)
        })
        .collect();
    check("integer_products_are_exact", products(), &cases, 0.0);
    let (_folder, model) = write(&model(products()));
    for target in ["cpu=native", "cpu=x86-64-v4"] {
        // Not every machine has the instructions.
        let Ok(mut session) = session(&compile_model(&model, &[target], 2), Some(1)) else { continue };
        for (inputs, expected) in &cases {
            let actual = run(&mut session, inputs).unwrap_or_else(|e| panic!("{target}: {e}"));
            if let Some(difference) = difference(&actual, expected, 0.0) {
                panic!("{target}: {difference}");
            }
        }
    }
}

/// Products and convolutions between DequantizeLinear and QuantizeLinear are QLinearMatMul and QLinearConv to the bit: with biases in i32 and in float, a
/// Relu in front of the quantization, scales per channel, and both sides known at run time only.
#[test]
fn dequantized_products_are_integer_ones() {
    let scalar = |name: &str, value: f32| floats(name, &[], &[value]);
    let zero = |name: &str, r#type: i32, value: i8| TensorProto {
        name: name.into(),
        data_type: r#type,
        raw_data: Some(vec![value as u8].into()),
        ..Default::default()
    };
    let bias = |unit: f32| values(20, 31).iter().map(|x| (x * 3000.0).round() * unit).collect::<Vec<f32>>();
    let constants = || {
        vec![
            scalar("sx", 0.0235),
            zero("zx", data_type::UINT8, 117),
            scalar("sw", 0.0072),
            zero("zw", data_type::INT8, -9),
            scalar("sy", 0.91),
            zero("zy", data_type::UINT8, 101),
            scalar("st", 0.031),
            zero("zt", data_type::INT8, 12),
            floats("sf", &[20], &values(20, 32).iter().map(|x| 0.004 + 0.003 * x).collect::<Vec<_>>()),
            TensorProto {
                name: "zf".into(),
                dims: vec![20],
                data_type: data_type::INT8,
                raw_data: Some(vec![0; 20].into()),
                ..Default::default()
            },
            bytes("w", data_type::INT8, &[300, 40], 33),
            bytes("f", data_type::INT8, &[20, 33, 3, 3], 34),
            bytes("d", data_type::INT8, &[16, 1, 3, 3], 35),
        ]
    };
    let inputs = || {
        vec![
            info("a", data_type::UINT8, &["batch", "300"]),
            info("b", data_type::INT8, &["batch", "40", "6"]),
            info("c", data_type::UINT8, &["batch", "5", "40"]),
            info("x", data_type::UINT8, &["batch", "33", "6", "8"]),
            info("z", data_type::UINT8, &["batch", "16", "6", "8"]),
        ]
    };
    let outputs = || {
        vec![
            info("p", data_type::UINT8, &["batch", "40"]),
            info("q", data_type::UINT8, &["batch", "5", "6"]),
            info("r", data_type::UINT8, &["batch", "20", "6", "8"]),
            info("t", data_type::UINT8, &["batch", "16", "6", "8"]),
        ]
    };
    let pads = || vec![ints("pads", &[1, 1, 1, 1])];
    let group = |n| int("group", n);
    let along = |n| int("axis", n);
    let dequantized = || {
        let dequantize = |of: &str, scale: &str, zero: &str| node("DequantizeLinear", &[of, scale, zero], &[&format!("{of}_real")], vec![]);
        let quantize = |of: &str, to: &str| node("QuantizeLinear", &[of, "sy", "zy"], &[to], vec![]);
        let nodes = vec![
            dequantize("a", "sx", "zx"),
            dequantize("b", "st", "zt"),
            dequantize("c", "sx", "zx"),
            dequantize("x", "sx", "zx"),
            dequantize("z", "sx", "zx"),
            dequantize("w", "sw", "zw"),
            node("DequantizeLinear", &["f", "sf", "zf"], &["f_real"], vec![along(0)]),
            dequantize("d", "sw", "zw"),
            node("MatMul", &["a_real", "w_real"], &["p_real"], vec![]),
            quantize("p_real", "p"),
            node("MatMul", &["c_real", "b_real"], &["q_real"], vec![]),
            quantize("q_real", "q"),
            node("Conv", &["x_real", "f_real", "bias"], &["r_sum"], pads()),
            node("Relu", &["r_sum"], &["r_real"], vec![]),
            quantize("r_real", "r"),
            node("Conv", &["z_real", "d_real"], &["t_real"], [pads(), vec![group(16)]].concat()),
            quantize("t_real", "t"),
        ];
        // In float, as some tools leave it: rounded to the scale of the sums.
        let scales = values(20, 32).iter().map(|x| 0.0235 * (0.004 + 0.003 * x)).collect::<Vec<f32>>();
        let real = bias(1.0).iter().zip(&scales).map(|(b, s)| b * s).collect::<Vec<_>>();
        graph(nodes, inputs(), outputs(), [constants(), vec![floats("bias", &[20], &real)]].concat())
    };
    let integers = || {
        let raw: Vec<u8> = bias(1.0).iter().flat_map(|x| (*x as i32).to_le_bytes()).collect();
        let bias = TensorProto {
            name: "bias".into(),
            dims: vec![20],
            data_type: data_type::INT32,
            raw_data: Some(raw.into()),
            ..Default::default()
        };
        let nodes = vec![
            node("QLinearMatMul", &["a", "sx", "zx", "w", "sw", "zw", "sy", "zy"], &["p"], vec![]),
            node("QLinearMatMul", &["c", "sx", "zx", "b", "st", "zt", "sy", "zy"], &["q"], vec![]),
            node("QLinearConv", &["x", "sx", "zx", "f", "sf", "zf", "sy", "zy", "bias"], &["r_any"], pads()),
            node("Max", &["r_any", "zy"], &["r"], vec![]),
            node("QLinearConv", &["z", "sx", "zx", "d", "sw", "zw", "sy", "zy"], &["t"], [pads(), vec![group(16)]].concat()),
        ];
        graph(nodes, inputs(), outputs(), [constants(), vec![bias]].concat())
    };
    let cases: Vec<_> = [1usize, 3]
        .into_iter()
        .map(|batch| {
            let unsigned = |shape: &[usize], seed| byte_input(shape, seed, false);
            let inputs = vec![
                unsigned(&[batch, 300], 41),
                byte_input(&[batch, 40, 6], 42, true),
                unsigned(&[batch, 5, 40], 43),
                unsigned(&[batch, 33, 6, 8], 44),
                unsigned(&[batch, 16, 6, 8], 45),
            ];
            let expected = reference(integers(), &inputs, &[batch as i64]);
            (inputs, expected)
        })
        .collect();
    check("integer_ones_are_integer_ones", integers(), &cases, 0.0);
    check("dequantized_products_are_integer_ones", dequantized(), &cases, 0.0);
}

/// softmax(q x k^T) x v, where both sides of the products are known at run time only and no size is.
#[test]
fn attention_of_unknown_lengths() {
    let attention = || {
        graph(
            vec![
                node("Transpose", &["k"], &["kt"], vec![ints("perm", &[0, 2, 1])]),
                node("MatMul", &["q", "kt"], &["scores"], vec![]),
                node("Softmax", &["scores"], &["p"], vec![]),
                node("MatMul", &["p", "v"], &["y"], vec![]),
            ],
            vec![
                info("q", data_type::FLOAT, &["batch", "s", "9"]),
                info("k", data_type::FLOAT, &["batch", "t", "9"]),
                info("v", data_type::FLOAT, &["batch", "t", "37"]),
            ],
            vec![info("y", data_type::FLOAT, &["batch", "s", "37"])],
            vec![],
        )
    };
    let cases: Vec<_> = [(1usize, 1usize, 1usize), (2, 5, 33), (3, 21, 70), (1, 300, 40)]
        .into_iter()
        .map(|(batch, s, t)| {
            let input = |shape: [usize; 3], seed| Tensor::new(&shape, &values(shape.iter().product(), seed));
            let inputs = vec![input([batch, s, 9], 1), input([batch, t, 9], 2), input([batch, t, 37], 3)];
            let expected = reference(attention(), &inputs, &[batch as i64, s as i64, t as i64]);
            (inputs, expected)
        })
        .collect();
    check("attention_of_unknown_lengths", attention(), &cases, 1e-5);
}

/// On the CPU; elsewhere the nearest element is taken, and updates are left out.
#[test]
fn an_index_out_of_range_ends_the_run_and_names_the_node() {
    let gather = node("Gather", &["x", "i"], &["y"], vec![]);
    let scatter = node("ScatterElements", &["x", "i", "x"], &["y"], vec![]);
    for (op, of_indices) in [(gather, &["2"][..]), (scatter, &["2", "3"])] {
        let graph = graph(
            vec![op],
            vec![info("x", data_type::FLOAT, &["2", "3"]), info("i", data_type::INT64, of_indices)],
            vec![info("y", data_type::FLOAT, &["2", "3"])],
            vec![],
        );
        let (_folder, model) = write(&model(graph));
        let artifact = compile_model(&model, &[CPU], 1);
        let x = Tensor::new(&[2, 3], &values(6, 1));
        let shape: Vec<usize> = of_indices.iter().map(|extent| extent.parse().unwrap()).collect();
        let indices = |last: i64| {
            let mut all = vec![-2; shape.iter().product()];
            *all.last_mut().unwrap() = last;
            vec![x.clone(), Tensor::new(&shape, &all)]
        };
        for threads in [1, 2] {
            let mut session = session(&artifact, Some(threads)).unwrap();
            for outside in [2, -3, i64::MAX, i64::MIN] {
                let error = run(&mut session, &indices(outside)).unwrap_err();
                assert!(error.contains("at y_node; check that the values of index inputs are in range"), "{outside}: {error}");
            }
            run(&mut session, &indices(1)).unwrap();
        }
    }
}

/// Planes that become one number, of extents that only a run knows: more elements than one invocation on a Vulkan device may read, and none.
#[test]
fn reductions_of_large_planes() {
    let smallest = graph(
        vec![node("ReduceMin", &["x", "axes"], &["y"], vec![int("keepdims", 0)])],
        vec![info("x", data_type::FLOAT, &["2", "h", "w"])],
        vec![info("y", data_type::FLOAT, &["2"])],
        vec![longs("axes", &[1, 2])],
    );
    let cases: Vec<_> = [(300, 301), (1, 7), (0, 5), (3, 0)]
        .into_iter()
        .map(|(h, w)| {
            let mut x = values(2 * h * w, 1);
            if let Some(last) = x.last_mut() {
                *last = -9.0;
            }
            let plane = |p: usize| x[p * h * w..(p + 1) * h * w].iter().copied().fold(f32::INFINITY, f32::min);
            (vec![Tensor::new(&[2, h, w], &x)], vec![Tensor::new(&[2], &[plane(0), plane(1)])])
        })
        .collect();
    check("reductions_of_large_planes", smallest, &cases, 0.0);
}

/// Results of which no kernel computes an element: a constant of a type that a Vulkan profile cannot store, and an empty tensor.
#[test]
fn results_without_kernels() {
    let halves = tensor("c", data_type::DOUBLE, &[2], [0.5f64, 1.5].iter().flat_map(|x| x.to_le_bytes()).collect());
    let folded = graph(vec![node("Add", &["c", "c"], &["y"], vec![])], vec![], vec![info("y", data_type::DOUBLE, &["2"])], vec![halves]);
    let (folder, path) = write(&model(folded));
    let error = try_compile(&path, &[MIN], 1, &folder.path().join("model.wz")).unwrap_err();
    assert!(error.starts_with("unsupported: constant at y: element type f64: profile vulkan1.1-min has no storage"), "{error}");

    let empty = ["3", "0", "5"];
    let triangle = graph(
        vec![node("Trilu", &["x"], &["y"], vec![])],
        vec![info("x", data_type::INT64, &empty)],
        vec![info("y", data_type::INT64, &empty)],
        vec![],
    );
    let artifact = compile_model(&write(&model(triangle)).1, &[MIN], 1);
    if has_vulkan("results_without_kernels") {
        let x = Tensor::new::<i64>(&[3, 0, 5], &[]);
        assert_eq!(run(&mut session(&artifact, None).unwrap(), std::slice::from_ref(&x)).unwrap(), [x]);
    }
}

/// What a Vulkan profile lacks is said for the nodes that need it.
#[test]
fn what_a_profile_lacks_names_the_nodes() {
    let half = graph(
        vec![node("Add", &["x", "x"], &["a"], vec![]), node("Softmax", &["a"], &["y"], vec![])],
        vec![info("x", data_type::DOUBLE, &["4", "3"])],
        vec![info("y", data_type::DOUBLE, &["4", "3"])],
        vec![],
    );
    let (folder, model) = write(&model(half));
    let error = try_compile(&model, &[MIN], 1, &folder.path().join("model.wz")).unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    let why = "element type f64: profile vulkan1.1-min has no storage for it";
    assert!(lines[0].starts_with(&format!("unsupported: add at a_node: {why}")), "{error}");
    assert!(lines[1].starts_with(&format!("unsupported: softmax at y_node: {why}")), "{error}");
}

/// y = x + first half of z: the extents are equal in some runs only, and the message names both nodes and both values.
#[test]
fn extents_that_must_be_equal_are_compared_in_the_run() {
    let halves = || {
        graph(
            vec![
                NodeProto { output: vec!["h".into(), "rest".into()], ..node("Split", &["z"], &["h"], vec![]) },
                node("Relu", &["h"], &["r"], vec![]),
                node("Add", &["x", "r"], &["y"], vec![]),
            ],
            vec![info("x", data_type::FLOAT, &["n"]), info("z", data_type::FLOAT, &["k"])],
            vec![info("y", data_type::FLOAT, &["n"])],
            vec![],
        )
    };
    let (x, z) = (values(3, 1), values(6, 2));
    let y: Vec<f32> = x.iter().zip(&z).map(|(x, z)| x + z.max(0.0)).collect();
    let cases = [(vec![Tensor::new(&[3], &x), Tensor::new(&[6], &z)], vec![Tensor::new(&[3], &y)])];
    check("extents_that_must_be_equal_are_compared_in_the_run", halves(), &cases, 0.0);
    let (_folder, model) = write(&model(halves()));
    let mut session = session(&compile_model(&model, &[CPU], 1), Some(1)).unwrap();
    let error = run(&mut session, &[Tensor::new(&[2], &x[..2]), Tensor::new(&[6], &z)]).unwrap_err().to_string();
    assert_eq!(
        error,
        "run: Add at y_node needs the extents of `r_node` and `x` to be equal; if one is 1, fix it with --dim; \
         (1 + k) floordiv 2 = 3 and n = 2 differ for n = 2, k = 6"
    );
}

#[test]
fn artifacts_are_reproducible() {
    let (_folder, model) = write(&model(convnet()));
    let first = compile_model(&model, &TARGETS, 1);
    assert!(compile_model(&model, &TARGETS, 1) == first, "a second run gave other bytes");
    assert!(compile_model(&model, &TARGETS, 2) == first, "two jobs gave other bytes than one");
}
