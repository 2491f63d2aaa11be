//! Public events as the journal keeps them: a third of their size, so that a commit writes fewer pages.
//!
//! Most of an event is the same in every event, and what is not is said three times.

use super::StoreError;

/// Says that a text is packed against [`DICTIONARY`]; no text that is not packed begins so.
const PACKED: u8 = 1;
/// What events have in common. Journals are packed against it: it never changes, a better one gets a mark of its own.
const DICTIONARY: &[u8] = include_bytes!("dictionary_1.txt");
/// How many times smaller LZ4 can make a text at best; more is claimed by damaged rows only.
///
/// Source: a byte of LZ4 stands for at most 255.
const RATIO_MAX: usize = 255;

/// Packs the public side of a commit.
pub(super) fn packed(public: &str) -> Vec<u8> {
    let mut bytes = vec![0; 5 + lz4_flex::block::get_maximum_output_size(public.len())];
    bytes[0] = PACKED;
    let length = u32::try_from(public.len()).unwrap_or(u32::MAX);
    bytes[1..5].copy_from_slice(&length.to_le_bytes());
    let written =
        lz4_flex::block::compress_into_with_dict(public.as_bytes(), &mut bytes[5..], DICTIONARY);
    match written {
        Ok(n_bytes) => bytes.truncate(5 + n_bytes),
        // It has as much room as it may ever need; unpacked it would be read all the same.
        Err(_) => bytes = public.as_bytes().to_vec(),
    }
    bytes
}

/// The text again; what was stored before texts were packed is the text itself.
pub(super) fn unpacked(bytes: Vec<u8>) -> Result<String, StoreError> {
    let corrupt = || StoreError::Corrupt {
        what: "journal.public".to_owned(),
    };
    let text = match bytes.split_first_chunk::<5>() {
        Some(([PACKED, length @ ..], block)) => {
            let length = u32::from_le_bytes(*length) as usize;
            if RATIO_MAX * (block.len() + 1) < length {
                return Err(corrupt());
            }
            lz4_flex::block::decompress_with_dict(block, length, DICTIONARY)
                .map_err(|_| corrupt())?
        }
        _ => bytes,
    };
    String::from_utf8(text).map_err(|_| corrupt())
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_is_smaller() {
        let events = std::str::from_utf8(DICTIONARY)
            .unwrap()
            .replace("Identify", "Söke 2");
        for text in ["", "x", "A {}\n", &events, &events.repeat(2_000)] {
            let packed = packed(text);
            assert_eq!(unpacked(packed).unwrap(), text);
        }
        assert!(packed(&events).len() * 3 < events.len());
    }

    /// Journals are packed against these very bytes.
    #[test]
    fn the_dictionary_never_changes() {
        let digest = hex::encode(Sha256::digest(DICTIONARY));
        assert_eq!(
            digest,
            "cfd8281bb5e36c2f94bdd125d758f79172c088289b727164d0eee9557292fad9"
        );
    }

    #[test]
    fn a_text_that_was_never_packed_is_read_as_it_is() {
        assert_eq!(unpacked(b"A {}\n".to_vec()).unwrap(), "A {}\n");
    }

    #[test]
    fn a_damaged_row_is_no_panic_and_no_memory() {
        let mut bytes = packed(&"some text ".repeat(100));
        for cut in 0..bytes.len() {
            let _ = unpacked(bytes[..cut].to_vec());
        }
        bytes[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(unpacked(bytes), Err(StoreError::Corrupt { .. })));
    }
}
