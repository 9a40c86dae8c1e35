//! Loops, branches and host scalars of the graph dialect -> one artifact -> the values of the reference evaluation, for several sizes and devices.

#[allow(dead_code)]
mod pipeline;

use pipeline::{
    CPU, DESKTOP, MIN, compile_model, difference, evaluate_text, has_vulkan, mlir_file,
    onnx::{body, graph, info, int, longs, model, node, write},
    run, session,
};
use winze_compiler::import::proto::{NodeProto, TensorProto, data_type};
use winze_graph::{
    tensor::{Scalar, Tensor},
    types::ElementType,
};

/// Compiles `text` once and compares what it gives with the evaluation for each of `cases`: inputs and symbols.
fn check(text: &str, cases: &[(Vec<Tensor>, Vec<i64>)]) {
    let (_folder, path) = mlir_file(text);
    let devices: &[(&str, Option<usize>)] =
        if has_vulkan("control_flow") { &[(CPU, Some(2)), (MIN, None), (DESKTOP, None)] } else { &[(CPU, Some(2))] };
    for (target, threads) in devices {
        let mut session = session(&compile_model(&path, &[target], 1), *threads).unwrap();
        for (inputs, symbols) in cases {
            let expected = evaluate_text(text, inputs, symbols);
            let actual = run(&mut session, inputs).unwrap_or_else(|e| panic!("{target}, {symbols:?}: {e}"));
            if let Some(difference) = difference(&actual, &expected, 1e-5) {
                panic!("{target}, {symbols:?}: {difference}");
            }
        }
    }
}

fn floats(shape: &[usize]) -> Tensor {
    Tensor::new(shape, &(0..shape.iter().product()).map(|i: usize| (i * 7 % 11) as f32 / 4.0 - 1.0).collect::<Vec<f32>>())
}

/// A loop of `n` turns, `n` the extent of `x`, carrying `state`; `body` makes `%next`-values from `%i` and the arguments.
fn counted(types: &[&str], arguments: &[&str], body: &str, yields: &[&str]) -> String {
    let declared: Vec<String> = arguments.iter().zip(types).map(|(name, r#type)| format!("{name}: {}", r#type)).collect();
    let (types, declared, yields) = (types.join(", "), declared.join(", "), yields.join(", "));
    format!(
        "tensor<i64>, {types} while {{
         ^bb0(%i: tensor<i64>, {declared}):
           %more = graph.lt %i, %n : tensor<i64>
           graph.yield %more : tensor<i1>
         }} do {{
         ^bb0(%i: tensor<i64>, {declared}):
           %up = graph.add %i, %one : tensor<i64>
           {body}
           graph.yield %up, {yields} : tensor<i64>, {types}
         }} -> tensor<i64>, {types}"
    )
}

const HEAD: &str = "
    #n = affine_map<()[s0] -> (s0)>
    func.func @main(%x: tensor<?x3xf32, #n>) -> (RESULTS) attributes {graph.symbols = [\"n\"]} {
      %zero = graph.constant dense<0> : tensor<i64>
      %one = graph.constant dense<1> : tensor<i64>
      %two = graph.constant dense<2> : tensor<i64>
      %n = graph.dim %x axis 0 : tensor<?x3xf32, #n>
";

fn with_head(results: &str, rest: &str) -> String {
    format!("{}{rest}}}", HEAD.replace("RESULTS", results))
}

fn sizes(all: &[usize]) -> Vec<(Vec<Tensor>, Vec<i64>)> {
    all.iter().map(|n| (vec![floats(&[*n, 3])], vec![*n as i64])).collect()
}

#[test]
fn state_that_changes_places_and_state_that_is_read_late() {
    let r = "tensor<1x3xf32>";
    let body = "
        %row = graph.dynamic_slice %x at(%i) axes [0] : (tensor<?x3xf32, #n>, tensor<i64>) -> tensor<1x3xf32>
        %sum = graph.add %a, %row : tensor<1x3xf32>
        %late = graph.mul %a, %c : tensor<1x3xf32>";
    let first = "%first = graph.constant dense<[[1.0, 2.0, -3.0]]> : tensor<1x3xf32>
        %second = graph.exp %first : tensor<1x3xf32>\n";
    for yields in [["%sum", "%late", "%b"], ["%b", "%a", "%sum"], ["%sum", "%sum", "%late"], ["%late", "%c", "%c"]] {
        let rest = counted(&[r, r, r], &["%a", "%b", "%c"], body, &yields);
        let text = format!(
            "{first} %0:4 = graph.while %zero, %first, %second, %first : {rest}
            return %0#1, %0#2, %0#3, %second : {r}, {r}, {r}, {r}"
        );
        check(&with_head(&format!("{r}, {r}, {r}, {r}"), &text), &sizes(&[1, 2, 5]));
    }
}

#[test]
fn boxes_are_written_in_place_unless_the_old_tensor_is_needed() {
    let x = "tensor<?x3xf32, #n>";
    let body = |extra: &str| {
        format!(
            "%back = graph.sub %n, %up : tensor<i64>
             %row = graph.dynamic_slice %x at(%back) axes [0] : ({x}, tensor<i64>) -> tensor<1x3xf32>
             %twice = graph.add %row, %row : tensor<1x3xf32>
             %new = graph.dynamic_update_slice %y, %twice at(%i) axes [0] : ({x}, tensor<1x3xf32>, tensor<i64>) -> {x}
             {extra}"
        )
    };
    for (extra, result) in [
        ("", "%new"),
        ("%kept = graph.add %y, %new : tensor<?x3xf32, #n>", "%kept"),
        (
            "%kept = graph.dynamic_update_slice %new, %row at(%zero) axes [0] : (tensor<?x3xf32, #n>, tensor<1x3xf32>, tensor<i64>) -> tensor<?x3xf32, #n>",
            "%kept",
        ),
    ] {
        for initial in ["%x", "%made"] {
            let rest = counted(&[x], &["%y"], &body(extra), &[result]);
            let text = format!(
                "%made = graph.neg %x : {x}
                 %0:2 = graph.while %zero, {initial} : {rest}
                 return %0#1 : {x}"
            );
            check(&with_head(x, &text), &sizes(&[1, 4, 7]));
        }
    }
}

/// The tensor that the update starts from is made while the old state is still to be read.
#[test]
fn state_is_not_overwritten_before_its_last_read() {
    let x = "tensor<?x3xf32, #n>";
    let body = "
        %made = graph.neg %x : tensor<?x3xf32, #n>
        %row = graph.dynamic_slice %y at(%zero) axes [0] : (tensor<?x3xf32, #n>, tensor<i64>) -> tensor<1x3xf32>
        %twice = graph.add %row, %row : tensor<1x3xf32>
        %new = graph.dynamic_update_slice %made, %twice at(%zero) axes [0] : (tensor<?x3xf32, #n>, tensor<1x3xf32>, tensor<i64>) -> tensor<?x3xf32, #n>";
    let rest = counted(&[x], &["%y"], body, &["%new"]);
    let text = format!("%0:2 = graph.while %zero, %x : {rest}\n return %0#1 : {x}");
    check(&with_head(x, &text), &sizes(&[1, 3, 6]));
}

#[test]
fn loops_in_loops_carry_their_state_on() {
    let r = "tensor<1x3xf32>";
    let inner = counted(
        &[r, r],
        &["%c", "%d"],
        "%e = graph.add %c, %a : tensor<1x3xf32>
         %f = graph.mul %d, %half : tensor<1x3xf32>",
        &["%e", "%f"],
    )
    .replace("%i", "%j")
    .replace("%up", "%up2")
    .replace("%more", "%more2");
    let body = format!("%1:3 = graph.while %zero, %a, %b : {inner}");
    let outer = counted(&[r, r], &["%a", "%b"], &body, &["%1#1", "%1#2"]);
    let text = format!(
        "%half = graph.constant dense<0.5> : {r}
         %first = graph.slice %x starts [0, 0] limits [1, 3] strides [1, 1] : tensor<?x3xf32, #n>
         %second = graph.exp %first : {r}
         %0:3 = graph.while %zero, %first, %second : {outer}
         return %0#1, %0#2 : {r}, {r}"
    );
    check(&with_head(&format!("{r}, {r}"), &text), &sizes(&[1, 2, 4]));
}

/// Host arithmetic gives what tensors give, for all signs and for division by zero.
#[test]
fn host_scalars_agree_with_tensors() {
    let i = "tensor<i64>";
    let ops = ["add", "sub", "mul", "div", "rem", "mod", "minimum", "maximum"];
    let compares = ["eq", "ne", "lt", "le", "gt", "ge"];
    let mut lines = String::new();
    let mut results = vec![];
    for (at, (a, b)) in [("%p", "%q"), ("%q", "%p"), ("%p", "%zero"), ("%m", "%q"), ("%q", "%m"), ("%m", "%two")].into_iter().enumerate() {
        for op in ops {
            lines += &format!("%{op}{at} = graph.{op} {a}, {b} : {i}\n");
            results.push(format!("%{op}{at}"));
        }
        for op in compares {
            lines += &format!("%c{op}{at} = graph.{op} {a}, {b} : {i}\n%{op}{at} = graph.convert %c{op}{at} : tensor<i1> -> {i}\n");
            results.push(format!("%{op}{at}"));
        }
    }
    let types = vec![i; results.len()].join(", ");
    // Only extents, so that all of it is done in registers: q = n - 3, p = 7 - n, m = -9 n.
    let text = format!(
        "%three = graph.constant dense<3> : {i}
         %seven = graph.constant dense<7> : {i}
         %nine = graph.constant dense<-9> : {i}
         %q = graph.sub %n, %three : {i}
         %p = graph.sub %seven, %n : {i}
         %m = graph.mul %n, %nine : {i}
         {lines}
         return {} : {types}",
        results.join(", ")
    );
    check(&with_head(&types, &text), &sizes(&[1, 2, 3, 5, 7, 12]));
}

#[test]
fn branches_give_registers_and_buffers() {
    let r = "tensor<1x3xf32>";
    let body = "
        %odd = graph.mod %i, %two : tensor<i64>
        %even = graph.eq %odd, %zero : tensor<i64>
        %2:2 = graph.if %even : tensor<i1> -> tensor<i64>, tensor<1x3xf32> {
          %3 = graph.add %k, %i : tensor<i64>
          %4 = graph.dynamic_slice %x at(%k) axes [0] : (tensor<?x3xf32, #n>, tensor<i64>) -> tensor<1x3xf32>
          %5 = graph.add %4, %a : tensor<1x3xf32>
          graph.yield %3, %5 : tensor<i64>, tensor<1x3xf32>
        } else {
          %3 = graph.mul %k, %two : tensor<i64>
          graph.yield %3, %a : tensor<i64>, tensor<1x3xf32>
        }";
    let rest = counted(&["tensor<i64>", r], &["%k", "%a"], body, &["%2#0", "%2#1"]);
    let text = format!(
        "%first = graph.constant dense<[[1.0, 2.0, -3.0]]> : {r}
         %0:3 = graph.while %zero, %one, %first : {rest}
         return %0#1, %0#2 : tensor<i64>, {r}"
    );
    check(&with_head(&format!("tensor<i64>, {r}"), &text), &sizes(&[1, 2, 5, 6]));
}

/// A trip count and a condition that are inputs, and one that a kernel makes.
#[test]
fn conditions_from_inputs_and_kernels() {
    let text = r#"
    func.func @main(%x: tensor<4xf32>, %trips: tensor<i64>, %go: tensor<i1>) -> (tensor<i64>, tensor<4xf32>) {
      %zero = graph.constant dense<0> : tensor<i64>
      %one = graph.constant dense<1> : tensor<i64>
      %limit = graph.constant dense<50.0> : tensor<f32>
      %start = graph.constant dense<0.0> : tensor<f32>
      %0:4 = graph.while %zero, %go, %x, %start : tensor<i64>, tensor<i1>, tensor<4xf32>, tensor<f32> while {
      ^bb0(%i: tensor<i64>, %on: tensor<i1>, %a: tensor<4xf32>, %s: tensor<f32>):
        %below = graph.lt %i, %trips : tensor<i64>
        %more = graph.and %below, %on : tensor<i1>
        graph.yield %more : tensor<i1>
      } do {
      ^bb0(%i: tensor<i64>, %on: tensor<i1>, %a: tensor<4xf32>, %s: tensor<f32>):
        %next = graph.add %i, %one : tensor<i64>
        %b = graph.add %a, %a : tensor<4xf32>
        %sum = graph.reduce "add" %b axes [0] : tensor<4xf32>
        %small = graph.lt %sum, %limit : tensor<f32>
        graph.yield %next, %small, %b, %sum : tensor<i64>, tensor<i1>, tensor<4xf32>, tensor<f32>
      } -> tensor<i64>, tensor<i1>, tensor<4xf32>, tensor<f32>
      return %0#0, %0#2 : tensor<i64>, tensor<4xf32>
    }"#;
    let x = Tensor::new(&[4], &[1.0f32, 2.0, 0.5, 0.25]);
    let case = |trips: i64, go: bool| (vec![x.clone(), Tensor::new(&[], &[trips]), Tensor::new(&[], &[go])], vec![]);
    check(text, &[case(3, true), case(100, true), case(0, true), case(-5, true), case(3, false)]);
}

/// Branches with results of sizes that nothing bounds: one is a tensor as often as an input says, the other counts as far as it says.
#[test]
fn branches_find_the_sizes_of_their_results() {
    let branch = |name: &str, nodes: Vec<NodeProto>, output: &str| {
        body(name, graph(nodes, vec![], vec![info(output, data_type::FLOAT, &["?"])], vec![]))
    };
    let then = vec![node("Tile", &["x", "r"], &["tiled"], vec![]), node("Mul", &["tiled", "x0"], &["a"], vec![])];
    let other = vec![
        node("Squeeze", &["r"], &["limit"], vec![]),
        node("Range", &["zero", "limit", "step"], &["counted"], vec![]),
        node("Cast", &["counted"], &["b"], vec![int("to", i64::from(data_type::FLOAT))]),
    ];
    let nodes = vec![
        node("If", &["go"], &["joined"], vec![branch("then_branch", then, "a"), branch("else_branch", other, "b")]),
        node("Add", &["joined", "joined"], &["twice"], vec![]),
        node("Concat", &["joined", "x", "twice"], &["y"], vec![int("axis", 0)]),
        node("ReduceSum", &["twice"], &["sum"], vec![int("keepdims", 0)]),
    ];
    let inputs = vec![
        info("go", data_type::BOOL, &[]),
        info("x", data_type::FLOAT, &["n"]),
        info("r", data_type::INT64, &["1"]),
        info("x0", data_type::FLOAT, &[]),
    ];
    let outputs = vec![info("y", data_type::FLOAT, &["?"]), info("sum", data_type::FLOAT, &[])];
    let number = |name: &str, value: i64| TensorProto { dims: vec![], ..longs(name, &[value]) };
    let (_folder, path) = write(&model(graph(nodes, inputs, outputs, vec![number("zero", 0), number("step", 1)])));
    let devices: &[(&str, Option<usize>)] = if has_vulkan("control_flow") { &[(CPU, Some(2)), (DESKTOP, None)] } else { &[(CPU, Some(2))] };
    for (target, threads) in devices {
        let mut session = session(&compile_model(&path, &[target], 1), *threads).unwrap();
        // Growing, shrinking and empty.
        for (go, n, r) in
            [(true, 3, 2), (false, 3, 5), (true, 3, 1), (false, 3, 400), (true, 7, 90), (true, 7, 0), (false, 1, 0), (true, 1, 2)]
        {
            let x: Vec<f32> = (0..n).map(|i| i as f32 - 1.0).collect();
            let joined: Vec<f32> =
                if go { (0..r).flat_map(|_| x.iter().map(|x| x * 0.5)).collect() } else { (0..r).map(|i| i as f32).collect() };
            let y: Vec<f32> = joined.iter().copied().chain(x.iter().copied()).chain(joined.iter().map(|v| v + v)).collect();
            let sum = joined.iter().map(|v| v + v).sum::<f32>();
            let arguments = [
                Tensor::scalar(ElementType::Bool, Scalar::Bool(go)),
                Tensor::new(&[n], &x),
                Tensor::new(&[1], &[r as i64]),
                Tensor::new(&[], &[0.5f32]),
            ];
            let found = run(&mut session, &arguments).unwrap_or_else(|e| panic!("{target}, {go}, {n}, {r}: {e}"));
            let expected = [Tensor::new(&[y.len()], &y), Tensor::new(&[], &[sum])];
            if let Some(difference) = difference(&found, &expected, 1e-5) {
                panic!("{target}, {go}, {n}, {r}: {difference}");
            }
        }
    }
}
