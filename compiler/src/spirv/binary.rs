//! `gpu.binary` -> bytes, and what can be read off the module and the bytes: buffer accesses, capabilities within the profile.

use crate::gpu::{
    VulkanProfile,
    builder::{Op, block_ref, name_of, operations_in},
};
use melior::ir::{Attribute, AttributeLike, Module, RegionLike, operation::OperationLike};
use winze_runtime::artifact::manifest::Access;

const MAGIC: u32 = 0x0723_0203;
const OP_CAPABILITY: u16 = 17;
const OP_FUNCTION: u16 = 54;

/// Capabilities by number, with the device feature that each needs: those of element types, and those every shader has.
const CAPABILITIES: &[(u32, &str, Option<&str>)] = &[
    (0, "Matrix", None),
    (1, "Shader", None),
    (9, "Float16", Some("float16")),
    (10, "Float64", Some("float64")),
    (11, "Int64", Some("int64")),
    (22, "Int16", Some("int16")),
    (39, "Int8", Some("int8")),
    (4433, "StorageBuffer16BitAccess", Some("storage16")),
    (4448, "StorageBuffer8BitAccess", Some("storage8")),
];

/// The SPIR-V of the one `gpu.binary` in the module.
pub fn binary(module: &Module<'_>) -> Result<Vec<u8>, String> {
    let op = find(block_ref(module.body()), "gpu.binary").ok_or("there is no gpu.binary")?;
    let objects = op.attribute("objects").map_err(|e| e.to_string())?.to_raw();
    // SAFETY: each step is checked before the next; the bytes belong to the context and are copied.
    let bytes = unsafe {
        if !mlir_sys::mlirAttributeIsAArray(objects) || mlir_sys::mlirArrayAttrGetNumElements(objects) != 1 {
            return Err("gpu.binary must have one object".into());
        }
        let object = mlir_sys::mlirArrayAttrGetElement(objects, 0);
        if !mlir_sys::mlirAttributeIsAGPUObjectAttr(object) {
            return Err("gpu.binary holds no object".into());
        }
        let text = mlir_sys::mlirGPUObjectAttrGetObject(object);
        std::slice::from_raw_parts(text.data.cast::<u8>(), text.length).to_vec()
    };
    if bytes.len() < 20 || bytes.len() % 4 != 0 || bytes[..4] != MAGIC.to_le_bytes() {
        return Err("the serialized module is not SPIR-V".into());
    }
    Ok(bytes)
}

/// How each buffer is used, from the finished `spirv.module`: `non_writable` buffers are read; the others are written, and read if anything loads them.
pub fn buffer_access(module: &Module<'_>, buffers: usize) -> Result<Vec<Access>, String> {
    let gpu = find(block_ref(module.body()), "gpu.module").ok_or("there is no gpu.module")?;
    let body = gpu.region(0).ok().and_then(|r| r.first_block()).map(|b| block_ref(b)).ok_or("empty gpu.module")?;
    let spirv = find(body, "spirv.module").ok_or("there is no spirv.module in the gpu.module")?;
    let body = spirv.region(0).ok().and_then(|r| r.first_block()).map(|b| block_ref(b)).ok_or("empty spirv.module")?;
    let uses = super::finish_interface::variable_uses(spirv);
    let mut access = vec![Access::Read; buffers];
    for op in operations_in(body).into_iter().filter(|o| name_of(*o) == "spirv.GlobalVariable") {
        let Some(binding) = op.attribute("binding").ok().and_then(integer) else { continue };
        let Some(slot) = access.get_mut(binding as usize) else { continue };
        let name = super::finish_interface::symbol(op);
        *slot = match (uses.read.contains(&name), uses.written.contains(&name)) {
            (_, false) => Access::Read,
            (false, true) => Access::Write,
            (true, true) => Access::ReadWrite,
        };
    }
    Ok(access)
}

fn integer(attribute: Attribute<'_>) -> Option<i64> {
    melior::ir::attribute::IntegerAttribute::try_from(attribute).ok().map(|a| a.value())
}

fn find<'c>(block: melior::ir::BlockRef<'c, 'c>, name: &str) -> Option<Op<'c>> {
    operations_in(block).into_iter().find(|o| name_of(*o) == name)
}

/// The device features that a module needs, sorted. Refuses a capability outside the profile: the last guard against silent requirements.
pub fn required_features(binary: &[u8], profile: &VulkanProfile) -> Result<Vec<String>, String> {
    let mut features = vec![];
    let words: Vec<u32> = binary.as_chunks::<4>().0.iter().map(|w| u32::from_le_bytes(*w)).collect();
    let mut at = 5;
    while let Some(word) = words.get(at) {
        let (opcode, length) = (*word as u16, (*word >> 16) as usize);
        if opcode == OP_FUNCTION {
            break;
        }
        if opcode == OP_CAPABILITY {
            let number = words.get(at + 1).copied().unwrap_or_default();
            let Some((_, _, feature)) = CAPABILITIES.iter().find(|c| c.0 == number && (c.1 == "Matrix" || profile.has(c.1))) else {
                let name = CAPABILITIES.iter().find(|c| c.0 == number).map_or("that this compiler does not know", |c| c.1);
                return Err(format!(
                    "unsupported: its code needs SPIR-V capability {number} ({name}), which profile {} does not have; choose another profile",
                    profile.name
                ));
            };
            features.extend(feature.map(str::to_string));
        }
        at += length.max(1);
    }
    features.sort();
    Ok(features)
}
