//! Target name -> what LLVM, the schedules and the manifest need to know of a CPU. Refuses names that are not in targets.toml.

use super::codegen;
use serde::Deserialize;
use std::collections::BTreeMap;

const TABLE: &str = include_str!("targets.toml");

/// Features an artifact may ask a machine for, as `std::arch::is_x86_feature_detected` and as LLVM name them.
const KNOWN_FEATURES: &[(&str, &str)] = &[
    ("sse3", "sse3"),
    ("ssse3", "ssse3"),
    ("sse4.1", "sse4.1"),
    ("sse4.2", "sse4.2"),
    ("popcnt", "popcnt"),
    ("avx", "avx"),
    ("avx2", "avx2"),
    ("fma", "fma"),
    ("f16c", "f16c"),
    ("bmi1", "bmi"),
    ("bmi2", "bmi2"),
    ("lzcnt", "lzcnt"),
    ("movbe", "movbe"),
    ("adx", "adx"),
    ("aes", "aes"),
    ("pclmulqdq", "pclmul"),
    ("gfni", "gfni"),
    ("vaes", "vaes"),
    ("vpclmulqdq", "vpclmulqdq"),
    ("avxvnni", "avxvnni"),
    ("avx512f", "avx512f"),
    ("avx512bw", "avx512bw"),
    ("avx512cd", "avx512cd"),
    ("avx512dq", "avx512dq"),
    ("avx512vl", "avx512vl"),
    ("avx512ifma", "avx512ifma"),
    ("avx512vbmi", "avx512vbmi"),
    ("avx512vbmi2", "avx512vbmi2"),
    ("avx512vnni", "avx512vnni"),
    ("avx512bitalg", "avx512bitalg"),
    ("avx512vpopcntdq", "avx512vpopcntdq"),
    ("avx512bf16", "avx512bf16"),
    ("avx512fp16", "avx512fp16"),
];

/// One CPU to generate code for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct CpuTarget {
    /// As the user wrote it: `x86-64-v3`, `native`.
    #[serde(skip)]
    pub name: String,
    pub triple: String,
    /// LLVM's processor name.
    pub cpu: String,
    /// LLVM's feature string.
    pub features: String,
    /// What a machine must have, for the manifest.
    pub requires: Vec<String>,
    /// Widest vector register in bits.
    pub vector_bits: u32,
    /// Number of vector registers.
    pub vector_registers: u32,
    /// How hard LLVM optimizes kernels, 0 to 3. Schedules and everything above them do not depend on it.
    #[serde(skip, default = "CpuTarget::full_level")]
    pub level: u8,
}

impl CpuTarget {
    /// What kernels are compiled with when nobody says otherwise.
    pub const fn full_level() -> u8 {
        3
    }

    /// `native` is the machine this runs on; everything else is looked up in targets.toml.
    pub fn named(name: &str) -> Result<Self, String> {
        if name == "native" {
            return Self::native();
        }
        let mut table = table();
        match table.remove(name) {
            Some(target) => Ok(Self { name: name.to_owned(), ..target }),
            None => {
                let known: Vec<_> = table.keys().map(String::as_str).collect();
                Err(format!("target: no CPU target is called '{name}'; choose native or one of: {}", known.join(", ")))
            }
        }
    }

    /// Names `named` accepts, `native` first.
    pub fn names() -> Vec<String> {
        std::iter::once("native".to_owned()).chain(table().into_keys()).collect()
    }

    /// Whether it has instructions that multiply unsigned by signed bytes and add four products to a lane of 32 bits.
    pub fn has_vnni(&self) -> bool {
        let feature = if self.vector_bits == 512 { "avx512vnni" } else { "avxvnni" };
        self.requires.iter().any(|required| required == feature)
    }

    fn native() -> Result<Self, String> {
        if !cfg!(target_arch = "x86_64") {
            return Err(format!("target: native code for {} is not supported; name an x86-64 target", std::env::consts::ARCH));
        }
        let host = codegen::host_cpu();
        let has = |feature: &str| host.features.split(',').any(|f| f.strip_prefix('+') == Some(feature));
        if !has("avx2") || !has("fma") {
            return Err(format!("target: this machine ({}) lacks AVX2 or FMA, which every CPU target needs", host.cpu));
        }
        let wide = has("avx512f") && has("avx512bw") && has("avx512dq") && has("avx512vl");
        let requires = KNOWN_FEATURES.iter().filter(|(_, llvm)| has(llvm)).map(|(name, _)| (*name).to_owned()).collect();
        Ok(Self {
            name: "native".to_owned(),
            triple: "x86_64-unknown-linux-gnu".to_owned(),
            cpu: host.cpu,
            features: if wide { format!("{},-prefer-256-bit", host.features) } else { host.features },
            requires,
            vector_bits: if wide { 512 } else { 256 },
            vector_registers: if wide { 32 } else { 16 },
            level: Self::full_level(),
        })
    }
}

fn table() -> BTreeMap<String, CpuTarget> {
    toml::from_str(TABLE).expect("targets.toml is part of this crate and read by its tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_target_resolves() {
        for name in CpuTarget::names() {
            let target = CpuTarget::named(&name).unwrap();
            assert_eq!(target.name, name);
            for feature in &target.requires {
                assert!(KNOWN_FEATURES.iter().any(|(known, _)| known == feature), "{feature}");
            }
        }
    }

    #[test]
    fn unknown_target_lists_the_known_ones() {
        let error = CpuTarget::named("z80").unwrap_err();
        assert!(error.contains("'z80'") && error.contains("x86-64-v3"), "{error}");
    }
}
