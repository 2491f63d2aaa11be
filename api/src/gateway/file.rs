//! What an uploaded file of items is, judged by all of its bytes.

use serde::de::IgnoredAny;

/// Largest file, in bytes: what the step `read-items` reads.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The kinds of file that are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Json,
    Jsonl,
    Csv,
}

impl Kind {
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Jsonl => "application/jsonl",
            Self::Csv => "text/csv",
        }
    }

    /// Whether these are the bytes of such a file. Any text may be CSV, as long as nothing in it
    /// is what no text has.
    #[must_use]
    pub fn fits(self, bytes: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return false;
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Self::Json => is_json(text),
            Self::Jsonl => text.lines().filter(|it| !it.trim().is_empty()).all(is_json),
            Self::Csv => !text
                .chars()
                .any(|it| it.is_control() && !matches!(it, '\t' | '\r' | '\n')),
        }
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_from_its_declaration() {
        for (kind, content, expected) in [
            (Kind::Json, "\u{feff}[{\"id\": 1}]\n", true),
            (Kind::Json, "{\"id\":1}\n{\"id\":2}\n", false),
            (Kind::Json, "", false),
            (Kind::Json, "id,name\n1,Noa", false),
            (Kind::Jsonl, "{\"id\":1}\r\n\n{\"id\":2}", true),
            (Kind::Jsonl, "{\"id\":1}\n{\"id\":", false),
            (Kind::Csv, "\u{feff}id;name\r\n1;\"Noa\tLevi\"\r\n", true),
            (Kind::Csv, "id,name\n1,\0", false),
            (Kind::Csv, "\x1b[2J", false),
        ] {
            let fits = kind.fits(content.as_bytes());
            assert_eq!(fits, expected, "{kind:?}: {content:?}");
        }
        for kind in [Kind::Json, Kind::Jsonl, Kind::Csv] {
            assert!(!kind.fits(b"\x89PNG\r\n\x1a\n"), "{kind:?}");
            assert!(!kind.fits(b"\xff\xfei\0d\0"), "{kind:?}");
        }
    }

    #[test]
    fn nesting_without_end_is_judged_without_a_stack() {
        let deep = "[".repeat(1_000_000);
        assert!(!Kind::Json.fits(deep.as_bytes()));
    }
}
