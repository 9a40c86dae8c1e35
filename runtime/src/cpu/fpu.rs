//! The floating-point environment that kernels assume: round to nearest, denormals on, exceptions masked; the caller's comes back afterwards.

/// Sets the environment until dropped.
pub struct FloatEnvironment {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    saved: u64,
}

#[cfg(target_arch = "x86_64")]
const DEFAULT: u64 = 0x1f80;
#[cfg(target_arch = "aarch64")]
const DEFAULT: u64 = 0;

#[cfg(target_arch = "x86_64")]
fn get() -> u64 {
    let mut value = 0u32;
    // SAFETY: stores MXCSR to a local.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &mut value, options(nostack, preserves_flags)) };
    u64::from(value)
}

#[cfg(target_arch = "x86_64")]
fn set(value: u64) {
    let value = value as u32;
    // SAFETY: the value came from `get` or is the power-on default, so no reserved bit is set.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &value, options(nostack, preserves_flags, readonly)) };
}

#[cfg(target_arch = "aarch64")]
fn get() -> u64 {
    let value;
    // SAFETY: reads FPCR.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

#[cfg(target_arch = "aarch64")]
fn set(value: u64) {
    // SAFETY: the value came from `get` or is the default.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack, preserves_flags)) };
}

impl FloatEnvironment {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub fn enter() -> Self {
        let saved = get();
        set(DEFAULT);
        Self { saved }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn enter() -> Self {
        Self {}
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Drop for FloatEnvironment {
    fn drop(&mut self) {
        set(self.saved);
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn denormals_are_on_inside_and_the_mode_returns() {
        const FLUSH: u64 = 0x8040; // FTZ and DAZ
        let before = get();
        set(before | FLUSH);
        let denormal = std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(4.0);
        let inside = {
            let _environment = FloatEnvironment::enter();
            std::hint::black_box(f32::MIN_POSITIVE) / std::hint::black_box(4.0)
        };
        let after = get();
        set(before);
        assert_eq!(denormal, 0.0);
        assert_eq!(inside, f32::MIN_POSITIVE / 4.0);
        assert_eq!(after & FLUSH, FLUSH);
    }
}
