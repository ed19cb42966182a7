//! exp and erf to the last bits of f32, without branches or calls, so that loops over them become vector
//! instructions; and the numerators of softmax with them.

/// Within 2 ulp; 0 and infinity are rounded to the smallest and largest normal numbers. Cephes' `expf`: a
/// power of two by its exponent bits, the rest by a polynomial.
#[inline(always)]
pub(crate) fn exp<const FMA: bool>(x: f32) -> f32 {
    /// 1.5 x 2^23: adding it leaves the nearest integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.3, 88.3);
    let shifted = fused::<FMA>(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = fused::<FMA>(n, -LN2_LOW, fused::<FMA>(n, -LN2_HIGH, x));
    let p = 1.987_569_1e-4_f32;
    let p = fused::<FMA>(p, r, 1.398_2e-3);
    let p = fused::<FMA>(p, r, 8.333_452e-3);
    let p = fused::<FMA>(p, r, 4.166_579_6e-2);
    let p = fused::<FMA>(p, r, 1.666_666_5e-1);
    let p = fused::<FMA>(p, r, 5e-1);
    let p = fused::<FMA>(p * r, r, r) + 1.0;
    let exponent = (shifted.to_bits() as i32)
        .wrapping_sub(ROUND.to_bits() as i32)
        .wrapping_add(127);
    p * f32::from_bits((exponent as u32) << 23)
}

/// `a b + c`, rounded once where that is one instruction.
#[inline(always)]
pub(crate) fn fused<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

/// Within a few 1e-7: the rational approximation that Eigen uses, `x P(x²) / Q(x²)`, up to where f32 knows only 1.
#[inline(always)]
pub(crate) fn erf<const FMA: bool>(x: f32) -> f32 {
    /// 1 - erf of it is less than half of the last bit of 1.
    const ONE_FROM: f32 = 3.9;
    if x.abs() >= ONE_FROM {
        return 1f32.copysign(x);
    }
    let s = x * x;
    let p = -2.726_142_4e-10_f32;
    let p = fused::<FMA>(p, s, 2.770_681_5e-8);
    let p = fused::<FMA>(p, s, -2.101_024e-6);
    let p = fused::<FMA>(p, s, -5.692_506e-5);
    let p = fused::<FMA>(p, s, -7.349_906e-4);
    let p = fused::<FMA>(p, s, -2.954_6e-3);
    let p = fused::<FMA>(p, s, -1.609_603_3e-2);
    let q = -1.456_607_2e-5_f32;
    let q = fused::<FMA>(q, s, -2.133_740_6e-4);
    let q = fused::<FMA>(q, s, -1.682_827e-3);
    let q = fused::<FMA>(q, s, -7.373_329e-3);
    let q = fused::<FMA>(q, s, -1.426_474e-2);
    x * p / q
}

/// `exp(row + bias - largest)` in place, and one over their sum: their product is softmax, and what is made of the
/// row is mostly shorter than it. Of a row whose every column is masked that is a mean over all, as in the plain
/// form.
#[inline(always)]
pub(crate) fn exponentials<const FMA: bool>(row: &mut [f32], bias: Option<&[f32]>) -> f32 {
    if let Some(bias) = bias {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
    let most = |a: f32, b: f32| if a < b { b } else { a };
    let (chunks, rest) = row.as_chunks_mut::<32>();
    // What is left over, among columns that nothing is left to.
    let mut last = [f32::NEG_INFINITY; 32];
    last[..rest.len()].copy_from_slice(rest);
    let mut lanes = last;
    for chunk in chunks.iter() {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = most(*lane, *value);
        }
    }
    let largest = joined(lanes, most);
    let mut sums = [0f32; 32];
    let mut exp_of = |chunk: &mut [f32; 32]| {
        let mut values = *chunk;
        for (value, sum) in values.iter_mut().zip(&mut sums) {
            *value = exp::<FMA>(*value - largest);
            *sum += *value;
        }
        *chunk = values;
    };
    chunks.iter_mut().for_each(&mut exp_of);
    if !rest.is_empty() {
        exp_of(&mut last);
        rest.copy_from_slice(&last[..rest.len()]);
    }
    1.0 / joined(sums, |a, b| a + b)
}

/// Folds in 32 lanes, which is the order that all vector instructions can keep.
#[inline(always)]
pub(crate) fn fold(
    line: &[f32],
    start: f32,
    f: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut lanes = [start; 32];
    let (chunks, rest) = line.as_chunks::<32>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = f(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, *x);
    }
    joined(lanes, join)
}

/// The lanes as one, in halves, which are vector instructions too.
#[inline(always)]
fn joined(mut lanes: [f32; 32], join: impl Fn(f32, f32) -> f32) -> f32 {
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] = join(lanes[lane], lanes[lane + half]);
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use bt_cpu::FMA;

    #[test]
    fn exp_is_exact_to_two_ulp() {
        for i in -870_000..=880_000 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x).exp();
            for got in [exp::<true>(x), exp::<false>(x)] {
                let error = (f64::from(got) - exact).abs() / exact;
                assert!(error < 2.4e-7, "exp({x}): {error:e}");
            }
        }
        assert!(exp::<true>(-1e9) < 1.3e-38 && exp::<true>(1e9) > 1e38);
    }

    #[test]
    fn softmax_sums_to_one_and_leaves_nothing_to_masked_columns() {
        for length in [1, 2, 7, 8, 9, 65, 325] {
            let mut row: Vec<f32> = (0..length)
                .map(|i| ((i * 37) % 11) as f32 * 3.0 - 15.0)
                .collect();
            let mut bias = vec![0.0; length];
            if length > 2 {
                bias[length - 1] = f32::MIN;
            }
            let inverse = exponentials::<FMA>(&mut row, Some(&bias));
            row.iter_mut().for_each(|value| *value *= inverse);
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(length <= 2 || row[length - 1] < 1e-30);
        }
        let mut masked = vec![1.0, 2.0, 3.0, 4.0];
        let inverse = exponentials::<FMA>(&mut masked, Some(&[f32::MIN; 4]));
        assert_eq!((masked, inverse), (vec![1.0; 4], 0.25));
    }
}
