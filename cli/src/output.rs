//! Lines on standard output.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write};

/// Prints a line; who closes the pipe, as `head` does, has seen enough.
pub fn line(text: Arguments<'_>) {
    end_if_unread(writeln!(std::io::stdout().lock(), "{text}"));
}

/// The same for lines that are bytes already.
pub fn bytes(lines: &[u8]) {
    end_if_unread(std::io::stdout().lock().write_all(lines));
}

fn end_if_unread(written: std::io::Result<()>) {
    if let Err(error) = written {
        let code = i32::from(error.kind() != ErrorKind::BrokenPipe);
        std::process::exit(code);
    }
}

/// Prints a line like `println!`, and ends quietly when nobody reads it any more.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::output::line(format_args!($($argument)*))
    };
}
