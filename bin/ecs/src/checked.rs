//! Lines with a checksum: how everything stands in the ECS's folder.
//!
//! ```text
//! <crc32 of the rest, 8 hexadecimal digits> <text>\n
//! ```
//!
//! CRC-32 (ISO-HDLC, as in gzip) finds what a broken disk or a write that was cut short leaves behind. It is not meant
//! against people.

/// Digits of the checksum.
const CRC_DIGIT_COUNT: usize = 8;

/// Appends `text`, which has no line end, as a line.
pub(crate) fn write_line(out: &mut Vec<u8>, text: &str) {
    let crc = crc32fast::hash(text.as_bytes());
    out.extend_from_slice(format!("{crc:08x} ").as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// Returns the text of a line, which is given without its end, or what is wrong with it.
pub(crate) fn read_line(line: &[u8]) -> Result<&str, &'static str> {
    let (digits, rest) = line.split_at_checked(CRC_DIGIT_COUNT).ok_or("too short")?;
    let text = rest.strip_prefix(b" ").ok_or("no space behind the checksum")?;
    let expected = format!("{:08x}", crc32fast::hash(text));
    if digits != expected.as_bytes() {
        return Err("wrong checksum");
    }
    std::str::from_utf8(text).or(Err("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_these_bytes_and_is_read_back() {
        let mut line = Vec::new();
        write_line(&mut line, "123456789");
        assert_eq!(line, b"cbf43926 123456789\n");
        assert_eq!(read_line(&line[..line.len() - 1]), Ok("123456789"));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let mut line = Vec::new();
        write_line(&mut line, "{\"a\":1}");
        line.pop();
        for len in 0..line.len() {
            assert!(read_line(&line[..len]).is_err(), "cut to {len}");
        }
        for index in 0..line.len() {
            for bit in 0..8 {
                let mut spoilt = line.clone();
                spoilt[index] ^= 1 << bit;
                assert!(read_line(&spoilt).is_err(), "bit {bit} of byte {index}");
            }
        }
    }
}
