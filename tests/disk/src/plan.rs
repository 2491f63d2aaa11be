//! What the disk is to do, read once from the environment.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Only files below this folder count.
pub const FOLDER: &str = "DISK_FAULTS_FOLDER";
/// Nothing is counted before this file exists; armed from the start when absent.
pub const ARMED_BY: &str = "DISK_FAULTS_ARMED_BY";
/// Number, from 1, of the change or flush in which the process dies.
pub const KILL_AT: &str = "DISK_FAULTS_KILL_AT";
/// File that is made when the process is about to be killed; it names the operation.
pub const FIRED: &str = "DISK_FAULTS_FIRED";
/// While this file exists, the disk is full.
pub const FULL: &str = "DISK_FAULTS_FULL";
/// Where every change and flush is recorded.
pub const RECORD: &str = "DISK_FAULTS_RECORD";

/// The plan of this process.
pub struct Plan {
    pub folder: PathBuf,
    pub kill_at: Option<u64>,
    pub full: Option<CString>,
    pub record: Option<CString>,
    armed_by: Option<CString>,
    fired: Option<CString>,
    is_armed: AtomicBool,
    n_operations: AtomicU64,
}

static PLAN: LazyLock<Option<Plan>> = LazyLock::new(|| {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let path = |name: &str| std::env::var_os(name).and_then(c_string);
    let kill_at = std::env::var(KILL_AT).ok().and_then(|it| it.parse().ok());
    Some(Plan {
        folder,
        kill_at,
        full: path(FULL),
        record: path(RECORD),
        armed_by: path(ARMED_BY),
        fired: path(FIRED),
        is_armed: AtomicBool::new(false),
        n_operations: AtomicU64::new(0),
    })
});

/// The plan, if the process has one.
#[must_use]
pub fn plan() -> Option<&'static Plan> {
    PLAN.as_ref()
}

fn c_string(text: OsString) -> Option<CString> {
    CString::new(text.into_vec()).ok()
}

impl Plan {
    /// Whether faults happen yet; once armed, it stays so.
    #[must_use]
    pub fn is_armed(&self) -> bool {
        if self.is_armed.load(Ordering::Relaxed) {
            return true;
        }
        let is_armed = self.armed_by.as_ref().is_none_or(exists);
        self.is_armed.store(is_armed, Ordering::Relaxed);
        is_armed
    }

    /// Whether the disk is full now.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full.as_ref().is_some_and(exists)
    }

    /// Counts an operation and says whether the process dies in it.
    #[must_use]
    pub fn is_last(&self) -> bool {
        let Some(kill_at) = self.kill_at else {
            return false;
        };
        self.is_armed() && self.n_operations.fetch_add(1, Ordering::Relaxed) + 1 == kill_at
    }

    /// Leaves word of the operation, and ends the process as a crash would.
    pub fn kill(&self, operation: &str) -> ! {
        // SAFETY: plain system calls with pointers and lengths of live buffers.
        unsafe {
            if let Some(fired) = &self.fired {
                let fd = libc::syscall(
                    libc::SYS_openat,
                    libc::AT_FDCWD,
                    fired.as_ptr(),
                    libc::O_CREAT | libc::O_WRONLY,
                    0o600,
                );
                libc::syscall(libc::SYS_write, fd, operation.as_ptr(), operation.len());
            }
            libc::syscall(libc::SYS_kill, libc::getpid(), libc::SIGKILL);
        }
        loop {
            std::hint::spin_loop();
        }
    }

    /// Whether `path` is below the folder.
    #[must_use]
    pub fn concerns(&self, path: &[u8]) -> bool {
        let folder = self.folder.as_os_str().as_bytes();
        path.strip_prefix(folder)
            .is_some_and(|it| it.starts_with(b"/"))
    }
}

fn exists(path: &CString) -> bool {
    // SAFETY: a system call with a valid C string.
    unsafe {
        libc::syscall(
            libc::SYS_faccessat,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::F_OK,
        ) == 0
    }
}
