//! The levels of processors, the one that runs, and functions compiled for each.

use std::sync::OnceLock;

/// What a processor can do, from least to most. A level that was asked for and is not there counts as the
/// best one below it.
///
/// A level beyond [`Level::Portable`] is had from [`Level::best`] or [`Level::available`], which have asked the
/// processor; code that names one by itself must not run on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the compiler makes of plain Rust for the oldest processor of the kind.
    Portable,
    /// 64-bit ARM.
    Neon,
    /// The same with 8-bit dot products.
    NeonDot,
    /// AVX2 and FMA.
    Avx2,
    /// AVX2 with 8-bit dot products.
    AvxVnni,
    /// AVX-512 with 8-bit dot products.
    Avx512,
    /// The same with bfloat16 dot products.
    Avx512Bf16,
    /// The same with matrix tiles for both.
    Amx,
}

/// The environment variable that names the level to use at most: for tests, and to find a fault.
const VARIABLE: &str = "BT_CPU";

impl Level {
    const NAMES: [(&'static str, Self); 8] = [
        ("portable", Self::Portable),
        ("neon", Self::Neon),
        ("neon-dot", Self::NeonDot),
        ("avx2", Self::Avx2),
        ("avx-vnni", Self::AvxVnni),
        ("avx512", Self::Avx512),
        ("avx512-bf16", Self::Avx512Bf16),
        ("amx", Self::Amx),
    ];

    /// The best that this processor has, or that BT_CPU allows.
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            let asked = std::env::var(VARIABLE).unwrap_or_default();
            let most = Self::named(&asked).unwrap_or(Self::Amx);
            Self::available()
                .into_iter()
                .rfind(|level| *level <= most)
                .unwrap_or(Self::Portable)
        })
    }

    fn named(name: &str) -> Option<Self> {
        let mut levels = Self::NAMES.into_iter();
        levels
            .find(|(other, _)| *other == name)
            .map(|(_, level)| level)
    }

    /// What BT_CPU says, where that is no level.
    pub fn unknown() -> Option<String> {
        let asked = std::env::var_os(VARIABLE)?;
        let asked = asked.to_string_lossy();
        (!asked.is_empty() && Self::named(&asked).is_none()).then(|| asked.into_owned())
    }

    /// All that BT_CPU can say.
    pub fn names() -> String {
        Self::NAMES.map(|(name, _)| name).join(", ")
    }

    /// All that this processor has, from least to most.
    pub fn available() -> Vec<Self> {
        Self::NAMES
            .into_iter()
            .map(|(_, level)| level)
            .filter(|level| level.is_there())
            .collect()
    }

    /// `portable`, `neon`, `neon-dot`, `avx2`, `avx-vnni`, `avx512`, `avx512-bf16` or `amx`.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn is_there(self) -> bool {
        self == Self::Portable
    }

    #[cfg(target_arch = "aarch64")]
    fn is_there(self) -> bool {
        match self {
            Self::Portable | Self::Neon => true,
            Self::NeonDot => std::arch::is_aarch64_feature_detected!("dotprod"),
            _ => false,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn is_there(self) -> bool {
        match self {
            Self::Portable => true,
            Self::Neon | Self::NeonDot => false,
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Self::AvxVnni => Self::Avx2.is_there() && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => {
                Self::Avx2.is_there()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Avx512Bf16 => Self::Avx512.is_there() && is_x86_feature_detected!("avx512bf16"),
            Self::Amx => Self::Avx512Bf16.is_there() && crate::tiles::are_there(),
        }
    }
}

/// Whether every processor that this is compiled for multiplies and adds in one instruction; where not, `mul_add`
/// without one is a slow call.
pub const FMA: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// A function over slices that is compiled for each level and run on the one that is its first argument:
/// plain loops in it become that level's vector instructions. `FMA` says in it whether `mul_add` is one of them.
#[macro_export]
macro_rules! vectorised {
    ($(#[$about:meta])* $visible:vis fn $name:ident $(<const $number:ident: usize>)? ($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block) => {
        $(#[$about])*
        #[allow(clippy::too_many_arguments)]
        $visible fn $name $(<const $number: usize>)? (level: $crate::Level, $($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn plain<const FMA: bool $(, const $number: usize)?>($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2 $(<const $number: usize>)? ($($argument: $type),*) $(-> $result)? {
                    plain::<true $(, $number)?>($($argument),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512 $(<const $number: usize>)? ($($argument: $type),*) $(-> $result)? {
                    plain::<true $(, $number)?>($($argument),*)
                }
                use $crate::Level;
                #[expect(unsafe_code, reason = "instructions that the processor was asked for")]
                // SAFETY: a level beyond `Portable` comes from `best` or `available`, which have asked.
                unsafe {
                    match level {
                        Level::Portable | Level::Neon | Level::NeonDot => {
                            plain::<{ $crate::FMA } $(, $number)?>($($argument),*)
                        }
                        Level::Avx2 | Level::AvxVnni => avx2 $(::<$number>)? ($($argument),*),
                        Level::Avx512 | Level::Avx512Bf16 | Level::Amx => avx512 $(::<$number>)? ($($argument),*),
                    }
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = level;
                plain::<{ $crate::FMA } $(, $number)?>($($argument),*)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_levels() {
        for (at, (_, level)) in Level::NAMES.iter().enumerate() {
            assert_eq!(at, *level as usize);
        }
    }

    #[test]
    fn every_level_there_is_runs() {
        assert_eq!(Level::available()[0], Level::Portable);
        assert!(Level::available().contains(&Level::best()));
        vectorised! {
            fn sum(values: &[f32]) -> f32 {
                values.iter().sum()
            }
        }
        for level in Level::available() {
            assert_eq!(sum(level, &[1.0, 2.0, 4.0]), 7.0, "{}", level.name());
        }
    }
}
