//! The cyclic redundancy checks, a byte at a time through tables made at compile time.

/// CRC-16/XMODEM with a register of 32 bits: what the check would drop from the top stays in the
/// value and comes back in no later step, exactly as in twemproxy.
#[inline]
pub(super) fn crc16(key: &[u8]) -> u32 {
    key.iter().fold(0, |value, &byte| value << 8 ^ CRC16[usize::from((value >> 8) as u8 ^ byte)])
}

/// CRC-32 of zlib and Ethernet (ISO-HDLC).
#[inline]
pub(super) fn crc32(key: &[u8]) -> u32 {
    !key.iter().fold(u32::MAX, |value, &byte| value >> 8 ^ CRC32[usize::from(value as u8 ^ byte)])
}

const fn crc16_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut value = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = value >> 15;
            value = (value << 1) ^ (carry * 0x1021);
            bit += 1;
        }
        table[byte] = value as u32;
        byte += 1;
    }
    table
}

const fn crc32_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < table.len() {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = value & 1;
            value = (value >> 1) ^ (carry * 0xedb8_8320);
            bit += 1;
        }
        table[byte] = value;
        byte += 1;
    }
    table
}

static CRC16: [u32; 256] = crc16_table();
static CRC32: [u32; 256] = crc32_table();
