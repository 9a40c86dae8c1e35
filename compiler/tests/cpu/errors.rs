//! What code generation refuses, and that its output does not depend on the number of workers.

use crate::payload::*;
use winze_compiler::{
    kernel_unit::NoObserver,
    llvm::{CpuTarget, CpuUnit, compile_kernels},
    schedule::{LoopRole, OpClass},
};

fn refused(unit: CpuUnit, target: &CpuTarget) -> String {
    compile_kernels(&[unit], target, 1, &NoObserver).expect_err("the kernel must be refused")
}

fn negate(name: &str) -> String {
    format!(
        r#"func.func @{name}(%a: tensor<100xf32>, %out: tensor<100xf32> {{bufferization.writable = true}}) -> tensor<100xf32> {{
  %o = linalg.generic {{indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]}}
    ins(%a : tensor<100xf32>) outs(%out : tensor<100xf32>) attrs = {{winze.root}} {{
  ^bb0(%x: f32, %o: f32):
    %r = arith.negf %x : f32
    linalg.yield %r : f32
  }} -> tensor<100xf32>
  return %o : tensor<100xf32>
}}"#
    )
}

#[test]
fn buffers_without_bound_are_refused() {
    let module = r#"func.func @k(%a: tensor<?xf32> {winze.dims = affine_map<()[s0] -> (s0)>},
    %sizes: tensor<1xi32>, %out: tensor<?xf32> {bufferization.writable = true, winze.dims = affine_map<()[s0] -> (s0)>}, %m: index) -> tensor<?xf32> {
  %zero = arith.constant 0 : index
  %n = tensor.extract %sizes[%zero] : tensor<1xi32>
  %size = arith.index_cast %n : i32 to index
  %e = tensor.empty(%size) : tensor<?xf32>
  %b = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%a : tensor<?xf32>) outs(%e : tensor<?xf32>) {
  ^bb0(%x: f32, %z: f32):
    %r = arith.negf %x : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  %o = linalg.generic {indexing_maps = [affine_map<(i) -> (i)>, affine_map<(i) -> (i)>], iterator_types = ["parallel"]} ins(%b : tensor<?xf32>) outs(%out : tensor<?xf32>) attrs = {winze.root} {
  ^bb0(%x: f32, %z: f32):
    %r = arith.addf %x, %x : f32
    linalg.yield %r : f32
  } -> tensor<?xf32>
  return %o : tensor<?xf32>
}"#;
    for target in targets() {
        let error = refused(unit("k", OpClass::Sequential, vec![symbol(0, LoopRole::Free)], &target, module.to_owned()), &target);
        assert!(error.contains("kernel @k") && error.contains("no bounded size"), "{error}");
    }
}

#[test]
fn a_grid_that_differs_from_the_announced_one_is_refused() {
    let target = CpuTarget::named("x86-64-v3").unwrap();
    let mut unit = unit("k", OpClass::Elementwise, vec![constant(100, LoopRole::Free)], &target, negate("k"));
    (unit.schedule.script, unit.schedule.tile) = ("tile".to_owned(), vec![30]);
    let error = refused(unit, &target);
    assert!(error.contains("schedule") && error.contains("announced"), "{error}");
}

#[test]
fn text_that_is_no_module_is_refused_with_its_place() {
    let target = CpuTarget::named("x86-64-v3").unwrap();
    let error = refused(unit("k", OpClass::Sequential, vec![], &target, "func.func @k(".to_owned()), &target);
    assert!(error.contains("does not parse") && error.contains("loc("), "{error}");
}

#[test]
fn the_image_does_not_depend_on_the_number_of_workers() {
    let target = CpuTarget::named("x86-64-v3").unwrap();
    let units: Vec<_> = (0..6)
        .map(|i| {
            let name = format!("negate{i}");
            unit(&name, OpClass::Elementwise, vec![constant(100, LoopRole::Free)], &target, negate(&name))
        })
        .collect();
    let images: Vec<_> = [1, 2, 5].map(|jobs| compile_kernels(&units, &target, jobs, &NoObserver).unwrap().0).to_vec();
    assert_eq!(images[0], images[1]);
    assert_eq!(images[0], images[2]);
    assert_eq!(images[0].entries.len(), 6);
}
