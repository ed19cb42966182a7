//! Matrix tiles (AMX): whether they may be used, and a thread's hold on them. The compiler of this edition has
//! no stable names for the instructions, so here and in the kernels they are written as they are.

#![expect(unsafe_code, reason = "instructions without a stable name")]

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::sync::OnceLock;

/// Whether the processor has tiles of bfloat16 and of 8-bit numbers, and the system lets this process use them.
pub(crate) fn are_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        /// Bits of cpuid 7.0's edx: AMX-BF16, AMX-TILE, AMX-INT8.
        const BITS: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        /// Parts of the state that the system must save: the tiles' shape and the tiles.
        const SAVED: u64 = 1 << 17 | 1 << 18;
        if __cpuid_count(7, 0).edx & BITS != BITS || !is_x86_feature_detected!("xsave") {
            return false;
        }
        // SAFETY: the processor has xsave, and so xgetbv.
        let saved = unsafe { xcr0() };
        saved & SAVED == SAVED && permitted()
    })
}

#[target_feature(enable = "xsave")]
fn xcr0() -> u64 {
    // SAFETY: register 0 is there wherever xgetbv is.
    unsafe { _xgetbv(0) }
}

/// Linux gives tiles only to who asks, because they make a thread's saved state 8 kB larger.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// All eight tiles with 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Shape([u8; 64]);

const SHAPE: Shape = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Shape(bytes)
};

/// While it lives, this thread has eight tiles of 16 rows by 64 bytes; then the thread's state is small again.
#[derive(Debug)]
pub struct Tiles(());

impl Tiles {
    /// # Safety
    /// [`Level::Amx`](crate::Level::Amx) is there, and no other `Tiles` of this thread lives.
    #[must_use]
    pub unsafe fn take() -> Self {
        // SAFETY: the caller says that the instruction is there; the shape is a valid one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &SHAPE, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: as in `take`; the compiler keeps nothing in tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}
