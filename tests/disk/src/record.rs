//! The record of what happened to the files, in the order in which it did.
//!
//! One entry: kind (1 byte), length of the path (2), length of the data (4), offset (8), path, data; numbers
//! are little-endian. Kinds: `W` data written at offset, `T` cut or grown to offset, `S` flushed,
//! `U` removed, `R` renamed to the path in data.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::Plan;

/// Held over an operation and its entry, so that the order of entries is the order of operations.
static ORDER: Mutex<Option<libc::c_int>> = Mutex::new(None);

/// Takes the turn of an operation, if there is a record.
pub fn turn(plan: &Plan) -> Option<MutexGuard<'static, Option<libc::c_int>>> {
    plan.record.as_ref()?;
    Some(ORDER.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Notes an operation.
pub fn note(
    plan: &Plan,
    turn: &mut MutexGuard<'static, Option<libc::c_int>>,
    kind: u8,
    path: &[u8],
    offset: u64,
    data: &[u8],
) {
    let Some(record) = &plan.record else { return };
    let fd = *turn.get_or_insert_with(|| {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_APPEND | libc::O_CLOEXEC;
        // SAFETY: a system call with a valid C string.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                record.as_ptr(),
                flags,
                0o600,
            )
        };
        libc::c_int::try_from(fd).unwrap_or(-1)
    });
    let mut entry = Vec::with_capacity(15 + path.len() + data.len());
    entry.push(kind);
    entry.extend(u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
    entry.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
    entry.extend(offset.to_le_bytes());
    entry.extend(path);
    entry.extend(data);
    // SAFETY: a system call with the pointer and length of a live buffer.
    unsafe {
        libc::syscall(libc::SYS_write, fd, entry.as_ptr(), entry.len());
    }
}
