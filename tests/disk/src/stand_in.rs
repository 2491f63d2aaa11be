//! The functions that a process finds here instead of in the C library.
//!
//! Each makes the system call itself, so the C library's own function is not needed.

#![expect(
    clippy::cast_possible_truncation,
    reason = "a system call answers with what its function of the C library answers"
)]

use std::ffi::CStr;

use libc::{c_char, c_int, c_void, mode_t, off_t, size_t, ssize_t};

use crate::plan::{Plan, plan};
use crate::record;

/// Longest path that is looked at, in bytes.
const PATH_BYTES_MAX: usize = 4_096;

/// The path of an open file, if the plan concerns it.
fn path_of(plan: &Plan, fd: c_int) -> Option<Vec<u8>> {
    let link = format!("/proc/self/fd/{fd}\0");
    let mut path = vec![0; PATH_BYTES_MAX];
    // SAFETY: a system call with a C string and a buffer of the length it is told.
    let length = unsafe {
        libc::syscall(
            libc::SYS_readlinkat,
            libc::AT_FDCWD,
            link.as_ptr(),
            path.as_mut_ptr(),
            path.len(),
        )
    };
    path.truncate(usize::try_from(length).ok()?);
    plan.concerns(&path).then_some(path)
}

fn no_room() -> ssize_t {
    // SAFETY: the location belongs to this thread.
    unsafe {
        *libc::__errno_location() = libc::ENOSPC;
    }
    -1
}

fn size_of(fd: c_int) -> u64 {
    // SAFETY: `stat` is plain data, and the call gets a pointer to it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        if libc::fstat(fd, &raw mut stat) == 0 {
            u64::try_from(stat.st_size).unwrap_or_default()
        } else {
            0
        }
    }
}

/// One write: `at` is where the caller says, or `None` for where the file stands.
///
/// # Safety
///
/// `data` has `length` bytes.
unsafe fn put(fd: c_int, data: *const c_void, length: size_t, at: Option<off_t>) -> ssize_t {
    // SAFETY: the caller's promise about `data`; the rest are plain system calls.
    unsafe {
        let real = |length: size_t| match at {
            Some(at) => libc::syscall(libc::SYS_pwrite64, fd, data, length, at),
            None => libc::syscall(libc::SYS_write, fd, data, length),
        };
        let Some(plan) = plan() else {
            return real(length) as ssize_t;
        };
        let Some(path) = path_of(plan, fd) else {
            return real(length) as ssize_t;
        };
        if plan.is_last() {
            // What a crash leaves of a write is its beginning.
            real(length / 2);
            plan.kill(&format!("write {}", String::from_utf8_lossy(&path)));
        }
        let mut turn = record::turn(plan);
        let offset = match at {
            Some(at) => u64::try_from(at).unwrap_or_default(),
            None if libc::fcntl(fd, libc::F_GETFL) & libc::O_APPEND != 0 => size_of(fd),
            None => u64::try_from(libc::lseek(fd, 0, libc::SEEK_CUR)).unwrap_or_default(),
        };
        if plan.is_full() && size_of(fd) < offset + length as u64 {
            return no_room();
        }
        let written = real(length) as ssize_t;
        if let (Some(turn), Ok(n)) = (&mut turn, usize::try_from(written)) {
            let bytes = std::slice::from_raw_parts(data.cast::<u8>(), n);
            record::note(plan, turn, b'W', &path, offset, bytes);
        }
        written
    }
}

fn flush(fd: c_int, call: libc::c_long) -> c_int {
    // SAFETY: a system call on a number.
    let real = || unsafe { libc::syscall(call, fd) as c_int };
    let Some(plan) = plan() else { return real() };
    let Some(path) = path_of(plan, fd) else {
        return real();
    };
    if plan.is_last() {
        plan.kill(&format!("flush {}", String::from_utf8_lossy(&path)));
    }
    let mut turn = record::turn(plan);
    let flushed = real();
    if let Some(turn) = &mut turn
        && flushed == 0
    {
        record::note(plan, turn, b'S', &path, 0, &[]);
    }
    flushed
}

fn cut(fd: c_int, length: off_t) -> c_int {
    // SAFETY: a system call on numbers.
    let real = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) as c_int };
    let Some(plan) = plan() else { return real() };
    let Some(path) = path_of(plan, fd) else {
        return real();
    };
    if plan.is_last() {
        plan.kill(&format!("truncate {}", String::from_utf8_lossy(&path)));
    }
    let length = u64::try_from(length).unwrap_or_default();
    if plan.is_full() && size_of(fd) < length {
        no_room();
        return -1;
    }
    let mut turn = record::turn(plan);
    let done = real();
    if let Some(turn) = &mut turn
        && done == 0
    {
        record::note(plan, turn, b'T', &path, length, &[]);
    }
    done
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(fd: c_int, data: *const c_void, length: size_t) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, data, length, None) }
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, data, length, Some(at)) }
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    fd: c_int,
    data: *const c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    // SAFETY: the caller's promise.
    unsafe { put(fd, data, length, Some(at)) }
}

#[unsafe(no_mangle)]
pub extern "C" fn fsync(fd: c_int) -> c_int {
    flush(fd, libc::SYS_fsync)
}

#[unsafe(no_mangle)]
pub extern "C" fn fdatasync(fd: c_int) -> c_int {
    flush(fd, libc::SYS_fdatasync)
}

#[unsafe(no_mangle)]
pub extern "C" fn ftruncate(fd: c_int, length: off_t) -> c_int {
    cut(fd, length)
}

#[unsafe(no_mangle)]
pub extern "C" fn ftruncate64(fd: c_int, length: off_t) -> c_int {
    cut(fd, length)
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller's promise that `path` is a C string.
    let (real, name) = unsafe {
        (
            || libc::syscall(libc::SYS_unlink, path) as c_int,
            CStr::from_ptr(path).to_bytes(),
        )
    };
    let Some(plan) = plan().filter(|it| it.concerns(name)) else {
        return real();
    };
    let mut turn = record::turn(plan);
    let done = real();
    if let Some(turn) = &mut turn
        && done == 0
    {
        record::note(plan, turn, b'U', name, 0, &[]);
    }
    done
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller's promise that both are C strings.
    let (real, names) = unsafe {
        (
            || libc::syscall(libc::SYS_rename, from, to) as c_int,
            (
                CStr::from_ptr(from).to_bytes(),
                CStr::from_ptr(to).to_bytes(),
            ),
        )
    };
    let Some(plan) = plan().filter(|it| it.concerns(names.0)) else {
        return real();
    };
    let mut turn = record::turn(plan);
    let done = real();
    if let Some(turn) = &mut turn
        && done == 0
    {
        record::note(plan, turn, b'R', names.0, 0, names.1);
    }
    done
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise that `path` is a C string.
    unsafe { open_at(path, flags, mode) }
}

/// # Safety
///
/// As the function of the C library.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise that `path` is a C string.
    unsafe { open_at(path, flags, mode) }
}

/// Opens a file; what would cut it short is recorded.
///
/// # Safety
///
/// `path` is a C string.
unsafe fn open_at(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        let real = || libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) as c_int;
        let name = CStr::from_ptr(path).to_bytes();
        let cuts = flags & libc::O_TRUNC != 0;
        let Some(plan) = plan().filter(|it| cuts && it.concerns(name)) else {
            return real();
        };
        let mut turn = record::turn(plan);
        let fd = real();
        if let Some(turn) = &mut turn
            && 0 <= fd
        {
            record::note(plan, turn, b'T', name, 0, &[]);
        }
        fd
    }
}
