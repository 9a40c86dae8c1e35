//! SPIR-V bytes -> 32-bit words, after checking what drivers take on trust: header, instruction lengths, the entry point, its workgroup
//! size and that the device has the capabilities in use. It is no validator of instructions.

use super::physical::PhysicalDevice;

const MAGIC: u32 = 0x0723_0203;
const OP_ENTRY_POINT: u32 = 15;
const OP_EXECUTION_MODE: u32 = 16;
const OP_CAPABILITY: u32 = 17;
const OP_FUNCTION: u32 = 54;
const MODEL_GL_COMPUTE: u32 = 5;
const MODE_LOCAL_SIZE: u32 = 17;

/// Capability numbers and the feature names that stand for them.
const CAPABILITIES: [(u32, &str); 13] = [
    (9, "float16"),
    (10, "float64"),
    (11, "int64"),
    (22, "int16"),
    (39, "int8"),
    (61, "subgroup-basic"),
    (62, "subgroup-vote"),
    (63, "subgroup-arithmetic"),
    (64, "subgroup-ballot"),
    (65, "subgroup-shuffle"),
    (66, "subgroup-shuffle-relative"),
    (4433, "storage16"),
    (4448, "storage8"),
];

/// The module's words, or what is wrong with it.
pub(super) fn check_module(bytes: &[u8], entry: &str, workgroup: [u32; 3], device: &PhysicalDevice) -> Result<Vec<u32>, String> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let words: Vec<u32> = chunks.iter().map(|word| u32::from_le_bytes(*word)).collect();
    if !rest.is_empty() || words.len() < 5 || words[0] != MAGIC {
        return Err("its code is not a SPIR-V module".into());
    }
    let (mut entry_id, mut sizes, mut at) = (None, Vec::new(), 5);
    while at < words.len() {
        let (opcode, length) = (words[at] & 0xffff, (words[at] >> 16) as usize);
        let Some(operands) = words.get(at + 1..at + length).filter(|_| length > 0) else {
            return Err("its SPIR-V module is cut short".into());
        };
        match (opcode, operands) {
            (OP_CAPABILITY, [capability]) => {
                let name = CAPABILITIES.iter().find(|row| row.0 == *capability).map(|row| row.1);
                if let Some(name) = name.filter(|name| !device.features.iter().any(|f| f == name)) {
                    return Err(format!("its code uses {name}, which {} lacks", device.label()));
                }
            }
            (OP_ENTRY_POINT, [MODEL_GL_COMPUTE, id, name @ ..]) if is_text(name, entry) => entry_id = Some(*id),
            (OP_EXECUTION_MODE, [id, MODE_LOCAL_SIZE, x, y, z]) => sizes.push((*id, [*x, *y, *z])),
            // Everything of interest stands before the first function.
            (OP_FUNCTION, _) => break,
            _ => {}
        }
        at += length;
    }
    let id = entry_id.ok_or_else(|| format!("its SPIR-V module has no compute entry point \"{entry}\""))?;
    match sizes.iter().find(|size| size.0 == id) {
        Some((_, size)) if *size != workgroup => {
            Err(format!("its workgroup size is {size:?} in the code and {workgroup:?} in the manifest"))
        }
        Some(_) => Ok(words),
        None => Err("its code states no workgroup size".into()),
    }
}

/// Whether a SPIR-V literal string at the start of `words` equals `text`.
fn is_text(words: &[u32], text: &str) -> bool {
    words.iter().flat_map(|word| word.to_le_bytes()).take(text.len() + 1).eq(text.bytes().chain([0]))
}
