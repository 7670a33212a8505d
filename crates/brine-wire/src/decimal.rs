//! Numbers as decimal digits.

use alloc::vec::Vec;

/// Appends a number in decimal.
pub fn unsigned(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        #[allow(clippy::cast_possible_truncation)] // below ten
        let digit = (number % 10) as u8;
        digits[first] = b'0' + digit;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}
