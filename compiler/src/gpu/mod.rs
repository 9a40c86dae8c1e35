//! Kernels at the `linalg` stage -> `schedule` -> `gpu` -> SPIR-V binaries for Vulkan. Plain but correct code: one invocation per result element or row.
//!
//! | pass | what it does |
//! |---|---|
//! | `distribute-elements` | linalg on tensors -> one `scf.forall` of scalar code on memrefs, without temporaries |
//! | `linearize-memrefs` | buffers of any rank -> flat buffers of types that the profile can store |
//! | `map-grid-to-workgroups` | the `scf.forall` -> a `gpu.func`, one invocation per iteration |
//! | `expand-shader-math` | `math` operations that SPIR-V conversion lacks |
//! | `widen-narrow-integers` | 8- and 16-bit integers -> 32-bit ones, where the profile lacks them |
//! | `expand-integer-division` | signed remainders, and 64-bit division where it is emulated |
//! | `split-wide-values` | 64-bit integers carried by loops and conditionals -> pairs of words |
//! | `unroll-long-loops` | loops in which one invocation takes more turns than drivers allow -> several steps a turn |
//! | `guard-empty-loops` | loops that may take no turn -> the same, whose results are defined then |
//! | `verify-vulkan-types` | nothing is left that SPIR-V conversion would replace silently |
//! | `spirv-mark-exact` | (in `spirv/`) drivers may fuse multiply-add and rearrange nothing else |
//! | `spirv-finish-interface` | (in `spirv/`) exact decorations, module in place for serialization |

pub mod builder;
pub mod profile;
pub mod sizes;

pub mod distribute_elements;
pub mod linearize_memrefs;
pub mod map_grid_to_workgroups;

pub mod expand_integer_division;
pub mod expand_shader_math;
pub mod guard_empty_loops;
pub mod split_wide_values;
pub mod unroll_long_loops;
pub mod verify_types;
pub mod widen_narrow_integers;

mod compile;

pub use compile::{CompileError, VulkanKernel, compile_kernels, compile_kernels_observed};
pub use profile::VulkanProfile;

use winze_mlir::pass::register;

/// Registers the passes of this stage.
pub fn register_passes() {
    register::<distribute_elements::DistributeElements>();
    register::<linearize_memrefs::LinearizeMemrefs>();
    register::<map_grid_to_workgroups::MapGridToWorkgroups>();
    register::<expand_shader_math::ExpandShaderMath>();
    register::<widen_narrow_integers::WidenNarrowIntegers>();
    register::<expand_integer_division::ExpandIntegerDivision>();
    register::<split_wide_values::SplitWideValues>();
    register::<unroll_long_loops::UnrollLongLoops>();
    register::<guard_empty_loops::GuardEmptyLoops>();
    register::<verify_types::VerifyTypes>();
}

/// `linalg` -> `schedule`: one `scf.forall` over result elements or rows.
pub fn schedule_pipeline() -> String {
    pipeline(&["func.func(", "linalg-generalize-named-ops,", "convert-elementwise-to-linalg),", "distribute-elements"])
}

/// `schedule` -> `gpu`: flat buffers, one invocation per iteration, scalar types that the profile has.
pub fn gpu_pipeline(profile: &VulkanProfile) -> String {
    let name = &profile.name;
    let narrow = if profile.has("Int8") && profile.has("Int16") { "" } else { "widen-narrow-integers," };
    let wide = if profile.has("Int64") {
        "expand-integer-division{widest=64},"
    } else {
        "expand-integer-division{widest=32},split-wide-values,gpu.func(arith-emulate-wide-int{widest-int-supported=32}),"
    };
    pipeline(&[
        // Drivers promise little for exp, sin and the like, and no fused multiply-add.
        &format!("expand-math{{fma=false keep={}}},", profile.driver_math.join(",")),
        &format!("func.func(linearize-memrefs{{profile={name}}}),"),
        &format!("map-grid-to-workgroups{{profile={name}}},"),
        "gpu.module(",
        "lower-affine,",
        "math-extend-to-supported-types{target-type=f32},",
        "arith-emulate-unsupported-floats{source-types=f16,bf16 target-type=f32},",
        "arith-expand{include-bf16=true},",
        "expand-shader-math,",
        "canonicalize,",
        narrow,
        wide,
        "canonicalize,",
        "gpu.func(unroll-long-loops),",
        "canonicalize,",
        "gpu.func(guard-empty-loops),",
        "cse,",
        "loop-invariant-code-motion,",
        &format!("verify-vulkan-types{{profile={name}}})"),
    ])
}

/// `gpu` -> `spirv`.
pub fn spirv_pipeline() -> String {
    pipeline(&[
        "gpu.module(convert-math-to-spirv),",
        "convert-gpu-to-spirv,",
        "spirv.module(",
        "spirv-lower-abi-attrs,",
        "canonicalize,",
        "cse,",
        "spirv-mark-exact,",
        "spirv-update-vce),",
        "spirv-finish-interface",
    ])
}

fn pipeline(passes: &[&str]) -> String {
    format!("builtin.module({})", passes.concat())
}
