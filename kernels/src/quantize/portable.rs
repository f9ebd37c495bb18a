//! One row at a time, in loops the compiler vectorises.

/// 1.5 * 2^52: a sum with it has units in its lowest bits.
const WHOLE: f64 = 6_755_399_441_055_744.0;

/// Writes a row as 8-bit integers and returns its scale. The row is finite and as long as `out`.
pub(super) fn int8_row(row: &[f32], out: &mut [i8]) -> f32 {
    let largest = row.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let scale = largest / 127.0;
    if scale == 0.0 {
        // The largest magnitude is zero or so small that no step exists for it.
        out.fill(0);
        return 0.0;
    }
    let scale_wide = f64::from(scale);
    for (out, value) in out.iter_mut().zip(row) {
        // The clamp matters where the scale is subnormal and was rounded down.
        let steps = (f64::from(*value) / scale_wide).clamp(-127.0, 127.0);
        // The sum has no room for a fraction, so the addition rounds to the nearest whole number, ties to even, into its lowest bits. Unlike a
        // call to round, this is one vector instruction on every processor.
        *out = (steps + WHOLE).to_bits() as i8;
    }
    scale
}

/// Writes a row as bits into `out`, `row.len() / 8` bytes rounded up.
pub(super) fn bits_row(row: &[f32], out: &mut [u8]) {
    for (byte, values) in out.iter_mut().zip(row.chunks(8)) {
        *byte = values.iter().enumerate().fold(0, |byte, (bit, value)| byte | (u8::from(*value > 0.0) << (7 - bit)));
    }
}
