//! `verify-vulkan-types`: every value of a kernel has a type that the profile computes with; changes nothing.
//!
//! `convert-gpu-to-spirv` replaces other types silently by wider ones, with wrong results for memory and rounding.

use crate::gpu::{
    builder::{Val, block_arguments, blocks_of, name_of, op_ref, operations_below, results},
    profile::VulkanProfile,
};
use melior::ir::{OperationRef, ValueLike};
use winze_mlir::pass::{PassOption, RustPass};

pub struct VerifyTypes {
    profile: &'static VulkanProfile,
}

impl RustPass for VerifyTypes {
    const ARGUMENT: &'static str = "verify-vulkan-types";
    const DESCRIPTION: &'static str = "Refuse values of types that the Vulkan profile cannot compute with";
    const OPTIONS: &'static [PassOption] = &[PassOption { name: "profile", description: "Vulkan profile", default: "vulkan1.1-min" }];

    fn from_options(values: &[&str]) -> Result<Self, String> {
        Ok(Self { profile: VulkanProfile::named(values[0])? })
    }

    fn run(&self, op: OperationRef<'_, '_>) -> Result<(), String> {
        for inner in operations_below(op_ref(&op)) {
            for value in results(inner).into_iter().chain(blocks_of(inner).into_iter().flat_map(block_arguments)) {
                self.check(value).map_err(|why| format!("unsupported: {why} (a value of {})", name_of(inner)))?;
            }
        }
        Ok(())
    }
}

impl VerifyTypes {
    fn check(&self, value: Val<'_>) -> Result<(), String> {
        // memref<?xvector<2xi32>> -> vector<2xi32> -> i32
        let mut r#type = value.r#type();
        while let Some(element) = crate::gpu::builder::element_type(r#type) {
            r#type = element;
        }
        let element = r#type.to_string();
        let needs = match element.as_str() {
            "i1" | "i32" | "f32" | "index" => return Ok(()),
            "i8" => "Int8",
            "i16" => "Int16",
            "i64" => "Int64",
            "f16" => "Float16",
            "f64" => "Float64",
            other => return Err(format!("type {other} has no SPIR-V form here; convert to f32 or i32 first")),
        };
        if self.profile.has(needs) {
            return Ok(());
        }
        Err(format!(
            "type {element} needs SPIR-V capability {needs}, which profile {} does not have; choose another profile",
            self.profile.name
        ))
    }
}
