//! Kernel function of graph ops, input tensors, symbol values -> result tensors, compiled with stock MLIR passes only.

use winze_graph::{
    eval::{EvalContext, eval_function},
    lower::{Builder, lasting, lasting_block, lasting_op, pipeline},
    tensor::Tensor,
    testing::context,
    types::{ElementType, TensorType},
};
use winze_mlir::{
    melior::{
        Context, ExecutionEngine,
        ir::{
            BlockLike, Module, OperationRef, RegionLike, TypeLike, ValueLike, attribute::TypeAttribute, operation::OperationLike,
            r#type::FunctionType,
        },
        utility::register_all_llvm_translations,
    },
    pass_manager::PassManager,
};

/// Bufferization onto the arguments.
const BUFFERIZE: &str = "builtin.module(eliminate-empty-tensors,empty-tensor-to-alloc-tensor,\
    one-shot-bufferize{bufferize-function-boundaries function-boundary-type-conversion=identity-layout-map},canonicalize,cse)";
const TO_LLVM: &str = "builtin.module(func.func(llvm-request-c-wrappers),convert-linalg-to-loops,expand-strided-metadata,lower-affine,func.func(math-expand-ops{ops=rsqrt}),\
    convert-scf-to-cf,convert-math-to-llvm,convert-math-to-libm,expand-strided-metadata,arith-expand,\
    convert-arith-to-llvm,finalize-memref-to-llvm,convert-func-to-llvm,convert-cf-to-llvm,reconcile-unrealized-casts)";

pub fn parse<'c>(context: &'c Context, text: &str) -> Result<Module<'c>, String> {
    let (module, diagnostics) = winze_mlir::diagnostics::collect(context, || Module::parse(context, text));
    module.ok_or_else(|| diagnostics.iter().map(|d| format!("{d}\n")).collect::<String>() + text)
}

pub fn run_passes<'c>(context: &'c Context, module: &mut Module<'c>, passes: &str) -> Result<(), String> {
    let manager = PassManager::parse(context, passes).map_err(|e| e.to_string())?;
    manager.run(module).map(|_| ()).map_err(|e| format!("{e}\n{}", module.as_operation()))
}

fn function<'c>(module: &Module<'c>) -> OperationRef<'c, 'c> {
    let mut op = module.body().first_operation();
    while let Some(global) = op.filter(|op| op.name().as_string_ref().as_str() != Ok("func.func")) {
        op = global.next_in_block();
    }
    lasting_op(op.expect("one function"))
}

/// Values of the function in `text` by the reference evaluation.
pub fn evaluate(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Result<Vec<Tensor>, String> {
    let context = context();
    let module = parse(&context, text)?;
    eval_function(&EvalContext::new(symbols), function(&module), inputs)
}

/// The function in `text` at the linalg stage, and bufferized; fails on allocations of dynamic size.
pub fn lower_to_buffers<'c>(context: &'c Context, text: &str) -> Result<(String, Module<'c>), String> {
    let (linalg, module) = lower(context, text)?;
    let buffers = module.as_operation().to_string();
    for line in buffers.lines() {
        if line.contains("memref.alloc") && line.contains('?') {
            return Err(format!("{}\n{buffers}\n{linalg}", line.trim()));
        }
    }
    Ok((linalg, module))
}

fn lower<'c>(context: &'c Context, text: &str) -> Result<(String, Module<'c>), String> {
    let mut module = parse(context, text)?;
    run_passes(context, &mut module, &pipeline(8))?;
    let linalg = module.as_operation().to_string();
    run_passes(context, &mut module, BUFFERIZE).map_err(|e| format!("{e}\n{linalg}"))?;
    drop_results(context, function(&module));
    Ok((linalg, module))
}

/// Copies results that did not bufferize onto their destinations, as the compiler does, and returns nothing.
fn drop_results<'c>(context: &'c Context, function: OperationRef<'c, 'c>) {
    let block = lasting_block(function.region(0).expect("a body").first_block().expect("a block"));
    let end = lasting_op(block.terminator().expect("a return"));
    let arguments: Vec<_> = (0..block.argument_count()).map(|i| lasting(block.argument(i).expect("in range").into())).collect();
    let types: Vec<_> = arguments.iter().map(|a| a.r#type()).collect();
    let buffers: Vec<_> = arguments.into_iter().filter(|a| !a.r#type().is_index()).collect();
    let results: Vec<_> = end.operands().map(lasting).collect();
    let first = buffers.len() - results.len();
    let b = Builder { context, location: end.location(), block };
    for (result, destination) in results.into_iter().zip(&buffers[first..]) {
        if result != *destination {
            b.op("memref.copy", &[result, *destination], &[], &[]);
        }
    }
    b.op("func.return", &[], &[], &[]);
    // SAFETY: the old terminator is replaced, together with the type of the function.
    unsafe { winze_mlir::mlir_sys::mlirOperationDestroy(end.to_raw()) };
    let r#type = FunctionType::new(context, &types, &[]);
    winze_mlir::attributes::set(function, "function_type", TypeAttribute::new(r#type.into()).into());
}

/// Compiles and runs the function in `text`, which must not allocate what has no bound.
pub fn execute(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Result<Vec<Tensor>, String> {
    lower_to_buffers(&context(), text)?;
    execute_unchecked(text, inputs, symbols)
}

/// Compiles and runs the function in `text`.
pub fn execute_unchecked(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Result<Vec<Tensor>, String> {
    let context = context();
    register_all_llvm_translations(&context);
    let module = parse(&context, text)?;
    let graph = function(&module);
    let block = graph.region(0).expect("a body").first_block().expect("a block");
    let results: Vec<TensorType> =
        block.terminator().expect("a return").operands().map(|v| TensorType::of(v).expect("a graph tensor")).collect();
    // The lowered function takes only the symbols that its types use.
    let (linalg, mut lowered) = lower(&context, text)?;
    let used: Vec<i64> = winze_mlir::attributes::get(function(&lowered), "winze.symbols").expect("set by the lowering");
    run_passes(&context, &mut lowered, TO_LLVM).map_err(|e| format!("{e}\n{linalg}"))?;

    let mut buffers: Vec<Vec<u8>> = inputs.iter().map(Tensor::to_bytes).collect();
    let mut shapes: Vec<Vec<usize>> = inputs.iter().map(|input| input.shape.clone()).collect();
    for result in &results {
        let shape = result.shape(symbols)?;
        // Garbage, to show what was not written.
        buffers.push(vec![0xa5; shape.iter().product::<usize>() * result.element.bytes()]);
        shapes.push(shape);
    }
    let mut descriptors: Vec<Vec<i64>> = buffers
        .iter_mut()
        .zip(&shapes)
        .map(|(buffer, shape)| {
            let pointer = buffer.as_mut_ptr() as i64;
            let strides = (0..shape.len()).map(|i| shape[i + 1..].iter().product::<usize>() as i64);
            [pointer, pointer, 0].into_iter().chain(shape.iter().map(|extent| *extent as i64)).chain(strides).collect()
        })
        .collect();
    let mut pointers: Vec<*mut ()> = descriptors.iter_mut().map(|descriptor| descriptor.as_mut_ptr().cast()).collect();
    let mut symbol_values: Vec<i64> = used.iter().map(|symbol| symbols[*symbol as usize]).collect();
    let mut arguments: Vec<*mut ()> = pointers.iter_mut().map(|pointer| (pointer as *mut *mut ()).cast()).collect();
    arguments.extend(symbol_values.iter_mut().map(|value| (value as *mut i64).cast::<()>()));
    // Strided copies and half-precision conversions of stock lowerings.
    let libraries = ["c_runner_utils", "float16_utils"].map(|name| format!("{}/lib/libmlir_{name}.so", env!("MLIR_SYS_220_PREFIX")));
    let engine = ExecutionEngine::new(&lowered, 2, &libraries.each_ref().map(String::as_str), false, false);
    // SAFETY: one descriptor per memref argument and one value per index argument, as the C interface takes them.
    unsafe { engine.invoke_packed("k", &mut arguments) }.map_err(|e| format!("{e}\n{linalg}"))?;
    results
        .iter()
        .enumerate()
        .map(|(i, result)| Tensor::from_bytes(result.element, &shapes[inputs.len() + i], &buffers[inputs.len() + i]))
        .collect()
}

/// Largest error in units of the tolerance of the element type; integers must be equal.
pub fn distance(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!((a.element(), &a.shape), (b.element(), &b.shape));
    let tolerance = match a.element() {
        ElementType::F64 => 1e-11,
        ElementType::F32 => 2e-5,
        ElementType::F16 => 2e-3,
        ElementType::BF16 => 2e-2,
        _ => 0.0,
    };
    (0..a.count())
        .map(|i| match (a.get(i), b.get(i)) {
            (x, y) if x == y || x.f64().is_nan() && y.f64().is_nan() => 0.0,
            (x, y) if tolerance > 0.0 => (x.f64() - y.f64()).abs() / (tolerance * (1.0 + x.f64().abs())),
            _ => f64::INFINITY,
        })
        // NaN against a number is no small error.
        .fold(0.0, |worst: f64, error| if error.is_nan() { f64::INFINITY } else { worst.max(error) })
}

/// Evaluates and executes the function in `text` and compares.
pub fn check(text: &str, inputs: &[Tensor], symbols: &[i64]) -> Result<Vec<Tensor>, String> {
    let expected = evaluate(text, inputs, symbols)?;
    let found = execute(text, inputs, symbols)?;
    for (i, (expected, found)) in expected.iter().zip(&found).enumerate() {
        let error = distance(expected, found);
        if error > 1.0 {
            return Err(format!("result {i} is off by {error} tolerances\nexpected {expected:?}\nfound {found:?}\n{text}"));
        }
    }
    Ok(expected)
}
