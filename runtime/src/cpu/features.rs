//! Required CPU features of a variant -> met or not, before any of its code is mapped. Names are those of `std::is_x86_feature_detected!`.

use crate::{
    device::DeviceInfo,
    error::{Error, Result},
};

macro_rules! detect {
    ($detect:ident: $($name:tt),*) => {
        [$(($name, std::arch::$detect!($name))),*]
    };
}

/// Known feature names and whether this CPU (and operating system) has them.
#[cfg(target_arch = "x86_64")]
fn known() -> impl Iterator<Item = (&'static str, bool)> {
    detect!(is_x86_feature_detected:
        "mmx", "fxsr", "sse", "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "popcnt", "cmpxchg16b", "movbe", "rdrand", "rdseed", "adx",
        "aes", "pclmulqdq", "sha", "sha512", "gfni", "vaes", "vpclmulqdq", "xsave", "xsavec", "xsaveopt", "xsaves", "bmi1", "bmi2", "lzcnt",
        "tbm", "f16c", "fma", "avx", "avx2", "avxvnni", "avxvnniint8", "avxvnniint16", "avxifma", "avxneconvert", "avx512f", "avx512cd",
        "avx512bw", "avx512dq", "avx512vl", "avx512vnni", "avx512bf16", "avx512fp16", "avx512vbmi", "avx512vbmi2", "avx512ifma",
        "avx512bitalg", "avx512vpopcntdq", "avx512vp2intersect"
    )
    .into_iter()
}

#[cfg(target_arch = "aarch64")]
fn known() -> impl Iterator<Item = (&'static str, bool)> {
    detect!(is_aarch64_feature_detected: "neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "lse", "rdm", "fhm").into_iter()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn known() -> impl Iterator<Item = (&'static str, bool)> {
    std::iter::empty()
}

/// /proc/cpuinfo, LLVM and Rust spell some names differently; this is Rust's spelling.
fn canonical(name: &str) -> &str {
    match name {
        "sse4_1" => "sse4.1",
        "sse4_2" => "sse4.2",
        "pni" => "sse3",
        "pclmul" => "pclmulqdq",
        "bmi" => "bmi1",
        "abm" => "lzcnt",
        "cx16" => "cmpxchg16b",
        "avx512_vnni" => "avx512vnni",
        "avx512_bf16" => "avx512bf16",
        "avx512_fp16" => "avx512fp16",
        "avx512_vbmi2" => "avx512vbmi2",
        "avx512_bitalg" => "avx512bitalg",
        "avx512_vp2intersect" => "avx512vp2intersect",
        "avx512_vpopcntdq" => "avx512vpopcntdq",
        "avx_vnni" => "avxvnni",
        "asimd" => "neon",
        "fullfp16" | "fphp" => "fp16",
        other => other,
    }
}

/// Checks architecture, operating system and features.
pub fn check(triple: &str, features: &[String]) -> Result<()> {
    let architecture = triple.split('-').next().unwrap_or_default();
    if architecture != std::env::consts::ARCH {
        return Err(Error::Device(format!("code for {triple} does not run on {}", std::env::consts::ARCH)));
    }
    let missing: Vec<_> =
        features.iter().map(|name| canonical(name)).filter(|name| !known().any(|(known, present)| known == *name && present)).collect();
    if missing.is_empty() { Ok(()) } else { Err(Error::Device(format!("this CPU lacks {}", missing.join(", ")))) }
}

/// This machine's CPU.
pub fn device_info() -> DeviceInfo {
    DeviceInfo {
        id: "cpu".into(),
        name: cpu_name().unwrap_or_else(|| std::env::consts::ARCH.into()),
        kind: "cpu".into(),
        driver: String::new(),
        features: known().filter(|(_, present)| *present).map(|(name, _)| name.to_owned()).collect(),
        memory_bytes: physical_memory(),
    }
}

fn cpu_name() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name") || line.starts_with("Model"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn physical_memory() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).unwrap_or(0) * u64::try_from(size).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn other_machines_and_missing_features_are_named() {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        assert!(check(&triple, &[]).is_ok());
        let error = |triple: &str, list: &[&str]| check(triple, &names(list)).unwrap_err().to_string();
        assert!(error("riscv64gc-unknown-linux-gnu", &[]).starts_with("device: code for riscv64gc-unknown-linux-gnu does not run on "));
        assert_eq!(error(&triple, &["no1", "no2"]), "device: this CPU lacks no1, no2");
    }

    /// What the kernel says this CPU has must be found, under the names of /proc/cpuinfo too. (The kernel hides what it works around.)
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn everything_the_kernel_lists_is_detected() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: Vec<&str> = info.lines().find_map(|l| l.strip_prefix("flags")).unwrap().split_whitespace().collect();
        for (name, present) in known() {
            let listed = flags.iter().any(|flag| canonical(flag) == name);
            assert!(present || !listed, "{name}");
        }
    }
}
