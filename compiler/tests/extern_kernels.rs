//! Calls of the user's kernels in compiled programs: where tensors stand when a kernel is called, in loops too. How they are declared and found is in
//! `import/tests/externs.rs`, in libraries in `examples/extern-kernel`.

#[allow(dead_code)]
mod pipeline;

use pipeline::{CPU, compile_model, mlir_file, session};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use winze_runtime::TensorView;

/// Three turns of `state = own(state, |x|)` that start from zeros, and what one call makes of two constants.
const SOURCE: &str = r#"
#n = affine_map<()[s0] -> (s0)>
func.func @main(%x: tensor<?xf32, #n>) -> (tensor<?xf32, #n>, tensor<2xf32>) attributes {graph.symbols = ["n"]} {
  %zero = graph.constant dense<0> : tensor<i64>
  %step = graph.constant dense<1> : tensor<i64>
  %turns = graph.constant dense<3> : tensor<i64>
  %a = graph.abs %x : tensor<?xf32, #n>
  %start = graph.sub %x, %x : tensor<?xf32, #n>
  %i, %state = graph.while %zero, %start : tensor<i64>, tensor<?xf32, #n> while {
  ^bb0(%at: tensor<i64>, %s: tensor<?xf32, #n>):
    %more = graph.lt %at, %turns : tensor<i64>
    graph.yield %more : tensor<i1>
  } do {
  ^bb0(%at: tensor<i64>, %s: tensor<?xf32, #n>):
    %next = graph.add %at, %step : tensor<i64>
    %made = graph.call_extern "own" "(f32[n], f32[n], by: int) -> (f32[n])" scalars [10] (%s, %a) : tensor<?xf32, #n>, tensor<?xf32, #n>
    graph.yield %next, %made : tensor<i64>, tensor<?xf32, #n>
  } -> tensor<i64>, tensor<?xf32, #n>
  %k = graph.constant dense<[1.0, 2.0]> : tensor<2xf32>
  %l = graph.constant dense<[3.0, 4.0]> : tensor<2xf32>
  %known = graph.call_extern "own" "(f32[n], f32[n], by: int) -> (f32[n])" scalars [1] (%k, %l) : tensor<2xf32>, tensor<2xf32>
  return %state, %known : tensor<?xf32, #n>, tensor<2xf32>
}
"#;

#[test]
fn loops_and_constants() {
    let (_folder, path) = mlir_file(SOURCE);
    let mut session = session(&compile_model(&path, &[CPU], 1), Some(2)).unwrap();
    let calls = Arc::new(AtomicI64::new(0));
    let counted = calls.clone();
    session.register_extern(
        "own",
        Arc::new(move |call| {
            counted.fetch_add(1, Ordering::Relaxed);
            let (state, a, by) =
                (call.slice::<f32>(0).ok_or("state")?.to_vec(), call.slice::<f32>(1).ok_or("a")?.to_vec(), call.scalars[0]);
            let made = call.slice_mut::<f32>(2).ok_or("made")?;
            (0..made.len()).for_each(|i| made[i] = state[i] * by as f32 + a[i]);
            Ok(())
        }),
    );
    for n in [1usize, 5, 0, 2] {
        let x: Vec<f32> = (0..n).map(|i| i as f32 - 2.0).collect();
        calls.store(0, Ordering::Relaxed);
        let outputs = session.run(&[TensorView::of(&[n as i64], &x)]).unwrap();
        let expected: Vec<f32> = x.iter().map(|x| x.abs() * 111.0).collect();
        assert_eq!(outputs.get(0).unwrap().as_slice::<f32>().unwrap(), expected);
        assert_eq!(outputs.get(1).unwrap().as_slice::<f32>().unwrap(), [4.0, 6.0]);
        assert_eq!(calls.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn vulkan_has_none() {
    let (_folder, path) = mlir_file(SOURCE);
    let folder = tempfile::tempdir().unwrap();
    let error = pipeline::try_compile(&path, &[pipeline::MIN], 1, &folder.path().join("model.wz")).unwrap_err();
    assert!(error.starts_with("unsupported: call_extern at "), "{error}");
    assert!(error.contains(": the kernel \"own\" is the user's, and these run on CPU targets only"), "{error}");
    assert_eq!(error.lines().count(), 2, "one line per call: {error}");
}
