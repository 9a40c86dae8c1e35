//! Operators of ONNX Runtime (`com.microsoft`) -> the same bits as the standard operators that say what they compute.
//!
//! Where ONNX Runtime rounds, the standard operators round too, so that nothing may differ.

#[allow(dead_code)]
mod pipeline;

use pipeline::{
    CPU, compile_model, difference,
    onnx::{float, floats, graph, info, int, ints, longs, model, model_of, node, string, tensor, write},
    run, session,
};
use winze_compiler::import::proto::{AttributeProto, NodeProto, TensorProto, data_type};
use winze_graph::tensor::Tensor;

fn contrib(op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) -> NodeProto {
    NodeProto { domain: "com.microsoft".into(), ..node(op, inputs, outputs, attributes) }
}

fn real(name: &str, dims: &[i64], seed: usize) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    floats(name, dims, &(0..count).map(|i| ((i * 37 + seed * 101) % 199) as f32 / 99.0 - 1.0).collect::<Vec<_>>())
}

fn bytes(name: &str, dims: &[i64], seed: usize) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    tensor(name, data_type::UINT8, dims, (0..count).map(|i| ((i * 89 + seed * 53) % 251) as u8).collect())
}

fn byte(name: &str, value: u8) -> TensorProto {
    tensor(name, data_type::UINT8, &[], vec![value])
}

/// Compares output `y` of the operator with what the other nodes make; the input is `x`, `[rows, 6]`.
fn check(operator: NodeProto, written_out: Vec<NodeProto>, constants: &[TensorProto], element: i32, dims: [&str; 2]) {
    check_within(0.0, vec![operator], written_out, constants, element, dims);
}

/// The same for operators that compute in another order, with a tolerance; the first nodes hold the operator.
fn check_within(
    tolerance: f64,
    operator: Vec<NodeProto>,
    written_out: Vec<NodeProto>,
    constants: &[TensorProto],
    element: i32,
    dims: [&str; 2],
) {
    let name = operator.iter().map(|node| node.op_type.as_str()).collect::<Vec<_>>().join(", ");
    let mut sessions = [operator, written_out].map(|nodes| {
        let (inputs, outputs) = (vec![info("x", data_type::FLOAT, &["rows", "6"])], vec![info("y", element, &dims)]);
        let (_folder, model) = write(&model_of(25, graph(nodes, inputs, outputs, constants.to_vec())));
        session(&compile_model(&model, &[CPU], 1), Some(1)).unwrap()
    });
    for rows in [1, 4] {
        let values: Vec<f32> = (0..rows * 6).map(|i| ((i * 61 + rows) % 97) as f32 / 40.0 - 1.0).collect();
        let [ours, theirs] = sessions.each_mut().map(|session| run(session, &[Tensor::new(&[rows, 6], &values)]).unwrap());
        if let Some(difference) = difference(&ours, &theirs, tolerance) {
            panic!("{name}, {rows} rows: {difference}");
        }
    }
}

#[test]
fn products_and_activations() {
    let constants = [real("w", &[5, 6], 1), real("v", &[6, 5], 2), real("b", &[5], 3), floats("half", &[], &[0.5])];
    let all = data_type::FLOAT;
    let out = ["rows", "5"];
    check(
        contrib("FusedMatMul", &["x", "w"], &["y"], vec![int("transB", 1), float("alpha", 0.5)]),
        vec![
            node("Transpose", &["w"], &["t"], vec![ints("perm", &[1, 0])]),
            node("MatMul", &["x", "t"], &["p"], vec![]),
            node("Mul", &["p", "half"], &["y"], vec![]),
        ],
        &constants,
        all,
        out,
    );
    check(
        contrib("FusedGemm", &["x", "v", "b"], &["y"], vec![string("activation", "LeakyRelu"), float("activation_alpha", 0.25)]),
        vec![node("Gemm", &["x", "v", "b"], &["g"], vec![]), node("LeakyRelu", &["g"], &["y"], vec![float("alpha", 0.25)])],
        &constants,
        all,
        out,
    );
    let constants = [real("b", &[6], 4)];
    let out = ["rows", "6"];
    let sum = || node("Add", &["x", "b"], &["s"], vec![]);
    let gelu = |approximate: &str| NodeProto { ..node("Gelu", &["s"], &["y"], vec![string("approximate", approximate)]) };
    check(contrib("BiasGelu", &["x", "b"], &["y"], vec![]), vec![sum(), gelu("none")], &constants, all, out);
    check(contrib("FastGelu", &["x", "b"], &["y"], vec![]), vec![sum(), gelu("tanh")], &constants, all, out);
}

#[test]
fn normalization_of_sums() {
    let constants = [real("skip", &[1, 6], 1), real("scale", &[6], 2), real("beta", &[6], 3), real("bias", &[6], 4)];
    check(
        contrib("SkipLayerNormalization", &["x", "skip", "scale", "beta", "bias"], &["y"], vec![float("epsilon", 1e-5)]),
        vec![
            node("Add", &["x", "skip"], &["a"], vec![]),
            node("Add", &["a", "bias"], &["s"], vec![]),
            node("LayerNormalization", &["s", "scale", "beta"], &["y"], vec![float("epsilon", 1e-5)]),
        ],
        &constants,
        data_type::FLOAT,
        ["rows", "6"],
    );
}

#[test]
fn quantized_products() {
    let constants = [bytes("w", &[6, 5], 1), floats("s", &[], &[0.0125]), byte("z", 120), real("b", &[5], 2)];
    let quantize = || {
        let mut quantize = node("DynamicQuantizeLinear", &["x"], &["q"], vec![]);
        quantize.output.extend(["qs".into(), "qz".into()]);
        quantize
    };
    let written_out = || {
        vec![
            quantize(),
            node("MatMulInteger", &["q", "w", "qz", "z"], &["i"], vec![]),
            node("Cast", &["i"], &["f"], vec![int("to", data_type::FLOAT.into())]),
            node("Mul", &["qs", "s"], &["scale"], vec![]),
            node("Mul", &["f", "scale"], &["p"], vec![]),
            node("Add", &["p", "b"], &["y"], vec![]),
        ]
    };
    let out = ["rows", "5"];
    check(contrib("DynamicQuantizeMatMul", &["x", "w", "s", "z", "b"], &["y"], vec![]), written_out(), &constants, data_type::FLOAT, out);
}

/// Bytes in, bytes out: the operator beside dequantizing, computing and quantizing.
#[test]
fn quantized_elementwise_ops() {
    let parameters = [floats("s", &[], &[0.02]), byte("z", 100), floats("t", &[], &[0.03]), byte("u", 130), bytes("k", &[1, 6], 3)];
    let bytes_of_x = || node("QuantizeLinear", &["x", "s", "z"], &["q"], vec![]);
    let real = |from: &str, scale: &str, zero: &str, to: &str| node("DequantizeLinear", &[from, scale, zero], &[to], vec![]);
    let back = |from: &str| node("QuantizeLinear", &[from, "t", "u"], &["y"], vec![]);
    let whole = |operator: NodeProto, computed: NodeProto| {
        // Both start with the bytes of x.
        let mut sessions =
            [vec![bytes_of_x(), operator], vec![bytes_of_x(), real("q", "s", "z", "a"), real("k", "t", "u", "b"), computed, back("c")]]
                .map(|nodes| {
                    let (inputs, outputs) =
                        (vec![info("x", data_type::FLOAT, &["4", "6"])], vec![info("y", data_type::UINT8, &["4", "?"])]);
                    let (_folder, model) = write(&model(graph(nodes, inputs, outputs, parameters.to_vec())));
                    session(&compile_model(&model, &[CPU], 1), Some(1)).unwrap()
                });
        let values: Vec<f32> = (0..24).map(|i| (i * 61 % 97) as f32 / 40.0 - 1.0).collect();
        let [ours, theirs] = sessions.each_mut().map(|session| run(session, &[Tensor::new(&[4, 6], &values)]).unwrap());
        assert_eq!(difference(&ours, &theirs, 0.0), None);
    };
    let both = ["q", "s", "z", "k", "t", "u", "t", "u"];
    whole(contrib("QLinearAdd", &both, &["y"], vec![]), node("Add", &["a", "b"], &["c"], vec![]));
    whole(contrib("QLinearMul", &both, &["y"], vec![]), node("Mul", &["a", "b"], &["c"], vec![]));
    let one = ["q", "s", "z", "t", "u"];
    whole(contrib("QLinearSigmoid", &one, &["y"], vec![]), node("Sigmoid", &["a"], &["c"], vec![]));
    whole(
        contrib("QLinearLeakyRelu", &one, &["y"], vec![float("alpha", 0.25)]),
        node("LeakyRelu", &["a"], &["c"], vec![float("alpha", 0.25)]),
    );
    let parts = ["t", "u", "q", "s", "z", "q", "s", "z"];
    whole(contrib("QLinearConcat", &parts, &["y"], vec![int("axis", 1)]), node("Concat", &["a", "a"], &["c"], vec![int("axis", 1)]));
}

/// Two steps written out: rows of the input are quantized together, those of the state in each step.
#[test]
fn quantized_lstm() {
    const HIDDEN: i64 = 3;
    let gates = 4 * HIDDEN;
    let constants = [
        bytes("w", &[1, 3, gates], 1),
        bytes("r", &[1, HIDDEN, gates], 2),
        real("b", &[1, 2 * gates], 3),
        floats("ws", &[1], &[0.011]),
        floats("rs", &[1], &[0.009]),
        TensorProto { dims: vec![1], ..byte("wz", 119) },
        TensorProto { dims: vec![1], ..byte("rz", 131) },
        longs("steps", &[2, -1, 3]),
        longs("rows", &[-1, 3]),
        longs("gates", &[3, gates]),
        longs("first", &[0]),
        longs("second", &[1]),
        longs("third", &[2]),
        longs("last", &[gates]),
        longs("both", &[2 * gates]),
        floats("nothing", &[], &[0.0]),
    ];
    let operator = vec![
        node("Reshape", &["x", "steps"], &["xs"], vec![]),
        contrib(
            "DynamicQuantizeLSTM",
            &["xs", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"],
            &["", "h"],
            vec![int("hidden_size", HIDDEN)],
        ),
        node("Reshape", &["h", "rows"], &["y"], vec![]),
    ];
    let product = |of: &str, weights: &str, tag: &str| {
        let t = |name: &str| format!("{tag}{name}");
        vec![
            node("DynamicQuantizeLinear", &[of], &[&t("q"), &t("qs"), &t("qz")], vec![]),
            node("Reshape", &[weights, "gates"], &[&t("w")], vec![]),
            node("MatMulInteger", &[&t("q"), &t("w"), &t("qz"), &format!("{weights}z")], &[&t("i")], vec![]),
            node("Cast", &[&t("i")], &[&t("f")], vec![int("to", data_type::FLOAT.into())]),
            node("Mul", &[&t("qs"), &format!("{weights}s")], &[&t("scale")], vec![]),
            node("Mul", &[&t("f"), &t("scale")], &[&t("p")], vec![]),
        ]
    };
    let mut nodes = vec![node("Reshape", &["x", "steps"], &["xs"], vec![])];
    nodes.extend(product("xs", "w", "x"));
    nodes.extend([
        node("Slice", &["b", "first", "last", "second"], &["bw"], vec![]),
        node("Slice", &["b", "last", "both", "second"], &["br"], vec![]),
        node("Add", &["xp", "bw"], &["xb"], vec![]),
        node("Add", &["xb", "br"], &["in"], vec![]),
        node("Slice", &["in", "first", "second", "first"], &["in0"], vec![]),
        node("Slice", &["in", "second", "third", "first"], &["in1"], vec![]),
        node("Squeeze", &["in0", "first"], &["g0"], vec![]),
        node("Squeeze", &["in1", "first"], &["s1"], vec![]),
    ]);
    // Gates are input, output, forget and candidate.
    for step in ["0", "1"] {
        let t = |name: &str| format!("{name}{step}");
        if step == "1" {
            nodes.extend(product("h0", "r", "r"));
            nodes.push(node("Add", &["rp", "s1"], &["g1"], vec![]));
        }
        let attributes = vec![int("axis", 1), int("num_outputs", 4)];
        nodes.push(node("Split", &[&t("g")], &[&t("gi"), &t("go"), &t("gf"), &t("gc")], attributes));
        nodes.extend(["i", "o", "f"].map(|gate| node("Sigmoid", &[&t(&format!("g{gate}"))], &[&t(gate)], vec![])));
        nodes.push(node("Tanh", &[&t("gc")], &[&t("n")], vec![]));
        nodes.push(node("Mul", &[&t("i"), &t("n")], &[&t("new")], vec![]));
        nodes.push(node("Mul", &[&t("f"), if step == "0" { "nothing" } else { "c0" }], &[&t("kept")], vec![]));
        nodes.push(node("Add", &[&t("kept"), &t("new")], &[&t("c")], vec![]));
        nodes.push(node("Tanh", &[&t("c")], &[&t("shown")], vec![]));
        nodes.push(node("Mul", &[&t("o"), &t("shown")], &[&t("h")], vec![]));
    }
    nodes.push(node("Identity", &["h1"], &["y"], vec![]));
    let mut sessions = [operator, nodes].map(|nodes| {
        let (inputs, outputs) = (vec![info("x", data_type::FLOAT, &["rows", "6"])], vec![info("y", data_type::FLOAT, &["?", "3"])]);
        let (_folder, model) = write(&model(graph(nodes, inputs, outputs, constants.to_vec())));
        session(&compile_model(&model, &[CPU], 1), Some(1)).unwrap()
    });
    let values: Vec<f32> = (0..24).map(|i| (i * 61 % 97) as f32 / 40.0 - 1.0).collect();
    let [ours, theirs] = sessions.each_mut().map(|session| run(session, &[Tensor::new(&[4, 6], &values)]).unwrap());
    assert_eq!(difference(&ours, &theirs, 1e-6), None);
}

/// Rows of the input as one sequence in front of the nodes, and their result `z` as rows behind them.
fn as_sequence(nodes: Vec<NodeProto>) -> Vec<NodeProto> {
    let first = node("Reshape", &["x", "sequence"], &["xs"], vec![]);
    let last = node("Reshape", &["z", "rows6"], &["y"], vec![]);
    std::iter::once(first).chain(nodes).chain([last]).collect()
}

#[test]
fn attention_of_heads() {
    let constants = [
        longs("sequence", &[1, -1, 6]),
        longs("rows6", &[-1, 6]),
        real("k", &[1, 5, 6], 1),
        real("v", &[1, 5, 6], 2),
        real("pk", &[1, 2, 3, 3], 3),
        real("pv", &[1, 2, 3, 3], 4),
        real("w", &[6, 18], 5),
        real("b", &[18], 6),
        longs("thirds", &[6, 6, 6]),
        tensor("mask", data_type::INT32, &[1, 5], [1i32, 1, 0, 1, 0].iter().flat_map(|x| x.to_le_bytes()).collect()),
        tensor("allowed", data_type::BOOL, &[1, 1, 1, 5], vec![1, 1, 0, 1, 0]),
    ];
    let (all, out, heads) = (data_type::FLOAT, ["rows", "6"], || vec![int("num_heads", 2)]);
    let both = || vec![int("q_num_heads", 2), int("kv_num_heads", 2)];
    let same = |operator: Vec<NodeProto>, written_out: Vec<NodeProto>| {
        check_within(1e-6, as_sequence(operator), as_sequence(written_out), &constants, all, out);
    };
    // Far below all scores, its filter value leaves nothing of a key.
    same(
        vec![contrib("MultiHeadAttention", &["xs", "k", "v", "", "mask"], &["z"], heads())],
        vec![node("Attention", &["xs", "k", "v", "allowed"], &["z"], both())],
    );
    let causal = |mut attributes: Vec<AttributeProto>, name: &str| {
        attributes.push(int(name, 1));
        attributes
    };
    same(
        vec![contrib("MultiHeadAttention", &["xs", "xs", "xs", "", "", "", "pk", "pv"], &["z"], causal(heads(), "unidirectional"))],
        vec![node("Attention", &["xs", "xs", "xs", "", "pk", "pv"], &["z"], causal(both(), "is_causal"))],
    );
    same(
        vec![contrib("Attention", &["xs", "w", "b"], &["z"], heads())],
        vec![
            node("MatMul", &["xs", "w"], &["p"], vec![]),
            node("Add", &["p", "b"], &["q"], vec![]),
            node("Split", &["q", "thirds"], &["q1", "q2", "q3"], vec![int("axis", 2)]),
            node("Attention", &["q1", "q2", "q3"], &["z"], both()),
        ],
    );
}

#[test]
fn attention_of_groups_with_rotation() {
    let constants = [
        longs("sequence", &[1, -1, 6]),
        longs("rows6", &[-1, 6]),
        real("w", &[6, 2], 1),
        real("cos", &[8, 1], 2),
        real("sin", &[8, 1], 3),
        longs("places", &[0, 1, 2, 3]),
        longs("none", &[0]),
        longs("one", &[1]),
        tensor("lengths", data_type::INT32, &[1], vec![3, 0, 0, 0]),
        tensor("total", data_type::INT32, &[], vec![4, 0, 0, 0]),
    ];
    let keys = || node("MatMul", &["xs", "w"], &["k"], vec![]);
    let operator = vec![
        keys(),
        contrib(
            "GroupQueryAttention",
            &["xs", "k", "k", "", "", "lengths", "total", "cos", "sin"],
            &["z"],
            vec![int("num_heads", 3), int("kv_num_heads", 1), int("do_rotary", 1), int("local_window_size", 2)],
        ),
    ];
    // A window of two keys: the query's own and the one before it.
    let rotate = |x: &str, heads: i64, to: &str| node("RotaryEmbedding", &[x, "cosines", "sines"], &[to], vec![int("num_heads", heads)]);
    let written_out = vec![
        keys(),
        node("Shape", &["x"], &["shape"], vec![int("end", 1)]),
        node("Slice", &["cos", "none", "shape", "none"], &["c"], vec![]),
        node("Slice", &["sin", "none", "shape", "none"], &["s"], vec![]),
        node("Unsqueeze", &["c", "none"], &["cosines"], vec![]),
        node("Unsqueeze", &["s", "none"], &["sines"], vec![]),
        rotate("xs", 3, "rq"),
        rotate("k", 1, "rk"),
        node(
            "Attention",
            &["rq", "rk", "k"],
            &["z"],
            vec![int("q_num_heads", 3), int("kv_num_heads", 1), int("is_causal", 1), int("left_window_size", 1)],
        ),
    ];
    check_within(1e-6, as_sequence(operator), as_sequence(written_out), &constants, data_type::FLOAT, ["rows", "6"]);
}

#[test]
fn sums_of_embeddings() {
    let constants =
        [real("words", &[2, 4], 1), real("places", &[6, 4], 2), real("scale", &[4], 3), real("beta", &[4], 4), longs("flat", &[-1, 24])];
    let ids = || {
        let whole = node("Cast", &["x"], &["i"], vec![int("to", data_type::INT32.into())]);
        vec![whole, node("Abs", &["i"], &["ids"], vec![])]
    };
    let flat = || node("Reshape", &["z", "flat"], &["y"], vec![]);
    let operands = ["ids", "", "words", "places", "", "scale", "beta"];
    let operator = contrib("EmbedLayerNormalization", &operands, &["z", ""], vec![float("epsilon", 1e-5)]);
    let written_out = vec![
        node("Gather", &["words", "ids"], &["e"], vec![]),
        node("Add", &["e", "places"], &["s"], vec![]),
        node("LayerNormalization", &["s", "scale", "beta"], &["z"], vec![float("epsilon", 1e-5)]),
    ];
    let whole = |nodes: Vec<NodeProto>| ids().into_iter().chain(nodes).chain([flat()]).collect();
    check_within(1e-6, whole(vec![operator]), whole(written_out), &constants, data_type::FLOAT, ["rows", "24"]);
}

/// Weights of 4 and 8 bits, the lower half of a byte first, with zero points that are given and that are in the middle.
#[test]
fn products_with_blocks_of_few_bits() {
    const COLUMNS: usize = 5;
    for (bits, zeros) in [(4usize, true), (4, false), (8, true), (8, false)] {
        let (per_byte, blob) = (8 / bits, 16 * bits / 8);
        let weights = bytes("w", &[COLUMNS as i64, 1, blob as i64], bits);
        let zero = bytes("z", &[COLUMNS as i64], 7);
        let scales = real("s", &[COLUMNS as i64], 2);
        let raw = |tensor: &TensorProto| tensor.raw_data.clone().unwrap().to_vec();
        let (packed, points) = (raw(&weights), raw(&zero));
        let scale: Vec<f32> = raw(&scales).chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
        let low = (1u32 << bits) - 1;
        let mut matrix = vec![0f32; 6 * COLUMNS];
        for (k, row) in matrix.chunks_exact_mut(COLUMNS).enumerate() {
            for (n, element) in row.iter_mut().enumerate() {
                let number = u32::from(packed[n * blob + k / per_byte]) >> (k % per_byte * bits) & low;
                let point = if zeros { u32::from(points[n]) & low } else { 1 << (bits - 1) };
                *element = (number as f32 - point as f32) * scale[n];
            }
        }
        let operands: &[&str] = if zeros { &["x", "w", "s", "z"] } else { &["x", "w", "s"] };
        let attributes = vec![int("K", 6), int("N", COLUMNS as i64), int("bits", bits as i64), int("block_size", 16)];
        check_within(
            1e-6,
            vec![contrib("MatMulNBits", operands, &["y"], attributes)],
            vec![node("MatMul", &["x", "m"], &["y"], vec![])],
            &[weights, zero, scales, floats("m", &[6, COLUMNS as i64], &matrix)],
            data_type::FLOAT,
            ["rows", "5"],
        );
    }
}
