//! Memory that was freed, and is of no use to this process any more.

/// Gives free memory of the heap back to the system, if there is more than `free_bytes_max` of it.
/// Returns whether it did.
///
/// glibc keeps what lies below something still in use; after a burst of large values that is most
/// of the burst (measured: 274 MB after 300 replies of 1 MB, for as long as nothing else came).
/// It walks the free lists, so once a second is often enough, and not from a worker.
#[cfg(target_env = "gnu")]
pub fn give_back_unused(free_bytes_max: usize) -> bool {
    // SAFETY: mallinfo2(3) takes nothing and returns a struct of numbers.
    let free_bytes = unsafe { libc::mallinfo2() }.fordblks;
    // SAFETY: malloc_trim(3) touches free memory only, under the allocator's own locks.
    free_bytes > free_bytes_max && unsafe { libc::malloc_trim(0) } == 1
}

/// Other C libraries give memory back by themselves, or never.
#[cfg(not(target_env = "gnu"))]
pub fn give_back_unused(_free_bytes_max: usize) -> bool {
    false
}

#[cfg(all(test, target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn free_memory_below_memory_in_use_is_given_back() {
        let mut pieces: Vec<Vec<u8>> = (0..4096).map(|_| vec![1; 16 << 10]).collect();
        let in_use = pieces.pop();
        drop(pieces);
        assert!(give_back_unused(16 << 20));
        assert_eq!(in_use.map(|piece| piece.len()), Some(16 << 10));
    }
}
