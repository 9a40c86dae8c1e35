//! The Vulkan backend on whatever device there is (a software renderer will do), under validation and synchronization validation.
//! Without a Vulkan device or without the validation layer the tests say so on stderr.
#![cfg(feature = "vulkan")]

#[path = "../fixture/mod.rs"]
mod fixture;

mod commands;
mod faults;
mod programs;
mod random;
mod speed;
mod states;

use std::io::Write;
use winze_runtime::{
    artifact::manifest::Access,
    device::VulkanSelector,
    program::Program,
    vulkan::{Messages, VulkanOptions, VulkanProgram, devices},
};

/// SPIR-V of `kernels/NAME.comp` and how it uses its buffers.
macro_rules! kernels {
    ($($name:ident: $($access:ident),*;)*) => {
        $(pub const $name: (&str, &[u8], &[Access]) = (
            stringify!($name),
            include_bytes!(concat!("kernels/", stringify!($name), ".spv")),
            &[$(Access::$access),*],
        );)*
    };
}

#[allow(non_upper_case_globals)]
mod kernel {
    use super::Access;
    kernels! {
        add: Read, Read, Write;
        add_i64: Read, Read, Write;
        and: Read, Read, Write;
        double_in_place: ReadWrite;
        iota: Write;
        less: Read, Read, Write;
        scale: Read, Write;
        spin: Write;
        sum: Read, Write;
    }
}

/// Not captured by the test harness, unlike `eprintln!`.
fn report(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Runs `test` with the program loaded under validation, once with mapped device memory (where there is some) and once with staging. Expects
/// no message, also from the destruction of everything.
fn validated(program: &Program, options: &VulkanOptions, test: impl Fn(&VulkanProgram)) {
    if devices().is_empty() {
        return report("skipped: no Vulkan device on this machine");
    }
    for direct_memory in [true, false] {
        let messages = Messages::default();
        let mut options = VulkanOptions { validation: Some(messages.clone()), direct_memory, ..options.clone() };
        let loaded = match VulkanProgram::load(program, 0, &VulkanSelector::Best, &options) {
            Err(error) if error.to_string().contains("VK_LAYER_KHRONOS_validation") => {
                report(&format!("not validated: {error}"));
                options.validation = None;
                VulkanProgram::load(program, 0, &VulkanSelector::Best, &options)
            }
            other => other,
        };
        let loaded = loaded.unwrap();
        test(&loaded);
        drop(loaded);
        assert_eq!(messages.all(), [""; 0], "direct memory: {direct_memory}");
    }
}

/// Numbers as bytes.
fn bytes<T: winze_runtime::tensor::Element>(values: &[T]) -> Vec<u8> {
    T::bytes(values).to_vec()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn ints(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect()
}
